"""A job script of SLURM around one command, which its user reads and submits."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from clare.advice import Name
from clare.errors import InputError
from clare.stopping import EXIT_STOPPED

_FORMS = {
    "array": (r"[1-9]\d*(%[1-9]\d*)?", "32, or 32%8 for 8 at a time"),
    "gpus": (r"([\w.-]+:)?[1-9]\d*", "1 or a100:1"),
    "time": (r"(\d+-\d{1,2}(:\d{2}){0,2}|\d+(:\d{2}){0,2})", "4:00:00"),
    "mem": (r"[1-9]\d*[KMGTkmgt]?", "32G"),
    "modules": (r"[\w./+-]+(,[\w./+-]+)*", "cuda/12.4,python"),
}
_EARLY = 60
"""Seconds by which SLURM may give its notice before the time that was named."""

_PLAIN = (r"[\w.,:@%+=/-]+", "of letters, digits and . , : @ % + = / -")


@dataclass(frozen=True)
class JobSettings:
    """What a job asks of SLURM, and how its shell is prepared.

    Args:
        array: tasks of an array, which share the work; with %N at most N at a time.
        gpus: GPUs of each task, as 1 or a100:1.
        cpus: CPUs of each task; as many threads decode.
        mem: memory of each task, as 32G.
        time: limit of each task, as 4:00:00; a task that reaches it is queued again.
        account: name of the account that pays.
        partition: where to queue; several are comma-separated.
        constraint: features that a node has to have.
        job_name: name of the job, and of the files of its output.
        notice: seconds before the limit when the work is told to come to an end.
        restarts: times that a task is queued again after its limit.
        modules: modules to load first, comma-separated.
        setup: shell file that is read then, as one that activates an environment.

    Raises:
        InputError: a value is none that SLURM takes, or the setup file is not there.
    """

    array: str | None = None
    gpus: str | None = None
    cpus: int | None = None
    mem: str | None = None
    time: str | None = None
    account: str | None = None
    partition: str | None = None
    constraint: str | None = None
    job_name: str | None = None
    notice: int = 120
    restarts: int = 100
    modules: str | None = None
    setup: Path | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            pattern, form = _FORMS.get(one.name, _PLAIN)
            if isinstance(value, str) and not re.fullmatch(pattern, value):
                told = one.name.replace("_", " ")
                raise InputError(f"{value!r} is no {told} for SLURM", Name("one", one.name, form))
        for name in ("cpus", "notice"):
            if (getattr(self, name) or 1) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.time is not None and 0 < _seconds(self.time) <= self.notice + _EARLY:
            raise InputError(
                f"a notice {self.notice} seconds before the limit of {self.time} may come at once: "
                "SLURM gives it up to a minute early",
                Name("a longer limit", "time", "4:00:00"),
                Name("a shorter one", "notice"),
            )
        if self.restarts < 0:
            raise InputError(f"restarts must be at least 0, not {self.restarts}")
        if self.setup is not None and not self.setup.is_file():
            raise InputError(f"{self.setup} is no file", Name("a shell file", "setup"))


def own_words(words: Sequence[str], options: Iterable[str]) -> list[str]:
    """The words of a command line without some options, each of which has a value.

    Args:
        words: as they were typed.
        options: as ``--array``.
    """
    known, kept, rest = set(options), [], iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name not in known:
            kept.append(word)
        elif not equals:
            next(rest, None)
    return kept


def job_script(
    settings: JobSettings,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    typed: Sequence[str],
) -> str:
    """The script.

    The command runs beside the shell, which passes signals on to it: the warning of the limit
    reaches the shell alone, and would end it. A task is queued again by its own name, for an
    array's number stands for one of its tasks too; and only after that warning, so that a job that
    its user cancels stays so, and one that is preempted is queued by SLURM.

    Args:
        settings: of the job.
        command: the words that a task runs, ``clare`` the first of them.
        folder: where it runs.
        environment: variables that the command would have here.
        typed: the words that asked for the script, for its head.
    """
    directives = {
        "job-name": settings.job_name or f"clare-{command[1]}",
        "array": _array(settings.array),
        "output": "%x_%A_%a.out" if settings.array else "%x_%j.out",
        "open-mode": "append",
        "requeue": "",
        "signal": f"B:USR1@{settings.notice}",
        "time": settings.time,
        "gres": settings.gpus and f"gpu:{settings.gpus}",
        "cpus-per-task": settings.cpus,
        "mem": settings.mem,
        "account": settings.account,
        "partition": settings.partition,
        "constraint": settings.constraint,
    }
    asked = [
        f"#SBATCH --{key}={value}" if value != "" else f"#SBATCH --{key}"
        for key, value in directives.items()
        if value is not None
    ]
    lines = [
        "#!/bin/bash",
        f"# made by: {_comment(typed)}",
        *asked,
        "",
        f"cd -- {shlex.quote(str(folder))} || exit 1",
        *_preparation(settings),
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())),
        "",
        f"{shlex.join(command)} &",
        _REST.format(again=EXIT_STOPPED, unheard=_UNHEARD, restarts=settings.restarts),
    ]
    return "\n".join(lines)


_UNHEARD = 128 + signal.SIGUSR1
"""What a shell tells of a program that the warning has killed."""

_REST = """\
work=$! warned='' code=''
# Near the limit: end after the shard in hand. Preempted or cancelled: end within ten seconds.
trap 'told=1 warned=1; kill -USR1 "$work" 2>/dev/null' USR1
trap 'told=1; kill -TERM "$work" 2>/dev/null' TERM
told=1
while [ -n "$told" ]; do  # a signal ends `wait`, and not what it waits for
    told=''
    wait "$work"; now=$?
    [ "$now" = 127 ] && [ -n "$code" ] || code=$now
done
# Warned before it could heed that, while it still began: nothing is lost, and all remains.
[ "$code" = {unheard} ] && [ -n "$warned" ] && code={again}
task=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
if [ "$code" = {again} ] && [ -n "$warned" ]; then
    if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {restarts} ]; then
        scontrol requeue "${{task:-$SLURM_JOB_ID}}"
    else
        echo "work remains, and this task was queued again {restarts} times: submit it anew" >&2
    fi
fi
exit "$code"
"""


def _preparation(settings: JobSettings) -> list[str]:
    """What comes before the command, so that the node knows it."""
    lines = []
    if settings.modules:
        lines += [f"module load {module}" for module in settings.modules.split(",")]
    if settings.setup is not None:
        lines.append(f". {shlex.quote(str(settings.setup.resolve()))} || exit 1")
    own = Path(sys.executable).parent
    if not lines and (own / "clare").exists():
        lines.append(f"export PATH={shlex.quote(str(own))}:$PATH")
    return lines


def _seconds(limit: str) -> int:
    """Of a limit in any of SLURM's forms: minutes, with seconds, hours before, days before a dash.

    None at all is 0.
    """
    days, dash, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if not dash and len(parts) < 3:  # minutes come first
        parts = [0, *parts]
    hours, minutes, seconds = [*parts, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _array(asked: str | None) -> str | None:
    if asked is None:
        return None
    tasks, percent, most = asked.partition("%")
    return f"0-{int(tasks) - 1}{percent}{most}"


def _comment(words: Sequence[str]) -> str:
    """A command line on one line, whatever its words hold."""
    return shlex.join(words).encode("unicode_escape").decode()
