"""Objects of a bucket as files, and names below which objects lie as folders."""

import io
import itertools
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from clare.errors import InputError
from clare.foreign import open_bytes, read_bytes, read_text
from clare.store.bucket import files
from clare.store.bucket.files import Stats, common_folder, file_place, scan
from clare.store.bucket.objects import Objects

_numbers = itertools.count()


@pytest.fixture
def root():
    return f"memory://files{next(_numbers)}"


def test_a_file_of_a_bucket_is_read_as_any_other(root):
    Objects(root).put("photos/a b/ü#%20.png", b"0123456789")
    folder = file_place(f"{root}/photos")
    file = folder / "a b" / "ü#%20.png"
    assert (file.is_file(), file.is_dir(), file.exists()) == (True, False, True)
    assert (folder.is_file(), folder.is_dir(), folder.exists()) == (False, True, True)
    assert not (folder / "b").exists()
    assert file.stat().st_size == 10
    assert file.stat().st_mtime_ns % 10**9 == 0
    assert read_bytes(file) == read_text(file).encode() == b"0123456789"
    with file.open("rb", buffering=4) as opened:
        assert (opened.read(2), opened.seek(-3, io.SEEK_END), opened.read()) == (b"01", 7, b"789")
    assert str(pickle.loads(pickle.dumps(file))) == str(file) == f"{root}/photos/a b/ü#%20.png"
    for missing in (folder, folder / "b", file_place(root)):
        with pytest.raises(FileNotFoundError):
            missing.open("rb")
        with pytest.raises(FileNotFoundError):
            missing.stat()
    with pytest.raises(InputError, match="larger than 9 bytes"):
        open_bytes(file, 9)
    with pytest.raises(OSError, match="read only"):
        file.open("wb")


SHARED = file_place("memory://drawn/file")


@examples(max_examples=25)
@given(
    st.binary(max_size=40),
    st.integers(1, 20),
    st.lists(st.one_of(st.integers(0, 50), st.tuples(st.integers(0, 60), st.integers(0, 1)))),
    st.integers(1, 8),
)
def test_parts_are_those_of_the_whole(data, first, steps, step):
    Objects("memory://drawn").put("file", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "STEP", step)
        patch.setattr(files, "HEADER", 3)
        with SHARED.open("rb", first) as ours, io.BytesIO(data) as theirs:
            for one in steps:
                if isinstance(one, int):
                    assert ours.read(one) == theirs.read(one)
                else:
                    assert ours.seek(*one) == theirs.seek(*one)
            assert ours.read() == theirs.read()


def test_a_file_that_changes_while_it_is_read_is_no_mixture(root):
    objects = Objects(root)
    objects.put("a", b"one, and more")
    with file_place(f"{root}/a").open("rb", 3) as opened:
        assert opened.read(1) == b"o"
        objects.put("a", b"two, and more")
        with pytest.raises(OSError, match="changed while it was read"):
            opened.read()


def test_folders_are_listed_as_on_a_disk(root, tmp_path):
    for key in ("a/1.png", "a/b/2.png", "a/b/c/3.png", "a.png"):
        Objects(root).put(key, b"1")
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(b"1")
    for below in ("", "a", "a/b"):
        ours, theirs = (
            {
                (e.name, e.path.removeprefix(str(place)), e.is_dir(), e.is_symlink())
                for e in scan(place / below)
            }
            for place in (file_place(root), tmp_path)
        )
        assert ours == theirs


def test_many_files_of_a_folder_are_looked_at_by_one_request(root, monkeypatch):
    names = [f"a/{number}.png" for number in range(1, 30)] + ["a/b/x.png", "a/b.png", "c/1.png"]
    for name in names:
        Objects(root).put(name, name.encode())
    wanted = [file_place(f"{root}/{name}") for name in (*names[3:], "a/31.png", "a/b")]
    plain = {path: path.stat() for path in wanted if path.is_file()}
    asked = []
    monkeypatch.setattr(Objects, "head", lambda self, key: asked.append(key))
    stats = Stats(wanted)
    single = {f"{root}/a/b/x.png", f"{root}/c/1.png"}
    for path, found in plain.items():
        if str(path) not in single:
            assert stats.of(path) == found
    assert asked == []
    for path in (path for path in wanted if path not in plain or str(path) in single):
        with pytest.raises(FileNotFoundError):
            stats.of(path)
    assert sorted(asked) == ["a/31.png", "a/b", "a/b/x.png", "c/1.png"]


def test_the_folder_that_holds_others():
    def common(*places):
        found = common_folder(map(file_place, places))
        return found and str(found)

    assert common("s3://b/x/real", "s3://b/x/fake/1") == "s3://b/x"
    assert common("s3://b/real", "s3://b/fake") == "s3://b"
    assert common("/data/x", "/data/y") == "/data"
    assert common("s3://b/x", "s3://c/x") is common("s3://b/x", "/data/x") is None


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/photos",
        "s3://secret@bucket",
        "s3://bucket/photos?X-Amz-Signature=secret",
        "https://u:secret@host/photos",
        "az:/key:secret@account/x",
    ],
)
def test_a_url_that_may_hold_a_key_is_refused_and_not_repeated(url):
    for place in (url, Path(url)):
        with pytest.raises(InputError, match="put keys into the environment") as error:
            file_place(place)
        assert "secret" not in str(error.value)
    if url.startswith("s3"):
        with pytest.raises(InputError, match="put keys into the environment"):
            Objects(url)


def test_other_urls_are_refused_and_folders_are_folders(tmp_path):
    with pytest.raises(InputError, match="files can't be read from https://"):
        file_place("https://host/photos")
    assert file_place(f"file://{tmp_path}") == tmp_path
    assert file_place("photos/a:b") == Path("photos/a:b")
