"""The axes of `clare sweep`: every setting is named once, and has one place in a run's name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from clare.errors import InputError
from clare.heads.sweeps.sweep import parse_values
from clare.protocol import list_trainings
from clare.settings import parse_assignments

_OPTIONS = {"seed": "--seeds", "shuffle_labels": "--shuffle-labels"}
_OF_PROTOCOL = ("train", "reals", "domains")


def read_axes(
    named: Mapping[str, str | None],
    vary: Sequence[str],
    common: Collection[str],
    assignments: Sequence[str],
) -> dict[str, list[str]]:
    """Values by setting, the seeds last; of one seed, 0, where none is named.

    Whether an option or ``--vary`` names a setting decides nothing: the same values give the same
    axes in the same order, and so the same names of runs.

    Args:
        named: comma lists by setting, of the options that are axes, in their order. A protocol
            without a key stands for all its trainings.
        vary: texts of ``--vary``; settings that have no option come in this order.
        common: settings that are given for all runs.
        assignments: texts of ``--set``.

    Raises:
        InputError: a list is not usable, or a setting is named twice.
    """
    asked = {name: text for name, text in named.items() if text is not None}
    given = {name: _OPTIONS.get(name, f"--{name}") for name in (*asked, *common)}
    given |= dict.fromkeys(parse_assignments(assignments).get("train", {}), "--set")
    for text in vary:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--vary {text} is not of the form SETTING=V1,V2")
        if name in given:
            raise InputError(f"{name} stands in {given[name]} and in --vary {text}: name it once")
        asked[name], given[name] = values, f"--vary {text}"
    for name in asked:
        if given[name] == "--set":
            raise InputError(f"{name} is an axis, and --set train.{name} would decide it for all")
    if "protocol" in asked and set(_OF_PROTOCOL) & set(given):
        raise InputError(
            f"{given['protocol']} names its subsets and reals: leave --train and --reals out"
        )
    order = [name for name in (*named, *asked) if name in asked and name != "seed"]
    asked.setdefault("seed", "0")
    axes = {name: parse_values(asked[name]) for name in dict.fromkeys([*order, "seed"])}
    if "protocol" in axes:
        axes["protocol"] = [one for name in axes["protocol"] for one in list_trainings(name)]
    return axes
