"""Commands on images in a bucket."""

import json

import pytest

pytest.importorskip("obstore", reason="buckets are read through obstore, the extra `buckets`")

from clare.store.bucket.objects import Objects

URL = "memory://commands/deep"


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


@pytest.mark.parametrize("option", ["--root", "--real", "--fake", "CLARE_ROOT_X"])
@pytest.mark.parametrize("command", [("extract",), ("slurm", "extract")])
def test_a_url_with_a_key_is_written_nowhere(clare, tmp_path, monkeypatch, command, option):
    url = "s3://key:secret@bucket/photos"
    words = [option, url] if option.startswith("-") else []
    if option.startswith("-"):
        words += ["--subset", "toy"] if option == "--root" else []
    else:
        monkeypatch.setenv(option, url)
        words = ["--real", str(tmp_path)] if "slurm" in command else ["--subset", "toy"]
    code, said, error = clare(*command, *words, "--backbone", "tiny")
    assert code == 1
    assert "put keys into the environment" in error
    assert "secret" not in said + error
