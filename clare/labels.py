"""Words for real and fake: one vocabulary for manifests, lists, score files and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clare.advice import Name
from clare.errors import InputError
from clare.wording import listed

REAL_WORDS = frozenset(
    (
        "real",
        "reals",
        "nature",
        "natural",
        "original",
        "originals",
        "authentic",
        "genuine",
        "pristine",
        "unaltered",
        "unmanipulated",
        "bonafide",
        "live",
        "false",
    )
)
FAKE_WORDS = frozenset(
    (
        "fake",
        "fakes",
        "ai",
        "generated",
        "synthetic",
        "synthesis",
        "manipulated",
        "forged",
        "altered",
        "tampered",
        "deepfake",
        "deepfakes",
        "spoof",
        "spoofed",
        "true",
    )
)
VOCABULARY = "0 and 1, real and fake, original and manipulated, nature and ai, or 0_real and 1_fake"
"""What a message says of it."""

_TRUTHS = frozenset(("true", "false"))
_SIGNS = re.compile(r"[\s_-]+")
_BONA_FIDE = re.compile(r"bona[\s_-]fide")
_PARTED = re.compile(r"fake[a-z]")  # DFDCP_FakeA and _FakeB


@dataclass(frozen=True)
class Labels:
    """How labels are spelled.

    Args:
        real: words that mean real, beside the vocabulary and before it; letter case aside.
        fake: words that mean fake.
    """

    real: Sequence[str] = ()
    fake: Sequence[str] = ()

    def read(self, text: object) -> int | None:
        """0 real, 1 fake; None where the text says neither, or both.

        A number is 0 or 1. Of several words the last one or the first says it (``pixart_Fake``,
        ``fake_celeb``), or a number that begins them (``0_real``); one in their middle says
        nothing, and two that disagree (``Fake_from_Celeb-real``, ``1_real``) say nothing either.
        """
        plain = _plain(text)
        own = [[word.strip().casefold() for word in words] for words in (self.real, self.fake)]
        for label, words in enumerate(own):
            if plain in words:
                return label
        if (number := _number(plain)) is not None:
            # Who names 1 for real means 0 for fake.
            turned = 1 in map(_number, own[0]) or 0 in map(_number, own[1])
            return 1 - number if turned else number
        first, *others = _SIGNS.split(plain)
        said = {_word(first), _word(others[-1] if others else "")} - {None}
        if said and (number := _number(first)) is not None:
            said.add(number)
        return said.pop() if len(said) == 1 else None

    def refuse_mixed(self, texts: Iterable[object], where: str) -> None:
        """Refuse true and false beside words for real and fake: what they are true of is not said.

        Args:
            texts: the different labels of one table.
            where: they stand.

        Raises:
            InputError: both kinds are there, and the user named neither.
        """
        own = {word.strip().casefold() for word in (*self.real, *self.fake)}
        words = {_plain(text) for text in texts} - own
        truths, others = words & _TRUTHS, words - _TRUTHS
        if truths and any(_number(word) is None for word in others):
            raise InputError(
                f"{where}: the labels are {listed(sorted(words))}, and what "
                f"{listed(sorted(truths))} says beside the others is not known",
                Name("the word for real", "real_label"),
                Name("the word for fake", "fake_label"),
            )

    def require(self, text: object, where: str) -> int:
        """0 real, 1 fake; see `read`.

        Args:
            text: of a cell, or a value of a list.
            where: it stands, as ``scores.csv, line 3``.

        Raises:
            InputError: the text says neither, or both.
        """
        found = self.read(text)
        if found is None:
            said = f"the label is {str(text)!r}" if str(text).strip() else "the label is empty"
            raise InputError(
                f"{where}: {said}, and known are {VOCABULARY}",
                Name("the word for real", "real_label"),
                Name("the word for fake", "fake_label"),
            )
        return found


def read_label(text: object) -> int | None:
    """0 real, 1 fake, of the vocabulary alone; None where the text says neither, or both."""
    return _VOCABULARY_ALONE.read(text)


_VOCABULARY_ALONE = Labels()


def _plain(text: object) -> str:
    return _BONA_FIDE.sub("bonafide", str(text).strip().casefold())


def _number(text: str) -> int | None:
    return {"0": 0, "1": 1}.get(re.sub(r"\.0*$", "", text))


def _word(text: str) -> int | None:
    if text in REAL_WORDS:
        return 0
    return 1 if text in FAKE_WORDS or _PARTED.fullmatch(text) else None
