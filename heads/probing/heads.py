"""What makes a run of a probe: the fusion that gives an input's vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from clare.heads.probing.inputs import Part, ProbeInput, Source
from clare.store.spec import field_of

_ROLE: Mapping[str, str] = {"": "cls", "tokens": "tokens", "lare": "lare"}
"""By what a field is: its role in a head; further fields of the kind have it with a number."""


def head_of(one: ProbeInput, lare: Source | None, widths: Sequence[int]) -> dict[str, Any]:
    """Settings of `clare.train_head` that read an input, beside those of its probe.

    Args:
        one: the input.
        lare: the field that weighs tokens.
        widths: of its parts.

    """
    part = one.parts[0]
    if len(one.parts) == 1 and not (part.is_weighed or part.is_ranked):
        return _alone(part)
    roles = _roles_of(one)
    weighing = {lare} if lare and any(part.is_weighed for part in one.parts) else set()
    named = _named([*roles, *weighing.difference(roles)])
    fields = {_read_as(role): named[source] for source, role in roles.items()}
    if fields.get("lare_steps") == "lare":  # as it is unless it is said otherwise
        del fields["lare_steps"]
    features = {one.extractor: one.digest for one, name in named.items() if name == one.field}
    settings = {"parts": [_said(part, roles[part.source]) for part in one.parts]}
    several = {"classifier_settings": {"widths": list(widths)}} if len(widths) > 1 else {}
    return {
        "fusion": "side_by_side",
        "fusion_settings": settings,
        **({"fields": fields} if fields else {}),
        **({"features": features} if features else {}),
        **several,
    }


def _alone(part: Part) -> dict[str, Any]:
    """A single part, by the fusion that is made for it."""
    features = {part.source.extractor: part.source.digest}
    if not part.pooling:
        return {"fusion": "cls", "fields": {"cls": part.source.field}, "features": features}
    if part.kind == "lare":
        chosen: dict[str, Any] = {"fusion": "pooled_lare", "timestep": part.step}
    else:
        chosen = {"fusion": "pooled", "fields": {"tokens": part.source.field}}
    return {**chosen, "fusion_settings": {"pooling": part.pooling}, "features": features}


def _roles_of(one: ProbeInput) -> dict[Source, str]:
    """The role of each field."""
    found: dict[Source, str] = {}
    counts = Counter[str]()
    for part in one.parts:
        if part.source not in found:
            role = _ROLE[part.kind]
            counts[role] += 1
            found[part.source] = role if counts[role] == 1 else f"{role}_{counts[role]}"
    return found


def _said(part: Part, role: str) -> str:
    """A part as the fusion names it."""
    pooling = f":{part.pooling}" if part.pooling else ""
    step = f"@{part.step}" if part.kind == "lare" else ""
    return f"{role}{pooling}{step}"


def _read_as(role: str) -> str:
    """The role of a head that reads it: of LaRE all steps, of which a part takes one."""
    return role.replace("lare", "lare_steps")


def _named(sources: Sequence[Source]) -> dict[Source, str]:
    """What each field is called in a run: with its fingerprint where its extractor has several."""
    prints = Counter(extractor for extractor, _ in {(one.extractor, one.digest) for one in sources})
    return {
        one: one.field if prints[one.extractor] == 1 else field_of(one.field, one.digest)
        for one in sources
    }
