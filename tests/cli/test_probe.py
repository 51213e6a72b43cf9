"""`clare probe` as it is typed."""

import json
import shlex

import pytest

from clare.heads.probing.record import read_record
from clare.heads.runs.run import open_run
from tests.heads.probing.probed_store import create_probed

_THREE = "clip_tokens_4:top+lare:grid@300+clip_tokens_2:max+clip_tokens_6:mean"


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    return create_probed(tmp_path_factory.mktemp("probed") / "features.zarr").path


def test_a_person_sees_which_input_is_best_and_what_adds(clare, probed, tmp_path):
    options = ["--train", "gan", "--test", "gan,swap", "--resamples", 400]
    code, out, err = clare("probe", "--store", probed, *options, "--out", tmp_path / "probes")
    assert code == 0, err
    lines = out.splitlines()
    first = next(line for line in lines if "clip_" in line)
    assert "clip_tokens_4:" in first
    assert "does it add?" in out
    assert any(line.startswith("clip_cls beside clip_tokens_4:") for line in lines)
    assert "clare report" in err
    code, out, err = clare("report", tmp_path / "probes", "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "Over the layers" in (tmp_path / "page.html").read_text("utf-8")


def test_json_holds_every_probe(clare, probed, tmp_path):
    options = ["--train", "gan", "--inputs", "clip_cls", "--norms", "l2,whiten"]
    kinds = ["--kinds", "ridge,logistic,centroid", "--strengths", "0.1,1", "--resamples", 0]
    code, out, _ = clare(
        "probe", "--store", probed, *options, *kinds, "--json", "--out", tmp_path / "probes"
    )
    assert code == 0
    found = json.loads(out)
    assert len(found["probes"]) == 6
    assert found["fitted"] == 2 * (2 + 2 + 1)
    assert found["command"][:2] == ["clare", "probe"]


def test_the_command_that_is_advised_makes_the_run_of_a_sum(clare, probed, tmp_path):
    chosen = ["--inputs", _THREE, "--kinds", "ridge"]
    options = ["--train", "gan", "--test", "swap", "--resamples", 0, "--out", tmp_path / "probes"]
    code, _, err = clare("probe", "--store", probed, *chosen, "--norms", "standard", *options)
    assert code == 0, err
    (advised,) = [line for line in err.splitlines() if "clare train-head" in line]
    _, *words = shlex.split(advised[advised.index("clare train-head") :])
    code, _, err = clare(*words, "--out", tmp_path / "run")
    assert code == 0, err
    (probe,) = read_record(tmp_path / "probes").probes
    validation = open_run(tmp_path / "run").validation
    assert validation.metrics["auc"].value == pytest.approx(probe.val_auc, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--norms", "bleach"], "there is no normalisation 'bleach': there are none, l2"),
        (["--kinds", "forest"], "there is no probe 'forest': there are ridge, logistic, centroid"),
        (["--seeds", "one"], "'one' are no numbers"),
    ],
)
def test_a_name_that_is_not_there(clare, probed, options, said):
    code, _, err = clare("probe", "--store", probed, "--train", "gan", *options)
    assert code == 1
    assert said in err
