"""Work that a scheduler tells to stop: what is in hand ends, or the process does, in time."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from clare import stopping
from clare.stopping import EXIT_STOPPED, StopAskedError, heed_signals, patience


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_where_nothing_is_in_hand_a_signal_ends_the_work_at_once(number):
    with pytest.raises(StopAskedError) as ended, heed_signals():
        send(number)
        threading.Event().wait(10)
    assert ended.value.name == number.name
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_what_is_in_hand_may_be_finished(number):
    with heed_signals(), patience() as stop:
        stop.end()
        send(number)
        stop.check()
        assert stop.asked
        with pytest.raises(StopAskedError):
            stop.end()


def test_after_a_while_what_is_in_hand_is_dropped(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 0.05)
    with pytest.raises(StopAskedError), heed_signals(), patience():
        send(signal.SIGTERM)
        threading.Event().wait(10)


def test_a_warning_has_no_end():
    with heed_signals(), patience() as stop:
        send(signal.SIGUSR1)
        send(signal.SIGUSR1)
        stop.check()


def test_work_is_asked_anew_each_time():
    with pytest.raises(StopAskedError), heed_signals():
        send(signal.SIGTERM)
    with heed_signals(), patience() as stop:
        assert not stop.asked


def test_signals_that_somebody_else_takes_are_left_to_him():
    taken = []
    before = signal.signal(signal.SIGTERM, lambda *_: taken.append(1))
    try:
        with heed_signals(), patience() as stop:
            send(signal.SIGTERM)
            assert taken == [1] and not stop.asked
    finally:
        signal.signal(signal.SIGTERM, before)


STUCK = """
import hashlib, os, signal
from clare import stopping
stopping.GRACE, stopping.LIMIT = 0.05, 0.1
with stopping.heed_signals(), stopping.patience():
    os.kill(os.getpid(), signal.SIGTERM)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)  # a minute
"""


def test_a_library_that_does_not_return_is_not_waited_for():
    done = subprocess.run([sys.executable, "-c", STUCK], timeout=30)
    assert done.returncode == EXIT_STOPPED


FORKED = """
import multiprocessing, signal, time
from clare import stopping
stopping.GRACE, stopping.LIMIT = 0.05, 0.1
forked = multiprocessing.get_context("fork")
with stopping.heed_signals(), stopping.patience() as stop:
    ended = [forked.Process(target=time.sleep, args=(20,)) for _ in range(3)]
    for number, one in enumerate(ended):
        one.start()
        time.sleep(0.02 * number)  # the first one hears of it while it begins
        one.terminate()
    for one in ended:
        one.join()
    time.sleep(0.3)
    lives = forked.Process(target=time.sleep, args=(20,))
    lives.start()
    print([one.exitcode for one in ended], stop.asked, flush=True)
print("left", flush=True)
lives.terminate()
"""


def test_a_child_that_is_ended_does_not_end_its_parent_nor_hold_it_up():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=15
    )
    assert (done.returncode, done.stdout) == (0, "[-15, -15, -15] False\nleft\n"), done.stderr
