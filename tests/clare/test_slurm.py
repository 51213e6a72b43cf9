"""What is read of a job's environment."""

import os

import pytest

from clare import slurm


@pytest.fixture
def job(monkeypatch):
    """Set variables of a job, of eight CPUs that the kernel allows."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ({}, 8),
        ({"SLURM_CPUS_PER_TASK": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "6"}, 2),
        ({"SLURM_CPUS_ON_NODE": "6"}, 6),
        ({"SLURM_CPUS_ON_NODE": "6", "SLURM_STEP_TASKS_PER_NODE": "2(x3)"}, 3),
        ({"SLURM_CPUS_ON_NODE": "1", "SLURM_STEP_TASKS_PER_NODE": "2"}, 1),
        ({"SLURM_CPUS_ON_NODE": "64"}, 8),
        ({"SLURM_CPUS_PER_TASK": "many"}, 8),
    ],
)
def test_a_process_takes_the_cpus_of_its_task(job, told, cores):
    job(**told)
    assert slurm.cores() == cores


@pytest.mark.parametrize(
    ("local", "visible", "device"), [("", 4, 0), ("0", 1, 0), ("1", 1, 0), ("1", 2, 1), ("5", 4, 1)]
)
def test_a_task_takes_a_device_that_it_sees(job, local, visible, device):
    job(SLURM_LOCALID=local)
    assert slurm.device_of_task(visible) == device


def test_scratch_is_a_folder_that_is_there(job, tmp_path):
    assert slurm.scratch() is None
    job(SLURM_TMPDIR=str(tmp_path))
    assert slurm.scratch() == str(tmp_path)
    job(SLURM_TMPDIR=str(tmp_path / "gone"))
    assert slurm.scratch() is None
