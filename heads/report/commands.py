"""The commands that repeat a run, from what its folder records."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clare.errors import InputError
from clare.heads.config import TrainConfig, follow_protocol
from clare.heads.report.run_results import Finding
from clare.heads.report.sweep_results import Sweep
from clare.heads.runs.record import CONFIG, ExtractorRecord, read_record
from clare.protocol import read_protocol, split_name

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "lare": {
        "timesteps": "--timesteps",
        "draws": "--draws",
        "prompt": "--prompt",
        "size": "--lare-size",
        "latent": "--latent",
        "error": "--error",
        "seed": "--seed",
    },
    "clip": {"layers": "--layers", "mean_std": "--mean-std"},
}
"""Options of ``clare extract`` by extractor and setting of its fingerprint."""

_WITHOUT_OPTION = {"lare": ("noise",)}
"""Settings that only ``--set`` reaches."""

_AXES = ("fusion", "classifier", "fraction", "lr", "protocol", "seed")
"""Settings that ``clare sweep`` has an option for, whose values it lists."""

_WEIGHTS = {
    "lare": {"model": "--sd-model", "revision": "--sd-revision"},
    "clip": {"model": "--clip-model", "weights": "--clip-weights"},
}


def commands_of(findings: Sequence[Finding]) -> list[str]:
    """Lines for a shell: extraction, training and evaluation of every run."""
    stores: dict[str, list[Finding]] = {}
    for one in findings:
        stores.setdefault(one.record.store, []).append(one)
    lines = [line for alike in stores.values() for line in _extractions(alike)]
    for one in findings:
        store = one.store.path if one.store else one.record.store
        again = one.path.with_name(f"{one.name}-again")
        training = ("--config", one.path / CONFIG, "--store", store, "--out", again)
        lines.append(_line("train-head", *training))
    return lines + _evaluations({one.path: one for one in findings})


def sweep_commands(sweep: Sweep, findings: Sequence[Finding]) -> list[str]:
    """Lines for a shell: extraction, the whole sweep, and what of its runs was tested otherwise.

    The sweep's own test is the one that most runs have.

    Args:
        sweep: the sweep.
        findings: its finished runs; from the configuration of the first all are made.
    """
    leader = findings[0]
    store = leader.store.path if leader.store else leader.record.store
    parts: list[Any] = ["sweep", "--config", leader.path / CONFIG, "--store", store]
    for name, values in sweep.axes.items():
        option = {"seed": "--seeds"}.get(name, f"--{name}")
        # As the command line takes them: a table's truth values are Python's.
        listed = ",".join({"True": "true", "False": "false"}.get(one, one) for one in values)
        parts += [option, listed] if name in _AXES else ["--vary", f"{name}={listed}"]
    parts += _beside_leader(sweep, leader.record.config)
    folder = sweep.path.with_name(f"{sweep.path.absolute().name}-again")
    plain = Counter(subsets for one in findings if (subsets := _tested_plainly(one)))
    own = plain.most_common(1)[0][0] if plain else ()
    parts += _pairs("--evaluate", [",".join(own)])
    tested = _evaluations({folder / one.name: one for one in findings}, own)
    return [*_extractions(findings), _line(*parts, "--out", folder), *tested]


def _beside_leader(sweep: Sweep, leading: TrainConfig) -> list[Any]:
    """Options for settings that other runs would not get from the leader's configuration."""
    leader = leading.detector
    values: dict[str, Any] = {}
    tokens: dict[str, None] = {}
    runs = {(line.get("fusion"), line.get("classifier")): line["run"] for line in sweep.finished}
    for run in runs.values():
        other = read_record(sweep.path / str(run)).config.detector
        for part in ("fusion", "classifier"):
            name, settings = getattr(other, part), getattr(other, f"{part}_settings")
            if name != getattr(leader, part):
                values |= {f"{name}.{setting}": value for setting, value in settings.items()}
        if "tokens" in other.fields and "tokens" not in leader.fields:
            tokens[other.fields["tokens"]] = None
    if "protocol" in sweep.axes:
        values |= _unlike_protocol(leading, set(sweep.axes))
    sets = (f"{name}={json.dumps(value)}" for name, value in values.items())
    return [*_pairs("--tokens", tokens), *_pairs("--set", sets)]


def _unlike_protocol(config: TrainConfig, axes: Collection[str]) -> dict[str, Any]:
    """What ``--set`` said of frames otherwise than a run's protocol does."""
    try:
        usual = follow_protocol(config, config.protocol or "")
    except InputError:
        return {}  # a file of one's own that is gone
    asked = {name for name in ("frames", "sampling") if name not in axes}
    differing = {name for name in asked if config.settings[name] != usual.settings[name]}
    return {f"train.{name}": config.settings[name] for name in differing}


def _extractions(findings: Sequence[Finding]) -> list[str]:
    """All that runs of one store read, a line for what one command can extract."""
    fakes = dict.fromkeys(name for one in findings for name in one.trained_on)
    subsets = {name for one in findings for name in one.record.subsets}
    images: list[Any] = ["--real", "DIR"] if subsets - set(fakes) else []
    fakes |= dict.fromkeys(name for one in findings for name in _tested_there(one))
    for name in fakes:
        images += ["--fake", f"{name}=DIR"]
    images += ["--store", findings[0].record.store]
    return [_line("extract", *images, *_how(made)) for made in _together(findings)]


