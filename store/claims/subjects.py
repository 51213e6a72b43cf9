"""What a claim is about: a name and a number, for the register and for people."""

from __future__ import annotations


def entry_of(name: str, number: int) -> str:
    """A claim's place among the leases."""
    return f"{name}/{number:06d}"


def described(name: str, number: int) -> str:
    """What a claim is about, for people."""
    subset, _, last = name.rpartition("/")
    if not subset:
        return {"store": "the file of commands or the marker"}.get(name, f"the list of {name}")
    if subset == "runs":
        return f"the run {last}"
    if last == "rows":
        return f"the index of {subset}"
    what = f"shard {number} of {subset}"
    return f"the pictures of {what}" if last == "thumbnails" else f"{what}/{last}"
