"""`clare bench`: what an extraction will cost on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer

from clare.cli.extract_options import EXTRACTION, IMAGES
from clare.cli.options import Json, Settings, with_settings
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.trial import TrialSettings


@with_settings
def bench(
    how: Annotated[ExtractSettings, replace(EXTRACTION, without=("max_failures", "strict"))],
    trial: Annotated[dict[str, Any], Settings(TrialSettings, {"images": "Trial"})],
    source: Annotated[Any, IMAGES],
    json_: Json = False,
) -> None:
    """Measure what an extraction will cost here: rates, bottleneck, memory, time and disk.

    It takes the options of `clare extract` but for --max-failures and --strict, and leaves the
    store alone.
    """
    wanted = TrialSettings(**trial)

    # Not before all settings are checked: they bring torch.
    from clare.cli.views.bench import BenchView, cost_json, print_cost
    from clare.pipeline.extraction.bench import run_bench

    with BenchView() as view:
        cost = run_bench(how, source, wanted, view)
    if json_:
        typer.echo(json.dumps(cost_json(cost), indent=2))
    else:
        print_cost(cost)
