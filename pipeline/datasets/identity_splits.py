"""Train, validation and test by the people in an image, the same for every subset of a domain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

from clare.errors import InputError
from clare.pipeline.datasets.schema import SPLIT_RULES, Domain
from clare.pipeline.manifests.splits import SHARES

CARVED = 8
"""One pair of the training list in so many is validation under the rule ``carved``."""

UNKNOWN = "no identity that the lists know"
MIXED = "identities of several splits"


class IdentitySplit:
    """Assigns the splits of one domain. They depend on names alone, never on what is on disk.

    Args:
        domain: names the identities, and their official splits.
        rule: one of `SPLIT_RULES`: ``listed`` by the official lists; ``carved`` likewise, with an
            eighth of the training pairs as validation, for data that lacks the official
            validation's people; ``held-out``, all test; ``identity``, 70/15/15 by a hash of each
            identity, or of the video or row where there is none; ``official``, as the release's
            folders or lists say, and test where they say nothing.

    Raises:
        InputError: there is no such rule, or no lists for it.
    """

    def __init__(self, domain: Domain, rule: str) -> None:
        if rule not in SPLIT_RULES:
            raise InputError(f"split rule {rule!r} is not one of {', '.join(SPLIT_RULES)}")
        if rule in ("listed", "carved") and not domain.pairs:
            raise InputError(f"domain {domain.id} has no lists of identities: {rule} can't be used")
        self.domain = domain
        self.rule = rule

    def split(self, identities: Sequence[str], name: str, official: str = "") -> tuple[str, str]:
        """The split of a row, and, where it has none, the reason.

        Args:
            identities: all identities in the image, without the domain's name.
            name: what is hashed where there are none.
            official: the split that the release gives it, if any.
        """
        if self.rule == "official":
            return official or "test", ""
        if self.rule == "held-out":
            return "test", ""
        if self.rule == "identity":
            splits = {hashed_split(one) for one in identities or (name,)}
        else:
            splits = {self._known.get(one, "") for one in identities or ("",)}
        if "" in splits:
            return "", UNKNOWN
        return (splits.pop(), "") if len(splits) == 1 else ("", MIXED)

    @cached_property
    def _known(self) -> Mapping[str, str]:
        known = dict(self.domain.listed)
        if self.rule == "carved":
            for pair in self.domain.pairs.get("train", ()):
                if _hash("_".join(pair)) < 1 / CARVED:
                    known |= dict.fromkeys(pair, "val")
        return known


def hashed_split(name: str) -> str:
    """70/15/15 by a hash of the name: never changed by what else there is."""
    place = _hash(name)
    for split, share in SHARES.items():
        place -= share
        if place < 0:
            return split
    return "train"


def _hash(name: str) -> float:
    """A number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
