"""What SLURM tells a job in its environment: the one place where that is read."""

from __future__ import annotations

import os
import re
from pathlib import Path


def cores() -> int:
    """CPUs that this process may use: a scheduler often grants fewer than there are.

    Of a job's CPUs on a node each of its tasks there has its part, as long as the job did not ask
    for a number a task; and never more than the kernel lets this process use.
    """
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    else:
        usable = os.cpu_count() or 1
    granted = _number("SLURM_CPUS_PER_TASK")
    if granted is None and (on_node := _number("SLURM_CPUS_ON_NODE")) is not None:
        granted = on_node // (_number("SLURM_STEP_TASKS_PER_NODE") or 1)
    return usable if granted is None else max(1, min(usable, granted))


def device_of_task(visible: int, task: int | None = None) -> int:
    """Which of the visible devices this task takes.

    ``SLURM_LOCALID`` counts the tasks of a node, and is an index only where several tasks see the
    same devices: where each sees its own alone, that is device 0 whatever the number.

    Args:
        visible: how many devices the process sees, at least 1.
        task: the task's number on its node, where somebody else tells it.
    """
    return (_number("SLURM_LOCALID") or 0 if task is None else task) % visible


def array_tasks() -> int:
    """Tasks of the array that this process is one of; 1 outside of arrays."""
    return _number("SLURM_ARRAY_TASK_COUNT") or 1


def array_task() -> int:
    """The number of this process's task in its array; 0 outside of arrays."""
    return _number("SLURM_ARRAY_TASK_ID") or 0


def is_queued_again() -> bool:
    """Whether this process's job ran before, and was queued again."""
    return bool(_number("SLURM_RESTART_COUNT"))


def scratch() -> str | None:
    """The job's own folder on the node's disk, where the site has one; None elsewhere."""
    place = os.environ.get("SLURM_TMPDIR")
    return place if place and Path(place).is_dir() else None


def _number(name: str) -> int | None:
    """The first number of a variable, as 2 of ``2(x3)``; None where there is none."""
    found = re.match(r"\d+", os.environ.get(name, ""))
    return int(found[0]) if found else None
