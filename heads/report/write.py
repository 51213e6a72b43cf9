"""From run folders to one HTML file."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from clare.advice import PYTHON, Notice, Wording
from clare.errors import InputError
from clare.heads.metrics.plots import ABOVE, BELOW, COLOURS, TINT
from clare.heads.probing.record import ProbeRecord, is_probing, read_record
from clare.heads.report import answer
from clare.heads.report import sweep_results as sweeps
from clare.heads.report.blocks import Block, Code, Folded, Heading, Page, Section, Text
from clare.heads.report.commands import commands
from clare.heads.report.run_results import Finding, read_findings, used_parts
from clare.heads.report.sections import certainty, cost, data, mistakes, probes, results
from clare.heads.report.sections import lare_maps as maps
from clare.heads.report.sections import sweep as sweep_sections
from clare.heads.report.sections.df40 import as_df40
from clare.heads.report.sections.newer import newer_section
from clare.heads.report.sections.overview import overview, pairs
from clare.heads.report.sections.predicted_maps import predicted_maps
from clare.heads.report.sections.rows_and_epochs import by_rows, over_epochs
from clare.heads.report.sections.settings import settings, settings_table, shared_settings
from clare.heads.runs.record import is_run
from clare.version import __version__

_HERE = Path(__file__).parent

MISTAKES, TRAINING, CERTAINTY = "Most wrong", "Training", "Sure and unsure"
MAPS, DETECTION = "Image, truth and prediction", "Fakes told from reals"

SHORT = 32
"""Characters of code in a sentence that stay on one line."""


def report(
    paths: Sequence[Path | str],
    out: Path | str,
    store: Path | str | None = None,
    *,
    command: Sequence[str] = (),
    wording: Wording = PYTHON,
) -> Page:
    """Write the page of some runs, or of one sweep.

    The file needs nothing beside itself: no script, no style and no image from elsewhere.

    Args:
        paths: folders of finished runs, or the folder of one sweep or of probes.
        out: the HTML file; its folder is made.
        store: where the store is now; where it was if left out.
        command: that asked for the page, word by word; it is shown.
        wording: how its reader spells settings and operations.

    Returns:
        What was written.

    Raises:
        InputError: a folder is no finished run and no sweep, a file in it is damaged, or ``out``
            can't be written.
        StoreError: the named store is not there.
    """
    folders, place = list(dict.fromkeys(map(Path, paths))), Path(out)
    named = None if store is None else Path(store)
    several = [path for path in folders if sweeps.is_sweep(path) and not is_run(path)]
    if several and len(folders) > 1:
        raise InputError(f"{several[0]} is a sweep", "give it a page of its own")
    probing = [path for path in folders if is_probing(path)]
    if probing and len(folders) > 1:
        raise InputError(f"{probing[0]} holds probes", "give them a page of their own")
    if probing:
        page = _probe_page(read_record(folders[0]), folders[0].name)
    elif several:
        page = _sweep_page(sweeps.read_sweep(folders[0]), named, command)
    else:
        page = _runs_page(read_findings(folders, named), command)
    html = render(page, wording)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(html, "utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{out} can't be written: {error.strerror or error}") from error
    return page


def render(page: Page, wording: Wording = PYTHON) -> str:
    """A page as HTML; every text in it is escaped, and advice worded."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["marked"] = partial(_marked, wording=wording)
    colours = "".join(f"--s{n}: {colour}; " for n, colour in enumerate(COLOURS))
    colours += f"--above: var(--s{ABOVE}); --below: var(--s{BELOW}); --tint: {TINT};"
    style = f":root {{ {colours} }}\n{(_HERE / 'page.css').read_text('utf-8')}"
    return environment.get_template("page.html").render(page=page, style=style)


def _runs_page(findings: Sequence[Finding], command: Sequence[str]) -> Page:
    parts = used_parts(findings)
    one = findings[0] if len(findings) == 1 else None
    if one:
        first = [
            Section("results", f"Results on {one.rows_said}", results.results(one)),
            *_more_of(one),
            *as_df40(findings),
            data.audit(findings, parts),
            maps.lare_maps(findings, parts),
            *_mistakes_of(one),
            Section("training", TRAINING, cost.training(one), folded=True),
        ]
    else:
        first = [
            overview(findings),
            *pairs(findings),
            *map(_run_section, findings, range(len(findings))),
            *map(_folded, as_df40(findings)),
            _folded(data.audit(findings, parts)),
            _folded(maps.lare_maps(findings, parts)),
        ]
    return Page(
        title=f"{one.name}: {one.detector}" if one else f"{len(findings)} runs compared",
        warnings=answer.warnings_of(findings),
        question=answer.question_of(findings),
        answer=answer.paragraphs_of(one) if one else [],
        facts=answer.facts_of(one) if one else [],
        sections=[
            *first,
            _folded(data.data(findings, parts)),
            _folded(cost.cost(findings, parts)),
            settings(findings, commands(findings, parts, command)),
        ],
        made=_made(),
    )


