"""`python -m clare` and the `clare` command."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C at any moment ends it with one sentence."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed, as by `>&-`: the next file would take its place and what is said
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")
    stop = _Stop()
    try:
        from clare.cli.app import main as run

        run()
    except SystemExit as end:
        stop.said = end.code == EXIT_INTERRUPTED
        raise
    except KeyboardInterrupt:
        stop.say()
        sys.exit(EXIT_INTERRUPTED)
    except Exception:
        if not stop.pressed:
            raise
        # What a library makes of Ctrl-C, as an import that failed, is no bug.
        stop.say()
        sys.exit(EXIT_INTERRUPTED)
    finally:
        stop.end()


class _Stop:
    """What Ctrl-C does, from the first import to the last of what Python does as it ends.

    Attributes:
        pressed: whether it was.
        said: whether the user was told.
    """

    def __init__(self) -> None:
        self.pressed = self.said = False
        self._thread = threading.get_ident()
        self._mine = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._mine:  # and not ignored, as it is behind `nohup`
            signal.signal(signal.SIGINT, self._interrupt)
            sys.unraisablehook = self._again
            # As the first that is registered, it is called last: Python would then let the signal
            # itself end the process.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)

    def say(self) -> None:
        """Tell the user, once."""
        if not self.said:
            self.said = True
            with suppress(OSError):
                os.write(2, b"clare: stopped\n")

    def end(self) -> None:
        """From now on Python ends, perhaps waiting for threads: Ctrl-C ends that."""
        if self._mine:
            signal.signal(signal.SIGINT, self._quit)
            # CPython notes that Ctrl-C came out of an `exec` of text, as a dataclass is made by,
            # and would end by the signal though it was caught; one that ends well unsays it.
            exec("")

    def _interrupt(self, *_: Any) -> NoReturn:
        self.pressed = True
        raise KeyboardInterrupt

    def _again(self, lost: sys.UnraisableHookArgs) -> None:
        """Raise once more what came where nothing can be raised, as while an object is deleted."""
        if lost.exc_type is KeyboardInterrupt:  # from a thread, for nothing can be raised here
            _thread.start_new_thread(signal.pthread_kill, (self._thread, signal.SIGINT))
        else:
            sys.__unraisablehook__(lost)

    def _quit(self, *_: Any) -> NoReturn:
        self.say()
        os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
