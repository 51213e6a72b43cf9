"""Commands on images in a bucket."""

import json

import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.store.bucket.objects import Objects
from clare.store.feature_store import create_store

URL = "memory://commands/deep"
SIGNED = "s3://bucket/photos?X-Amz-Signature=secret"
SECRET = "s3://key:secret@bucket/photos"


@pytest.fixture(scope="module")
def bucket(few_pictures):
    for file in few_pictures.rglob("*.*"):
        key = file.relative_to(few_pictures).as_posix()
        Objects(URL).put(key, file.read_bytes())


def test_from_folders_of_a_bucket_to_features(clare, bucket, tmp_path):
    folders = ("--real", f"{URL}/real", "--fake", f"{URL}/fake")
    code, said, told = clare("manifest", "build", "--subset", "toy", *folders, "--out", "m/toy.csv")
    assert code == 0
    assert f"8 images, paths start at {URL}\n" in said
    assert f"--root {URL}\n" in told
    (tmp_path / "clare.toml").write_text(f'root = "{URL}"\nmanifests = "m"\n')
    quick = ("--backbone", "tiny", "--features", "pixels")
    assert clare("manifest", "check", "toy")[0] == 0
    assert clare("extract", "--subset", "toy", *quick)[0] == 0
    code, said, _ = clare("extract", "--subset", "toy", "--root", f"{URL}/", *quick)
    assert code == 0
    assert "8 rows, nothing is missing" in said
    recorded = (tmp_path / "features.zarr/commands.jsonl").read_text().splitlines()
    assert URL in json.dumps([json.loads(line) for line in recorded])


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "--subset", "toy", "--root", SECRET),
        ("extract", "--real", SECRET),
        ("extract", "--real", ".", "--fake", f"toy={SECRET}"),
        ("slurm", "extract", "--real", ".", "--fake", f"toy={SECRET}"),
        ("slurm", "extract", "--real", ".", "--store", SECRET),
        ("slurm", "extract", "--real", ".", f"--store={SIGNED}"),
        ("slurm", "extract", "--real", "."),
    ],
)
def test_a_url_with_a_key_is_written_nowhere(clare, tmp_path, monkeypatch, words):
    if "secret" not in "".join(words):
        monkeypatch.setenv("CLARE_ROOT_X", SECRET)
    code, said, error = clare(*words, "--backbone", "tiny")
    assert code == 1
    assert "put keys into the environment" in error
    assert "secret" not in said + error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["../x", "a//b", "./x", "a/./x"])
@pytest.mark.parametrize(
    "words",
    [
        ("store", "info", "{}"),
        ("store", "push", "features.zarr", "{}"),
        ("store", "pull", "{}", "features.zarr"),
        ("extract", "--real", "{}", "--backbone", "tiny"),
        ("extract", "--fake", "toy={}", "--backbone", "tiny"),
        ("extract", "--real", "photos", "--store={}", "--backbone", "tiny"),
    ],
)
def test_a_url_that_names_no_place_is_refused_in_a_sentence(clare, tmp_path, words, key):
    create_store(tmp_path / "features.zarr")
    code, said, error = clare(*(word.format(f"{URL}/{key}") for word in words))
    assert (code, said) == (1, "")
    assert "the URL of a bucket has an empty part, . or .. in it" in error
