"""Kernel locks among real processes, each with threads."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

from clare.store.claims.locks import lock_file

spawned = multiprocessing.get_context("spawn")


def hold_one_and_wait_for_the_other(path, mine, other, both):
    lock = lock_file(path)
    assert lock.acquire(mine)
    both.wait(60)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lock.acquire, other, wait=True)
        time.sleep(0.3)  # both threads wait: the kernel takes that for a deadlock
        lock.release(mine)
        assert waiting.result()
        lock.release(other)


def test_threads_of_two_processes_wait_for_what_others_of_them_hold(tmp_path):
    both = spawned.Barrier(2)
    several = [
        spawned.Process(
            target=hold_one_and_wait_for_the_other,
            args=(tmp_path / "some.lock", mine, 1 - mine, both),
            daemon=True,
        )
        for mine in (0, 1)
    ]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    assert [process.exitcode for process in several] == [0, 0]
