"""What the contracts of all parts share."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar

import pytest

from clare.errors import InputError
from clare.plugins import find_part, is_path, part_name, trust_here
from clare.settings import build_settings, describe


class PartContract:
    """A part that is found by its name, with settings that can be recorded.

    Attributes:
        part: its name, or the path of its file, seen from the file of the tests.
        settings: those that the tests give it, where the defaults don't serve.
        package: where parts of its kind stand.
        base: what they derive from.
    """

    part: ClassVar[str]
    settings: Mapping[str, Any] = MappingProxyType({})
    package: ClassVar[ModuleType]
    base: ClassVar[type]

    @classmethod
    def find_name(cls) -> str:
        """The part's name; a path is seen from the file of the tests."""
        if not is_path(cls.part):
            return cls.part
        return str(trust_here(Path(inspect.getfile(cls)).parent / cls.part))

    @classmethod
    def find(cls) -> type[Any]:
        """The part's class."""
        return find_part(cls.package, cls.find_name(), cls.base)

    def build_settings(self, **changed: Any) -> Any:
        """Its settings, as the tests give them."""
        return build_settings(
            part_name(self.part), self.find().Settings, {**self.settings, **changed}
        )

    def test_it_says_what_it_is(self) -> None:
        assert inspect.getdoc(self.find()), "the class has a docstring"

    def test_its_settings_are_a_frozen_dataclass(self) -> None:
        settings = self.build_settings()
        assert is_dataclass(settings) and not isinstance(settings, type)
        assert hash(settings) == hash(self.build_settings()), "it is frozen, and holds plain values"
        assert replace(settings) == settings

    def test_it_works_without_settings(self) -> None:
        missing = [f.name for f in describe(self.find().Settings) if "MISSING" in repr(f.default)]
        assert not missing, "every setting has a default"

    def test_its_settings_can_be_recorded(self) -> None:
        settings = self.build_settings()
        recorded = json.loads(json.dumps(asdict(settings)))
        assert self.build_settings(**recorded) == settings

    def test_its_settings_are_told_in_their_docstring(self) -> None:
        cls = self.find().Settings
        silent = [
            field.name for field in fields(cls) if f"{field.name}:" not in (cls.__doc__ or "")
        ]
        assert not silent, f"the Args of {cls.__name__} tell every setting"

    def test_a_setting_that_it_lacks_is_refused(self) -> None:
        with pytest.raises(InputError, match="no_such_setting"):
            self.build_settings(no_such_setting=1)
