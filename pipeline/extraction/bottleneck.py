"""Which stage decides how long an extraction takes, and what would move it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clare.advice import Advice, Name, Notice, Set
from clare.models.runtime import Runtime
from clare.pipeline.extraction.pace import (
    CORES,
    DECODE,
    FORWARD,
    MODELS,
    WRITE,
    Spent,
    extractor_of,
    kind_of,
    lane_of,
    lanes,
)
from clare.pipeline.extraction.rates import Rate

WORTH = 1.1
"""How many times as fast, or as long, counts as more."""


@dataclass(frozen=True)
class Bottleneck:
    """What decides.

    Args:
        what: `DECODE`, `MODELS`, `WRITE`, or `CORES` where the stages share few.
        shares: of the time of what decides, by stage; of a stage beside it, what it takes of that
            time.
        remark: what would move it.
    """

    what: str
    shares: dict[str, float]
    remark: Notice


def costs_of(rates: Sequence[Rate], threads: int, runtime: Runtime) -> dict[str, Spent]:
    """What the loop's stages cost an image, as if nobody else had the cores.

    Args:
        rates: of every stage alone.
        threads: that decode, or the cores if they are fewer.
        runtime: of the models.
    """
    found = {}
    for rate in rates:
        seconds = rate.seconds
        if rate.stage == DECODE:
            seconds = min(seconds, rate.cpu / threads)
        elif kind_of(rate.stage) == FORWARD and runtime.device == "cpu":
            seconds = min(seconds, rate.cpu / torch_threads())
        if kind_of(rate.stage) in (DECODE, FORWARD, WRITE):
            found[rate.stage] = Spent(1, seconds, rate.cpu)
    return found


def torch_threads() -> int:
    """Threads that each operation of a model takes on a CPU."""
    import torch

    return torch.get_num_threads()


def find_bottleneck(
    costs: dict[str, Spent],
    cores: int,
    loaders: int,
    runtime: Runtime,
    batches: Sequence[Rate],
) -> Bottleneck:
    """What decides how long an extraction takes.

    Args:
        costs: from `costs_of`.
        cores: that the stages share.
        loaders: decoding threads.
        runtime: of the models.
        batches: of the slowest model with its own micro-batch, and with others.
    """
    busy = lanes(costs, cores)
    what = max(_OWN, key=busy.__getitem__)
    if busy[CORES] > WORTH * busy[what]:
        what = CORES  # else one stage has nearly all of them
    if what == CORES:
        parts = {stage: one.cpu / cores for stage, one in costs.items()}
    else:
        parts = {stage: one.seconds for stage, one in costs.items()}
    shares = {stage: part / busy[what] for stage, part in parts.items()}
    own = [stage for stage in shares if what in (CORES, lane_of(stage))]
    dearest = max(own, key=shares.__getitem__)
    rest = lanes({s: one for s, one in costs.items() if lane_of(s) != what}, cores)
    then = max(rest, key=rest.__getitem__)
    limit = f"without that, {_LANES[then]} would allow {1 / rest[then]:.3g}"
    if what == DECODE:
        said = f"decoding is slowest; {limit} images/s"
        return Bottleneck(what, shares, Notice(said, *_more_decoding(loaders, cores)))
    if what == WRITE:
        said = f"writing is slowest; {limit} images/s"
        return Bottleneck(what, shares, Notice(said, Name("a store on a faster disk", "store")))
    share = f"{_named(dearest)} takes {shares[dearest]:.0%} of"
    if what == CORES:
        short = "the core is" if cores == 1 else f"the {cores} cores are"
        said = f"{short} what all stages wait for, and {share} the work"
    else:
        said = f"the models are slowest, and {share} their time; {limit} images/s"
    if kind_of(dearest) != FORWARD:
        return Bottleneck(what, shares, Notice(said, "smaller image files decode faster"))
    remark = Notice(said, *_faster_models(runtime, batches))
    tried = ", ".join(f"{one.batch}: {1 / one.seconds:.3g}/s" for one in batches)
    if len(batches) > 1:
        remark = Notice(f"{said} (micro-batches of {tried})", *remark.advice)
    return Bottleneck(what, shares, remark)


_OWN = (DECODE, MODELS, WRITE)
_LANES = {DECODE: "decoding", MODELS: "the models", WRITE: "writing", CORES: "the cores"}


def _named(stage: str) -> str:
    return extractor_of(stage) or _LANES[stage]


def _more_decoding(loaders: int, cores: int) -> list[Advice]:
    if loaders < cores:
        return [Set("loaders", cores, "decodes on every core")]
    return ["more cores, or smaller image files"]


def _faster_models(runtime: Runtime, batches: Sequence[Rate]) -> list[Advice]:
    own = batches[0]
    best = min(batches, key=lambda one: one.seconds)
    # On a busy machine any of them is the fastest at times.
    if own.seconds / best.seconds > WORTH and best.most < own.least:
        times = f"is {own.seconds / best.seconds:.2g} times as fast"
        return [Set("micro_batch", best.batch, times)]
    if runtime.device == "cpu":
        return [Name("a GPU", "device")]
    if not runtime.compile:
        return [Set("compile", True, "may help, and was not tried")]
    return ["a faster device"]