def _run_section(one: Finding, number: int) -> Section:
    """All that is of one run among several."""
    blocks = [
        *map(Text, answer.paragraphs_of(one)),
        *(results.results(one, alone=False) if one.test else []),
        *(block for part in (*_more_of(one), *_mistakes_of(one)) for block in _inner(part)),
        Heading(TRAINING),
        *cost.training(one),
    ]
    return Section(f"run-{number}", f"{one.name}: {one.detector}", blocks, folded=True)


def _more_of(one: Finding) -> list[Section]:
    """What a page has of a tested run besides its results.

    Of a localiser pictures and its scores; of any where it is sure and where it is not.
    """
    if one.test is None:
        return []
    found = [Section("maps", MAPS, predicted_maps(one))] if one.localises else []
    if one.localises and (scores := results.detection(one)):
        found.append(Section("detection", DETECTION, scores))
    if sure := certainty.certainty(one):
        found.append(Section("certainty", CERTAINTY, sure))
    if one.test.newer is not None:
        found.append(newer_section({one.name: one.test.newer}, [*one.test.subsets]))
    return found


def _mistakes_of(one: Finding) -> list[Section]:
    """The images that are on the wrong side of the threshold, where there is one."""
    if one.localises and (one.test is None or one.test.threshold is None):
        return []
    return [Section("mistakes", MISTAKES, mistakes.mistakes(one))]


def _inner(section: Section) -> list[Block]:
    """A section as a part of another."""
    return [Heading(section.title), *section.blocks]


def _sweep_page(sweep: sweeps.Sweep, store: Path | None, command: Sequence[str]) -> Page:
    findings = read_findings([sweep.path / str(line["run"]) for line in sweep.finished], store)
    best = max(sweep.finished, key=lambda line: line[sweep.ranked] or 0)
    (leader,) = (one for one in findings if one.name == best["run"])
    judged = next((one for one in (leader, *findings) if _has_baselines(one)), leader)
    parts = used_parts([leader])
    shared = shared_settings(findings)
    common = settings_table("Settings that all runs share", shared)
    tested = any(one.test is not None for one in findings)
    made = settings([leader], commands(findings, parts, command))
    return Page(
        title=f"Sweep {sweep.path.name}: {len(sweep.lines)} runs",
        warnings=answer.warnings_of(findings),
        question=sweeps.question_of(sweep),
        answer=[sweeps.answer_of(sweep)],
        facts=sweeps.facts_of(sweep),
        sections=[
            sweep_sections.board(sweep, findings),
            sweep_sections.options(sweep),
            sweep_sections.spread(sweep),
            *([sweep_sections.by_subset(sweep, findings)] if tested else []),
            *by_rows(sweep),
            *over_epochs(sweep, findings),
            _of_leader(
                Section("results", f"Results on {leader.rows_said}", results.results(leader)),
                leader,
            ),
            *(_of_leader(part, leader) for part in _more_of(leader)),
            _of_leader(data.audit([judged], used_parts([judged])), leader, judged),
            _of_leader(data.data([leader], parts), leader),
            _of_leader(maps.lare_maps([leader], parts), leader),
            *(_of_leader(part, leader) for part in _mistakes_of(leader)),
            _of_leader(Section("training", TRAINING, cost.training(leader)), leader),
            *map(_folded, as_df40(findings)),
            sweep_sections.runs(sweep),
            _folded(cost.cost(findings, used_parts(findings))),
            replace(made, blocks=[Folded("Shared by all runs", [common]), *made.blocks]),
        ],
        made=_made(),
    )


def _probe_page(record: ProbeRecord, name: str) -> Page:
    command = [Code([shlex.join(record.command)])] if record.command else []
    return Page(
        title=f"Probes {name}: {record.fitted:,} on {len(record.shown)} inputs",
        warnings=list(record.notices),
        question=probes.question_of(record),
        answer=probes.paragraphs_of(record),
        facts=probes.facts_of(record),
        sections=[
            *probes.sections(record),
            Section("made", "How it was made", [Text(f"Store: {record.store}"), *command]),
        ],
        made=_made(),
    )


def _has_baselines(one: Finding) -> bool:
    return one.test is not None and bool(one.test.baselines or one.test.mask_baselines)


def _of_leader(section: Section, leader: Finding, run: Finding | None = None) -> Section:
    """A section about the best run of a sweep alone, or about the one that has what it shows."""
    whose = f"Of {leader.name}, the best single run on validation."
    if run is not None and run is not leader:
        whose = f"Of {run.name}, whose evaluation measured them."
    return replace(section, blocks=[Text(whose, "note"), *section.blocks], folded=True)


def _folded(section: Section) -> Section:
    return replace(section, folded=True)


def _marked(said: str | Notice, wording: Wording) -> Markup:
    """A text, escaped, in which what stands between backticks is code."""
    text = f"{said.worded(wording)}." if isinstance(said, Notice) else said
    parts = [escape(part) for part in text.split("`")]
    for place in range(1, len(parts) - 1, 2):
        short = Markup(' class="short"' if len(parts[place]) < SHORT else "")
        parts[place] = Markup("<code{}>{}</code>").format(short, parts[place])
    return Markup("").join(parts)


def _made() -> str:
    stamp = time.strftime("%Y-%m-%d %H:%M")
    return f"Made by clare {__version__} on {stamp}. This file needs nothing beside itself."
