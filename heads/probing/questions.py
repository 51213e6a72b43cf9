"""Questions of probes: does one input add to another?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clare.errors import InputError
from clare.heads.probing.inputs import Offer, ProbeInput

SHUFFLES = 10
"""Controls of a question. What fewer differ by says little of luck: of five it has 4 degrees of
freedom, by which only large gains are told from it."""

_ASKED = re.compile(r"(?:does\s+)?(\S+)\s+adds?\s+to\s+(\S+?)\s*\??", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """Does one input add to another?

    Args:
        base: what it may add to.
        added: what may add.
    """

    base: ProbeInput
    added: ProbeInput

    @property
    def together(self) -> ProbeInput:
        """Both."""
        return self.base.beside(self.added)

    @property
    def controls(self) -> tuple[ProbeInput, ...]:
        """Both, but what is added is that of other rows, shuffled anew in each."""
        numbers = range(1, SHUFFLES + 1)
        return tuple(self.base.beside(self.added, shuffled=number) for number in numbers)


def read_question(text: str, offer: Offer) -> list[Question]:
    """The questions of a sentence, as ``does lare:grid add to clip_cls?``.

    A field stands for each of its poolings.

    Raises:
        InputError: it is no such sentence, an input is not there, or what is added is more than one
            field or a part of the base.
    """
    match = _ASKED.fullmatch(text.strip())
    if match is None:
        raise InputError(
            f'{text!r} is no question that probes answer: ask, as "does lare add to clip_cls?"'
        )
    added, base = (offer.find(name) for name in match.groups())
    found = [Question(a, b) for a in base for b in added if not {*b.parts} <= {*a.parts}]
    if not found or any(len(one.added.parts) > 1 for one in found):
        raise InputError(f"{text!r} asks what adds: name one input that the other does not have")
    return found


def usual_questions(inputs: Sequence[ProbeInput], aucs: Mapping[str, float]) -> list[Question]:
    """Of every field, in the pooling that validation likes best: does it add to the best input?

    Sums are left out, and tokens that LaRE weighs: they hold something of two fields.

    Args:
        inputs: what was probed.
        aucs: AUC on validation by input's name.
    """
    single = [one for one in inputs if not one.is_mixed]
    if not single:
        return []
    of_field: dict[object, ProbeInput] = {}
    for one in sorted(single, key=lambda one: (-aucs[one.name], one.name)):
        of_field.setdefault(one.parts[0].source, one)
    best, *others = of_field.values()
    return [Question(best, other) for other in others]
