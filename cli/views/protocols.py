"""What `clare manifest protocols` shows."""

from __future__ import annotations

from collections import defaultdict

from clare.cli.views.console import console, table
from clare.protocol import Protocol, Training, list_protocols, read_protocol


def show_protocols() -> None:
    """A line for each protocol that comes with CLaRE."""
    found = [read_protocol(name) for name in list_protocols()]
    rows = [(one.name, len(one.targets) or "-", one.title, _ways(one)) for one in found]
    console.print(table(None, ("protocol", "tests", "what it is", "trained as"), rows, left=4))


def show_protocol(name: str) -> None:
    """One protocol whole."""
    found = read_protocol(name)
    console.print(f"{found.title}\nsource: {found.source or 'not said'}", soft_wrap=True)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=True)
    for key, training in found.trainings.items():
        way = found.name + (f"/{key}" if key else "")
        console.print(f"train {way}: {_training(training)}", soft_wrap=True)
    sets: dict[str, list[str]] = defaultdict(list)
    for target in found.targets:
        reals = ", ".join(target.reals) or "its own reals"
        beside = ", in no mean" if target.beside else ""
        sets[f"{target.split}, beside {reals}{beside}"].append(target.name)
    for how, names in sets.items():
        console.print(f"{how}: {', '.join(names)}", soft_wrap=True)
    if found.targets:
        console.print(f"tests take {_frames(found.frames, found.sampling)}")


def _ways(protocol: Protocol) -> str:
    if not protocol.trainings:
        return "tests alone"
    return " ".join(f"/{key}" for key in protocol.trainings if key) or "one training"


def _training(training: Training) -> str:
    reals = f"; reals of {', '.join(training.reals)}" if training.reals else ""
    domains = f"; domain {', '.join(training.domains)}" if training.domains else ""
    frames = _frames(training.frames, training.sampling)
    return f"{', '.join(training.fakes)}{reals}{domains}; {frames}"


def _frames(frames: int | None, sampling: str) -> str:
    return f"{frames} frames a video, {sampling}" if frames else "all frames"
