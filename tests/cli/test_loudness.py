"""--quiet and --verbose, before and after a command's name."""

import pytest


@pytest.fixture
def extraction(few_pictures):
    folders = ("--real", few_pictures / "real", "--fake", few_pictures / "fake")
    return (*folders, "--backbone", "tiny")


@pytest.mark.parametrize("words", [("-q", "extract"), ("extract", "--quiet")])
def test_quiet_prints_the_result_and_what_spoils_experiments(clare, extraction, words):
    code, out, err = clare(*words, *extraction)
    assert code == 0 and "rows in" in out, err
    assert "these features mean nothing" in err
    for remark in ("micro-batches", "to do", "next:", "took"):
        assert remark not in out + err


def test_quiet_is_of_one_command_alone(clare, extraction):
    clare("-q", "extract", *extraction)
    _, _, err = clare("extract", *extraction)
    assert "micro-batches" in err


def test_quiet_says_what_is_wrong(clare):
    code, out, err = clare("-q", "store", "info", "none.zarr")
    assert (code, out) == (1, "") and "there is no feature store" in err


@pytest.mark.parametrize("words", [("-v", "extract"), ("extract", "--verbose")])
def test_verbose_tells_versions_devices_places_and_times(clare, extraction, tmp_path, words):
    code, _, err = clare(*words, *extraction)
    assert code == 0, err
    assert "Python 3" in err and "torch" in err
    assert "device cpu, float32" in err
    assert f"store {tmp_path / 'features.zarr'}" in err and "reading weights /" in err
    assert "forward:lare" in err and "took" in err
    _, again, quiet = clare("store", "info")
    assert "Python 3" not in again + quiet, "of one command alone"


def test_verbose_shows_where_the_machine_refused(clare, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clare.store.feature_store.open_store", refuse)
    code, _, err = clare("store", "info")
    assert code == 1 and "Traceback" not in err
    code, _, err = clare("store", "info", "-v")
    assert code == 1 and "Traceback" in err and err.splitlines()[-1].startswith("clare: ")
