"""Options of commands: those that several share, and those that a settings dataclass declares.

A parameter of a command that is annotated with `Settings` stands for the fields of a dataclass, an
option each: name, type, help and default are the field's own, so that a new setting is one line, in
its dataclass. The command gets those that were given, by the field's name.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from clare.advice import Name
from clare.columns import MaskFake
from clare.errors import InputError
from clare.foreign import parse_json
from clare.settings import Setting, describe

Result = TypeVar("Result")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Resamples = Annotated[int, typer.Option(min=0, help="Of the bootstrap behind each interval.")]
Reals = Annotated[
    str | None,
    typer.Option(
        help="Subsets whose reals stand beside fakes that have none, comma-separated. "
        "[default: all subsets of reals alone]"
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of labels: 0 and 1, or words. [default: a customary name]"),
]
ScoreColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of scores: the probability of fake, or any number that rises with it. "
        "[default: a customary name, margin first]"
    ),
]
SubsetColumn = Annotated[
    str | None, typer.Option(help="Column of subsets. [default: a customary name, if there]")
]
RealLabel = Annotated[
    str | None, typer.Option(help="More words for real in labels, comma-separated.")
]
FakeLabel = Annotated[
    str | None, typer.Option(help="More words for fake in labels, comma-separated.")
]
Manifests = Annotated[
    Path, typer.Option(envvar="CLARE_MANIFESTS", help="Folder of the manifests, NAME.csv.")
]
MANIFESTS = Path("data_manifests")
Store = Annotated[
    Path, typer.Option(envvar="CLARE_STORE", help="The feature store, a folder or a URL (s3://…).")
]
STORE = Path("features.zarr")

Cluster = Annotated[
    str | None,
    typer.Option(
        help="Dask workers that do it: local:N on this machine, tcp://HOST:PORT of a scheduler, or "
        "a YAML file of SLURMCluster's settings (docs/cluster.md).",
        rich_help_panel="Run",
    ),
]

WEIGHTS = "Where weights are, if not where they were"
ClipModel = Annotated[
    str | None,
    typer.Option(help="A name of open_clip or a local folder.", rich_help_panel=WEIGHTS),
]
ClipWeights = Annotated[
    str | None, typer.Option(help="A tag or a local file.", rich_help_panel=WEIGHTS)
]
ModelSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="EXTRACTOR.SETTING=VALUE, as clip_2.model=RN50 of a run's second CLIP.",
        rich_help_panel=WEIGHTS,
    ),
]
FollowLinks = Annotated[
    Path | None,
    typer.Option(help="DIR that links of images and folders may lead into, as a data disk."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="PART.SETTING=VALUE (JSON or text), for any other setting."),
]


@dataclass(frozen=True)
class Settings:
    """What a command's parameter is annotated with, to stand for a dataclass's settings.

    Args:
        cls: the dataclass. Its mappings get no option: ``--set`` and options by hand fill those.
        panels: headings of the help, by the first setting below each.
        part: whose settings they are; it begins the options' names.
        flags: options that are named otherwise, by setting.
        extra: further arguments of `typer.Option`, by setting; ``help`` replaces the field's own,
            and ``default`` the default that is shown.
        without: settings that get no option.
        only: the settings that get one, where most get none.
    """

    cls: type
    panels: Mapping[str, str]
    part: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    without: Collection[str] = ()
    only: Collection[str] = ()

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """A command's parameters, each with the name of its setting."""
        panel = None
        for setting in describe(self.cls):
            panel = self.panels.get(setting.name, panel)
            kind = _option_type(setting.hint)
            unnamed = self.only and setting.name not in self.only
            if kind is None or unnamed or setting.name in self.without:
                continue
            name = f"{self.part}_{setting.name}" if self.part else setting.name
            extra = dict(self.extra.get(setting.name, {}))
            extra.setdefault("rich_help_panel", panel)
            extra["help"] = _help(setting, extra)
            flag = self.flags.get(setting.name, f"--{name.replace('_', '-')}")
            if kind is bool and setting.default is True:
                flag = f"{flag}/--no-{flag.removeprefix('--')}"
            option = typer.Option(flag, **extra)
            yield (
                setting.name,
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=Annotated[kind | None, option],
                ),
            )

    def gather(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the command gets: the values that were given, by the name of their setting."""
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Arguments:
    """What a command's parameter is annotated with, to stand for the options of a function.

    Args:
        make: makes what the command gets. Its own parameters are options, or annotated with
            `Settings`.
        without: options that the command lacks.
    """

    make: Callable[..., Any]
    without: Collection[str] = ()

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """A command's parameters, each with the name of the function's."""
        for name, parameter in inspect.signature(with_settings(self.make)).parameters.items():
            if name not in self.without:
                yield name, parameter

    def gather(self, given: Mapping[str, Any]) -> Any:
        """What the command gets."""
        return with_settings(self.make)(**given)


def with_settings(command: Callable[..., Result]) -> Callable[..., Result]:
    """A command whose parameters annotated with `Settings` or `Arguments` stand for options."""
    own: list[Parameter] = []
    gathered: dict[str, tuple[Settings | Arguments, dict[str, str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        found = [
            one
            for one in typing.get_args(parameter.annotation)[1:]
            if isinstance(one, Settings | Arguments)
        ]
        if not found:
            own.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
            continue
        several = list(found[0].parameters())
        gathered[parameter.name] = found[0], {one.name: name for name, one in several}
        own += [one for _, one in several]

    @functools.wraps(command)
    def gather(**values: Any) -> Result:
        for name, (stands_for, options) in gathered.items():
            given = {one: values.pop(option) for option, one in options.items() if option in values}
            values[name] = stands_for.gather(given)
        return command(**values)

    del gather.__wrapped__  # whose signature it would be taken for
    vars(gather)["__signature__"] = inspect.Signature(own)
    gather.__annotations__ = {one.name: one.annotation for one in own}
    return gather


def _option_type(hint: Any) -> Any:
    """The type of a setting's option; None where it can have no option."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = [_option_type(one) for one in args if one is not type(None)]
        if all(typing.get_origin(kind) is Literal for kind in kinds):
            return Literal[tuple(word for kind in kinds for word in typing.get_args(kind))]
        return kinds[0] if len(kinds) == 1 else str
    if origin is tuple:
        return str  # with commas
    if origin is Literal or hint in (bool, int, float, str, Path):
        return hint
    return None


def _help(setting: Setting, extra: dict[str, Any]) -> str:
    """The field's own words, and what holds where nothing is given."""
    default = extra.pop("default", setting.default)
    text = extra.pop("help", None) or _sentence(setting.help, {str(default), *_words(setting.hint)})
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    if default is True:
        default = "on"
    if default is None or default is MISSING or default is False or default == "":
        return str(text)
    return f"{text} [default: {default}]"


def _sentence(text: str, values: Collection[str]) -> str:
    """A text that begins with a capital, unless it begins with a value, and ends with a stop."""
    first = text.partition(" ")[0].strip("`,;:.")
    begun = text if first in values else f"{text[:1].upper()}{text[1:]}"
    return f"{begun.rstrip('.')}."


def _words(hint: Any) -> Collection[str]:
    kind = _option_type(hint)
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


VIDEO_HELP = (
    "Whose images are frames of one video and share a split: folder, name:REGEX, or none. "
    "[default: folders that look like videos]"
)
SPLIT_HELP = "folders keeps train/, val/ and test/ as they are, random deals all images out."
MaskFakeOption = Annotated[
    MaskFake | None,
    typer.Option(help="What is fake in the masks. [default: white]"),
]
Video = Annotated[str | None, typer.Option(help=VIDEO_HELP, rich_help_panel="Plain folders")]
Identities = Annotated[
    bool,
    typer.Option(
        "--identities",
        help="Folders named a or a_b, as of FF++, name the people in their images.",
        rich_help_panel="Plain folders",
    ),
]


def folder_rules(
    video: str | None, identities: bool, split: str | None, test_only: bool = False
) -> dict[str, Any]:
    """What is said of how names of folders are read: fields of `FolderRules`."""
    given = {"video": video, "identities": identities, "split": split, "test_only": test_only}
    return {name: value for name, value in given.items() if value}


def split_names(text: str | None) -> list[str] | None:
    """The names of a comma-separated list, each once; None where there is none."""
    if not text:
        return None
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_assignments(assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``PART.SETTING=VALUE`` texts, by part; the value is JSON or else plain text.

    Raises:
        InputError: a text is of another form.
    """
    found: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        part, dot, setting = target.partition(".")
        if not (equals and dot and part and setting):
            raise InputError(
                f"{assignment!r} assigns no setting", Name("one", "set", "PART.SETTING=VALUE")
            )
        try:
            value = parse_json(text)
        except ValueError:
            value = text
        found.setdefault(part, {})[setting] = value
    return found


def weights_at(
    clip_model: str | None, clip_weights: str | None, assignments: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Where weights are, by extractor, as options say it.

    Raises:
        InputError: a text assigns nothing.
    """
    found = parse_assignments(assignments or [])
    named = {"model": clip_model, "weights": clip_weights}
    given = {name: value for name, value in named.items() if value is not None}
    return {**found, "clip": {**given, **found.get("clip", {})}}


def parse_digests(text: str) -> dict[str, str]:
    """Fingerprint by extractor or field, of ``EXTRACTOR=FINGERPRINT,…``; two as ``A+B``.

    Raises:
        InputError: the text is of another form.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, digest = part.strip().partition("=")
        if not (name and equals and digest):
            raise InputError(
                f"features {text} are not fingerprints",
                Name("them", "features", "EXTRACTOR=FINGERPRINT,EXTRACTOR=FINGERPRINT"),
            )
        # The whole name of the folder serves too.
        digest = "+".join(one.rpartition("-")[2] for one in digest.split("+"))
        found[name] = f"{found[name]}+{digest}" if name in found else digest
    return found


def prepare_folder(path: Path, setting: str) -> None:
    """Make a folder that will be written to; looked at before hours of work, not after them.

    Raises:
        InputError: it is a file, or can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise InputError(
            f"{path} can't be a folder to write to: {reason}", Name("another", setting)
        ) from error
    if not os.access(path, os.W_OK):
        raise InputError(
            f"{path} can't be a folder to write to: permission denied", Name("another", setting)
        )


def prepare_file(path: Path, setting: str) -> None:
    """See that a file can be written, before hours of work, and leave it as it is.

    Raises:
        InputError: it is a folder, or can't be written.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder", Name("a file", setting))
    is_new = not path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
        if is_new:
            path.unlink()
    except OSError as error:
        reason = f"{path.parent} is a file" if path.parent.is_file() else error.strerror
        raise InputError(f"{path} can't be written: {reason}", Name("another", setting)) from error
