"""One mapping of a YAML file, read key by key, so that a slip is named instead of passed over."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from clare.errors import InputError

_NEEDED: Any = object()


class Entry:
    """A mapping whose keys are taken one after the other.

    Every method raises `InputError` for a value that is not what its key asks for.

    Args:
        where: what messages begin with, for example ``subsets.yaml: subsets.pixart``.
        values: the mapping as YAML gave it.
    """

    def __init__(self, where: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise InputError(f"{where} is not a mapping")
        self.where = where
        self._values = values
        self._taken: set[str] = set()

    def fault(self, what: str) -> InputError:
        """The error that says what is wrong with this entry."""
        return InputError(f"{self.where}: {what}")

    def done(self) -> None:
        """Refuse keys that nothing has asked for: a misspelt key would silently do nothing."""
        unknown = [str(key) for key in self._values if key not in self._taken]
        if unknown:
            known = ", ".join(sorted(self._taken))
            raise self.fault(f"{', '.join(unknown)} is not known; an entry may have {known}")

    def raw(self, key: str, default: Any) -> Any:
        """A value of any form."""
        self._taken.add(key)
        found = self._values.get(key, default)
        if found is _NEEDED:
            raise self.fault(f"{key} is missing")
        return found

    def text(self, key: str, default: Any = _NEEDED) -> str:
        """A text."""
        found = self.raw(key, default)
        if not isinstance(found, str):
            raise self.fault(f"{key} {found!r} is not a text")
        return found

    def flag(self, key: str, default: Any = _NEEDED) -> bool:
        """True or false."""
        found = self.raw(key, default)
        if not isinstance(found, bool):
            raise self.fault(f"{key} {found!r} is neither true nor false")
        return found

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A list of texts."""
        found = self.raw(key, list(default))
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise self.fault(f"{key} {found!r} is not a list of texts")
        return tuple(found)

    def choice(self, key: str, options: Collection[str]) -> str:
        """One of a few texts."""
        found = self.text(key)
        self.among(key, (found,), options)
        return found

    def among(self, key: str, found: Iterable[str], options: Collection[str]) -> None:
        """Refuse what is not one of the options."""
        for one in found:
            if one not in options:
                raise self.fault(f"{key} {one!r} is not one of {', '.join(options)}")

    def pattern(self, key: str, text: str) -> re.Pattern[str]:
        """A text as a regular expression, letter case aside."""
        try:
            return re.compile(text, re.IGNORECASE)
        except re.error as error:
            raise self.fault(f"{key} {text!r} is not a regular expression: {error}") from error

    def lookup(self, key: str, named: Mapping[str, Any], default: Any) -> Any:
        """What a text names elsewhere in the file."""
        if key not in self._values:
            self._taken.add(key)
            return default
        return named[self.choice(key, named)]

    def mapping(self, key: str) -> dict[str, str]:
        """Texts by name."""
        found = self.raw(key, {})
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise self.fault(f"{key} is not a mapping of texts")
        return found

    def counts(self, key: str) -> dict[str, int]:
        """Whole numbers by name."""
        found = self.raw(key, {})
        if not isinstance(found, dict) or not all(type(v) is int for v in found.values()):
            raise self.fault(f"{key} is not a mapping of whole numbers")
        return found

    def entries(self, key: str) -> Iterator[tuple[str, Entry]]:
        """The entries below a key, by name."""
        found = self.raw(key, {})
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            raise self.fault(f"{key} is not a mapping of names (quote a name that is a number)")
        for name, values in found.items():
            yield name, self.below(f"{key}.{name}", values)

    def below(self, name: str, values: Any) -> Entry:
        """An entry inside this one."""
        return Entry(f"{self.where}: {name}", values)
