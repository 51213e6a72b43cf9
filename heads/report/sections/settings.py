"""Every setting and fingerprint of a run, and the commands that made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.heads.config import PARTS, TrainConfig
from clare.heads.published import ImportRecord
from clare.heads.report.blocks import Block, Cell, Folded, Section, Table
from clare.heads.report.run_results import Finding
from clare.typed_json import to_json
from clare.wording import listed


def settings(findings: Sequence[Finding], made_by: Sequence[Block]) -> Section:
    """Settings, fingerprints and versions of every run; commands.

    Args:
        findings: the runs.
        made_by: see `clare.heads.report.commands.commands`.
    """
    blocks: list[Block] = list(made_by)
    shared = shared_settings(findings) if len(findings) > 1 else {}
    if shared:
        table = settings_table("Settings that all runs share", shared)
        blocks.append(Folded("Training: shared by all runs", [table]))
    extractors: dict[str, tuple[Table, list[str]]] = {}
    for one in findings:
        table = _extractors(one)
        extractors.setdefault(str(table), (table, []))[1].append(one.name)
        own = {n: v for n, v in flatten(one.record.config.to_json()).items() if n not in shared}
        training = settings_table("Settings of the training", own)
        # A name, or a path, is spelt as it is.
        whose = f"{one.name}: training" if len(findings) > 1 else "Training"
        blocks.append(Folded(f"{whose}, versions and places", [training, _versions(one)]))
    for table, names in extractors.values():
        of = f" of {listed(names)}" if len(extractors) > 1 else ""
        blocks.append(Folded(f"Extractors{of} and their fingerprints", [table]))
    return Section("settings", "Settings and commands", blocks, folded=True)


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
    without = {kind for kind in PARTS if values.get(kind) == ""}
    rows = []
    for name, value in values.items():
        if name.partition("_settings")[0] in without:
            continue
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


def _extractors(finding: Finding) -> Table:
    rows = []
    for name, made in finding.record.extractors.items():
        rows.append([Cell(name), Cell("fingerprint"), Cell(finding.record.fingerprints[name])])
        for source, values in to_json(made).items():
            for setting, value in flatten(values).items():
                rows.append([Cell(name), Cell(f"{source}.{setting}"), Cell(_shown(value))])
    return Table("What decides the features", ["extractor", "setting", "value"], rows, names=3)


def _versions(finding: Finding) -> Table:
    record = finding.record
    values = {
        **{f"version of {name}": version for name, version in record.versions.items()},
        "run": str(finding.path),
        "store": record.store,
        "trained on": listed(record.subsets or record.trained_on),
        "face crops": record.cropping or "as the files are",
        **({"faces found by": listed(record.face_detectors)} if record.face_detectors else {}),
        **({"masks, sha256": record.masks} if record.masks else {}),
        "threshold": finding.threshold,
        "chosen epoch": finding.validation.epoch,
        **_origin(record.published),
    }
    rows = [[Cell(name), Cell(_shown(value))] for name, value in values.items()]
    return Table("Versions and places", ["what", "value"], rows, names=2)


def _origin(imported: ImportRecord | None) -> dict[str, str]:
    """Where published weights come from."""
    if imported is None:
        return {}
    about = imported.about
    return {
        "published weights": f"{imported.file}, sha256 {imported.sha256}",
        "their source": about.url,
        "their licence": about.licence,
    }


def _shown(value: Any) -> str:
    if isinstance(value, str | Path):
        return str(value)
    return json.dumps(value)
