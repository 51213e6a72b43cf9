"""How far work has come, as who asked for it hears it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done, and with how much there is."""

StepProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