def _tested_there(finding: Finding) -> list[str]:
    """The subsets, but for reals, that a run was tested on in the store that it was trained on."""
    test, own = finding.test or {}, finding.record.store
    if test.get("protocol") or test.get("store", own) != own:
        return []
    return [name for name in test.get("subsets", ()) if name not in (test.get("reals") or ())]


def _together(findings: Sequence[Finding]) -> list[dict[str, ExtractorRecord]]:
    """Extractors by name: apart where their models or images differ, as two of one name do."""
    alike: dict[str, list[dict[str, ExtractorRecord]]] = {}
    for one in findings:
        for name, made in one.record.extractors.items():
            settings = made.fingerprint.settings
            shared = json.dumps([settings.get(key) for key in ("backbone", "dtype", "images")])
            sets = alike.setdefault(shared, [])
            for found in sets:
                if found.setdefault(name, made).fingerprint == made.fingerprint:
                    break
            else:
                sets.append({name: made})
    return [found for sets in alike.values() for found in sets]


def _how(made: Mapping[str, ExtractorRecord]) -> list[Any]:
    """Options of extractors that one command can run."""
    found = {name: one.fingerprint.settings for name, one in made.items()}
    first = next(iter(found.values()))
    parts: list[Any] = ["--features", ",".join(found)]
    parts += _pairs("--dtype", [first.get("dtype")])
    parts += _pairs("--backbone", [first.get("backbone")])
    parts += _images(first.get("images") or {})
    for name, settings in found.items():
        for setting, option in _OPTIONS.get(name, {}).items():
            parts += _pairs(option, [settings.get(setting)])
        known = [(one, settings.get(one)) for one in _WITHOUT_OPTION.get(name, ())]
        parts += _pairs("--set", [f"{name}.{one}={value}" for one, value in known if value])
        if not first.get("backbone"):
            origin = made[name].origin
            for key, option in _WEIGHTS.get(name, {}).items():
                parts += _pairs(option, [origin.get(key)])
    return parts


def _images(settings: Mapping[str, Any]) -> list[Any]:
    parts = []
    for name in ("resize", "recode", "view_seed"):
        parts += _pairs(f"--{name.replace('_', '-')}", [settings.get(name)])
    if settings.get("crop", "none") != "none":
        parts += ["--crop", settings["crop"], *_pairs("--margin", [settings.get("margin")])]
    return parts


def _evaluations(runs: Mapping[Path, Finding], by_sweep: tuple[str, ...] = ()) -> list[str]:
    """The tests of runs, a line for all that were tested alike.

    Args:
        runs: by the folder that is tested.
        by_sweep: the subsets that a sweep tests on itself, in order; such tests are left out.
    """
    alike: dict[tuple[str, ...], list[Path]] = {}
    for path, one in runs.items():
        if one.test and not (by_sweep and _tested_plainly(one) == by_sweep):
            alike.setdefault(tuple(map(str, _test_options(one, one.test))), []).append(path)
        if one.as_df40:
            options = ("--compat", "df40", "--protocol", one.as_df40["protocol"])
            moved = one.as_df40["store"] != one.record.store
            store = ("--store", one.as_df40["store"]) if moved else ()
            alike.setdefault((*options, *store), []).append(path)
    return [_line("evaluate", *paths, *options) for options, paths in alike.items()]


def _tested_plainly(finding: Finding) -> tuple[str, ...]:
    """The subsets of a test as a sweep makes it; none where another was made."""
    record, test = finding.record, finding.test or {}
    subsets = tuple(test.get("subsets", ()))
    # By default reals are those of the run's pools, or else of its subsets that have no fakes.
    own = record.reals or [name for name in record.subsets if name not in finding.trained_on]
    reals = list(own) if test.get("reals") else []
    plain = {"subsets": subsets, "reals": reals, "sampling": "even", "resamples": 1000}
    same = test and _test_options(finding, test) == _test_options(finding, plain)
    return subsets if same else ()


def _test_options(finding: Finding, test: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = []
    if test.get("protocol"):
        parts += ["--protocol", test["protocol"]]
    else:
        parts += _pairs("--subset", [[*test["subsets"]]]) + _pairs("--reals", [test.get("reals")])
        parts += _pairs("--domains", [test.get("domains")])
    usual = _usual(test.get("protocol"))
    for name in ("frames", "sampling"):
        parts += _pairs(f"--{name}", [test.get(name)] if test.get(name) != usual.get(name) else [])
    store = test.get("store", finding.record.store)
    parts += ["--store", store] if store != finding.record.store else []
    parts += ["--resamples", test["resamples"]] if test["resamples"] != 1000 else []
    parts += ["--baselines"] if "baselines" in test else []
    parts += ["--against", test["against"]["table"]] if "against" in test else []
    return parts


def _usual(protocol: str | None) -> Mapping[str, Any]:
    """Frames and sampling of a test that are not to be said; none where nobody knows."""
    if not protocol:
        return {"frames": None, "sampling": "even"}
    try:
        tests = read_protocol(split_name(protocol)[0])
    except InputError:
        return {}  # a file of one's own that is gone
    return {"frames": tests.frames, "sampling": tests.sampling}


def _pairs(option: str, values: Iterable[Any]) -> list[Any]:
    """An option before each value; lists become comma lists, what is empty is left out."""
    known = [value for value in values if value not in (None, "", [])]
    texts = [",".join(map(str, v)) if isinstance(v, list) else str(v) for v in known]
    return [part for text in sorted(texts) for part in (option, text)]


def _line(*parts: Any) -> str:
    return shlex.join(["clare", *(str(part) for part in parts)])
