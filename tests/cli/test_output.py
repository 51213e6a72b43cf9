"""What is printed of files is their names, whatever signs these hold."""

import pytest

from clare.pipeline.extraction import job


@pytest.mark.parametrize("name", ["empty].jpg", "bad [copy].jpg", "[bold]x.png", ":smile:.png"])
def test_file_names_are_printed_as_they_are(clare, tmp_path, pictures, name):
    folder = tmp_path / "a["
    folder.mkdir()
    good = next((pictures / "real").iterdir())
    (folder / good.name).write_bytes(good.read_bytes())
    (folder / name).write_bytes(b"")
    command = ("extract", "--real", folder, "--features", "pixels", "--max-failures", "100%")
    code, out, err = clare(*command)
    assert code == 0, err
    assert f"a[/{name}" in out
    _, out, _ = clare("store", "info")
    assert f"a[/{name}: empty file" in out


def test_a_store_s_path_is_printed_as_it_is(clare, tmp_path, pictures):
    store = tmp_path / "[red]" / "x[b].zarr"
    (tmp_path / "[red]").mkdir()
    command = ("extract", "--real", pictures / "real", "--features", "pixels", "--store", store)
    assert clare(*command)[0] == 0
    _, out, _ = clare("store", "verify", store)
    assert f"{store.name}: every byte" in out.replace("\n", "")


def test_who_finds_all_done_by_others_says_so(clare, pictures, monkeypatch):
    monkeypatch.setattr(job, "extract_subset", lambda *_, report, **how: report)
    code, out, err = clare("extract", "--real", pictures / "real", "--features", "pixels")
    assert code == 0 and "other runs have done what was missing" in out, err
