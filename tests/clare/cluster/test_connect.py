"""What a user may name as a cluster, and what is refused before anything is loaded."""

import signal
from unittest.mock import MagicMock

import pytest

from clare.cluster import connect as connecting
from clare.cluster.connect import connect, require_cluster
from clare.cluster.jobs import read_jobs, start_jobs
from clare.errors import InputError

SLURM = "cores: 2\nmemory: 4GB\nqueue: low\njobs: 3\n"


@pytest.mark.parametrize("named", ["local", "local:0", "local:x", "http://x", "machines", ""])
def test_what_is_no_cluster_is_refused(named):
    with pytest.raises(InputError, match="is no cluster"):
        require_cluster(named)


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(connecting, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs distributed, .*pip install 'clare-features\[clu"):
        require_cluster("local:2")


def test_no_scheduler_is_a_sentence(monkeypatch):
    monkeypatch.setattr(connecting, "CONNECT_SECONDS", 0.3)
    with (
        pytest.raises(InputError, match="no scheduler answers at tcp"),
        connect("tcp://127.0.0.1:9", 1),
    ):
        pass


@pytest.mark.parametrize(
    "form", [SLURM, f"jobqueue:\n  slurm:\n    {SLURM.replace(chr(10), chr(10) + '    ')}"]
)
def test_a_file_has_the_keys_of_slurm_cluster(tmp_path, form):
    file = tmp_path / "slurm.yaml"
    file.write_text(form)
    found = read_jobs(file)
    assert found.number == 3
    assert found.settings == {"cores": 2, "memory": "4GB", "queue": "low"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n", "is no table of settings"),
        ("cores: 2\n", "lacks memory"),
        ("cores: 2\nmemory: 1GB\njobs: 0\n", "jobs is 0"),
        ("cores: [\n", "can't be read as YAML"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, told):
    (tmp_path / "slurm.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        require_cluster(str(tmp_path / "slurm.yaml"))


def test_a_setting_that_there_is_not_is_named(tmp_path):
    file = tmp_path / "slurm.yaml"
    file.write_text(f"{SLURM}quue: low\n")
    with (
        pytest.raises(InputError, match="has quue, which SLURMCluster does not know"),
        start_jobs(read_jobs(file), {"clare": 2}),
    ):
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C is ours"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", {"dashboard": False, "dashboard_address": "127.0.0.1:0"}),
        ("{interface: lo}", {"dashboard": False, "dashboard_address": "127.0.0.1:0"}),
        ("{dashboard_address: ':8787'}", {"dashboard_address": ":8787"}),
    ],
)
def test_a_dashboard_is_there_if_it_is_asked_for(tmp_path, monkeypatch, given, taken):
    """Else Dask takes a port of every interface for it, and warns where another has that."""
    made: dict = {}

    class Cluster(MagicMock):
        def __init__(self, **settings):
            super().__init__()
            made.update(settings)

    monkeypatch.setattr("dask_jobqueue.SLURMCluster", Cluster)
    file = tmp_path / "slurm.yaml"
    file.write_text(f"{SLURM}scheduler_options: {given}\n")
    with start_jobs(read_jobs(file), {"clare": 2}):
        pass
    options = made["scheduler_options"]
    assert {name: one for name, one in options.items() if name.startswith("dashboard")} == taken
