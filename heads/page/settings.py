"""Every setting and fingerprint of a run, and the commands that repeat it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.heads.config import TrainConfig
from clare.heads.page.blocks import Block, Cell, Code, Folded, Heading, Section, Table, Text
from clare.heads.page.findings import Finding
from clare.heads.page.numbers import listed


def settings(findings: Sequence[Finding], commands: Sequence[str]) -> Section:
    """Settings, fingerprints and versions of every run; commands.

    Args:
        findings: the runs.
        commands: further lines, after those of the runs.
    """
    blocks: list[Block] = [
        Text("These commands make everything on this page again, from the images on."),
        Code([*_commands(findings), *commands]),
    ]
    for one in findings:
        if len(findings) > 1:
            blocks.append(Heading(f"{one.name}: {one.detector}"))
        blocks.append(Folded("Training", [_training(one)]))
        blocks.append(Folded("Extractors and their fingerprints", [_extractors(one)]))
        blocks.append(Folded("Versions and places", [_versions(one)]))
    return Section("settings", "Settings and commands", blocks)


def shared_settings(findings: Sequence[Finding]) -> dict[str, Any]:
    """The training settings, flattened, that all runs have in common."""
    first, *others = [flatten(one.record.config.to_json()) for one in findings]
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }


def settings_table(caption: str, values: Mapping[str, Any]) -> Table:
    """Training settings beside their defaults."""
    default = flatten(TrainConfig().to_json())
    rows = []
    for name, value in values.items():
        usual = default.get(name, default.get(name.rpartition(".")[0]))
        rows.append([Cell(name), Cell(_shown(value)), Cell("" if value == usual else "yes")])
    return Table(caption, ["setting", "value", "not the default"], rows, names=3)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, its names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _training(finding: Finding) -> Table:
    return settings_table("Settings of the training", flatten(finding.record.config.to_json()))


def _extractors(finding: Finding) -> Table:
    rows = []
    for name, made in finding.record.extractors.items():
        rows.append([Cell(name), Cell("fingerprint"), Cell(finding.record.fingerprints[name])])
        for source in ("fingerprint", "origin"):
            for setting, value in flatten(made.get(source, {})).items():
                rows.append([Cell(name), Cell(f"{source}.{setting}"), Cell(_shown(value))])
    return Table("What decides the features", ["extractor", "setting", "value"], rows, names=3)


def _versions(finding: Finding) -> Table:
    record = finding.record
    values = {
        **{f"version of {name}": version for name, version in record.versions.items()},
        "run": str(finding.path),
        "store": record.store,
        "trained on": listed(record.subsets),
        "face crops": "; ".join(record.face_crops) or "as the files are",
        "threshold": finding.validation["threshold"],
        "chosen epoch": finding.validation["epoch"],
    }
    rows = [[Cell(name), Cell(_shown(value))] for name, value in values.items()]
    return Table("Versions and places", ["what", "value"], rows, names=2)


def _commands(findings: Sequence[Finding]) -> list[str]:
    lines = list(dict.fromkeys(_extract(one) for one in findings))
    for one in findings:
        store = str(one.store.path) if one.store else one.record.store
        again = one.path.with_name(f"{one.name}-again")
        lines.append(
            _line(
                "train-head", "--config", one.path / "config.json", "--store", store, "--out", again
            )
        )
    return lines + [_evaluate(one) for one in findings if one.test is not None]


def _extract(finding: Finding) -> str:
    """The extraction, its settings from the fingerprints; the manifests are the user's."""
    found = {
        name: made["fingerprint"]["settings"] for name, made in finding.record.extractors.items()
    }
    parts: list[Any] = ["extract", "--subset", ",".join(finding.record.subsets)]
    parts += ["--store", finding.record.store, "--features", ",".join(found)]
    backbones = {values.get("backbone") for values in found.values()} - {None}
    for backbone in sorted(backbones):
        parts += ["--backbone", backbone]
    images: Mapping[str, Any] = next(
        (values["images"] for values in found.values() if values.get("images")), {}
    )
    for option, plain in (("resize", None), ("recode", None), ("crop", "none")):
        if images.get(option) not in (plain, None, ""):
            parts += [f"--{option}", images[option]]
    lare = found.get("lare", {})
    for option, name in (("timesteps", "timesteps"), ("draws", "draws"), ("prompt", "prompt")):
        if name in lare:
            value = lare[name]
            parts += [
                f"--{option}",
                ",".join(map(str, value)) if isinstance(value, list) else value,
            ]
    return _line(*parts)


def _evaluate(finding: Finding) -> str:
    test = finding.test or {}
    parts: list[Any] = ["evaluate", finding.path]
    if test.get("protocol"):
        parts += ["--protocol", test["protocol"]]
    else:
        parts += ["--subset", ",".join(test["subsets"])]
        if test.get("reals"):
            parts += ["--reals", ",".join(test["reals"])]
    parts += ["--baselines"] if "baselines" in test else []
    parts += ["--against", test["against"]["table"]] if "against" in test else []
    return _line(*parts)


def _line(*parts: Any) -> str:
    return shlex.join(["clare", *(str(part) for part in parts)])


def _shown(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value)
