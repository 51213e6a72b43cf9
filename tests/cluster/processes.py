"""Processes that tests start, and what these start: found, and ended."""

import os
import signal
from pathlib import Path


def children(pid):
    """The processes below one, and below these."""
    own = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        own += [int(word) for word in task.read_text().split()]
    return [*own, *(one for child in own for one in children(child))]


def end(pid, number=signal.SIGKILL):
    """Send a signal; False where nobody is there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end_all(processes):
    """Kill those that still run, with all that are below them."""
    for process in processes:
        if process.poll() is None:
            for pid in [process.pid, *children(process.pid)]:
                end(pid)
            process.wait()
