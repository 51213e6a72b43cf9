"""Items of work among workers that come and go."""

import os
import signal
import threading

import pytest
from distributed import WorkerPlugin

from clare.advice import Notice
from clare.cluster import crew as crew_of_workers
from clare.cluster.connect import Connected, connect
from clare.cluster.crew import Crew, kit_here
from clare.errors import InputError
from clare.stopping import StopAskedError, heed_signals
from tests.dask_threads import thread_cluster

BEGAN, ASKED = threading.Event(), threading.Event()


class Kit(WorkerPlugin):
    """Nothing at all."""

    name = "kit"


def begin_late(name, item):
    BEGAN.set()
    assert ASKED.wait(10)
    return kit_here(name)


def test_an_item_that_begins_after_the_end_was_asked_for_is_left_for_another_time():
    items = [1]

    def stop():
        BEGAN.wait(10)
        os.kill(os.getpid(), signal.SIGUSR1)

    def notice(said: Notice):
        raise AssertionError(said)

    class Watched(Crew):
        def dismiss(self):
            super().dismiss()
            ASKED.set()

    with thread_cluster(1) as client:
        crew = Watched(Connected(client, "any", 1, "wait"), Kit(), "kit", notice)
        threading.Thread(target=stop, daemon=True).start()
        with pytest.raises(StopAskedError), heed_signals():
            crew.run(begin_late, lambda lanes: items.pop() if items else None, lambda *_: None)


def test_jobs_that_slurm_refuses_end_the_wait_in_its_own_words(tmp_path, monkeypatch, capfd):
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: nosuch' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setattr(crew_of_workers, "REFUSED_SECONDS", 0.2)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=os.pathsep)
    file = tmp_path / "slurm.yaml"
    file.write_text("cores: 1\nmemory: 1GB\nqueue: nosuch\ninterface: lo\n")
    with (
        connect(str(file), 1) as cluster,
        Crew[str, None](cluster, Kit(), "kit", lambda notice: None) as crew,
        pytest.raises(InputError, match=r"slurm\.yaml: its jobs are refused .*partition: nosuch"),
    ):
        crew.ask(begin_late)
    assert "Traceback" not in capfd.readouterr().err
