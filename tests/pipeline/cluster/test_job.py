"""Extractions on a cluster leave the store that one process leaves, and tell as much."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clare.errors import InputError
from clare.pipeline.cluster import workshop
from clare.pipeline.cluster.batches import MOST_SHARDS, Batches
from clare.pipeline.cluster.job import run_cluster_job
from clare.pipeline.datasets.select import select_manifests
from clare.pipeline.extract import extract
from clare.pipeline.extraction import job, loop
from clare.pipeline.extraction.job import run_job
from clare.pipeline.extraction.loop import StrictFailureError
from clare.pipeline.extraction.plan import Observer, Todo
from clare.pipeline.extraction.settings import ExtractSettings
from clare.stopping import StopAskedError
from clare.store.feature_store import open_store
from clare.store.spec import SHARD_ROWS
from tests.store.conftest import contents


class Watcher(Observer):
    """Keeps what it is told."""

    def __init__(self):
        self.told, self.rows, self.plans = [], {}, []

    def noticed(self, notice):
        self.told.append(str(notice))

    def planned(self, plan):
        self.plans.append(plan)

    def extracting(self, subset, rows, failures):
        self.rows[subset] = rows, failures


@pytest.fixture(scope="module")
def selection(pictures):
    return select_manifests(
        None, [], pictures, [], [pictures / "real"], [f"toy={pictures / 'fake'}"]
    )


def settings_for(store, **changes):
    how = {"features": ("pixels",), "device": "cpu", "micro_batch": 4, "views": 6}
    return ExtractSettings(store, **{**how, **changes})


@pytest.fixture(scope="module")
def plain(selection, tmp_path_factory):
    """What one process leaves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("plain") / "features.zarr"
    report = run_job(settings_for(store), selection)
    torch.set_num_threads(threads)
    return report


def files_of(store):
    return {name: data for name, data in contents(store).items() if name != "commands.jsonl"}


def test_the_store_is_that_of_one_process(on_dask, selection, plain, tmp_path):
    seen = Watcher()
    report = run_cluster_job(settings_for(tmp_path / "a.zarr"), selection, "any", seen)
    assert files_of(report.store) == files_of(plain.store)
    assert (report.rows, report.fingerprints) == (plain.rows, plain.fingerprints)
    assert set(report.stage_seconds) == set(plain.stage_seconds)
    assert sum(rows for rows, _ in seen.rows.values()) == report.rows
    assert set(seen.rows) == {"real", "toy"} and not sum(n for _, n in seen.rows.values())
    assert seen.plans[0].pending == report.rows
    again = run_cluster_job(settings_for(tmp_path / "a.zarr"), selection, "any", seen)
    assert again.rows == 0, "it does only what is missing"


def test_one_call_of_python_does_it(on_dask, pictures, plain, tmp_path):
    images: Any = {"real": pictures / "real", "fake": {"toy": pictures / "fake"}}
    how: Any = {"features": ("pixels",), "device": "cpu", "micro_batch": 4, "views": 6}
    report = extract(tmp_path / "a.zarr", **images, **how, cluster="local:2")
    assert files_of(report.store) == files_of(plain.store)
    with pytest.raises(InputError, match="'nowhere' is no cluster"):
        extract(tmp_path / "b.zarr", **images, **how, cluster="nowhere")
    assert not (tmp_path / "b.zarr").exists()


def test_failures_come_back(on_dask, pictures, tmp_path):
    (tmp_path / "real").mkdir()
    for file in sorted((pictures / "real").iterdir())[:6]:
        (tmp_path / "real" / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / "real" / "broken.jpg"
    broken.write_bytes((tmp_path / "real" / file.name).read_bytes()[:900])
    selection = select_manifests(None, [], tmp_path, [], [tmp_path / "real"], [])
    report = run_cluster_job(settings_for(tmp_path / "a.zarr", views=1), selection, "any")
    assert list(report.failures) == [("real", "real/real/broken.jpg", 0)]
    alone = run_job(settings_for(tmp_path / "c.zarr", views=1), selection)
    assert report.failures == alone.failures
    assert report.rows == 7
    strict = settings_for(tmp_path / "b.zarr", views=1, strict=True)
    with pytest.raises(StrictFailureError, match="broken"):
        run_cluster_job(strict, selection, "any")


def test_an_error_of_a_worker_is_the_users(on_dask, selection, tmp_path):
    settings = settings_for(tmp_path / "a.zarr", settings={"pixels": {"size": 0}})
    with pytest.raises(InputError, match="size must be at least 1"):
        run_cluster_job(settings, selection, "any")


def test_workers_of_another_version_are_refused(on_dask, selection, tmp_path, monkeypatch):
    monkeypatch.setattr(workshop, "__version__", "0.0.1")
    with pytest.raises(InputError, match=r"has version 0\.0\.1 of CLaRE"):
        run_cluster_job(settings_for(tmp_path / "a.zarr"), selection, "any")


def test_a_worker_that_is_told_to_end_leaves_the_rest_to_others(
    on_dask, pictures, tmp_path, monkeypatch
):
    """What it did before counts, failures too."""
    shutil.copytree(pictures / "real", tmp_path / "real")
    for file in sorted((tmp_path / "real").iterdir())[::8]:  # some in every shard
        file.write_bytes(b"no picture")
    selection = select_manifests(None, [], tmp_path, [], [tmp_path / "real"], [])
    ended: list[bool] = []
    take = Batches.take

    def end_first(store, subset, slots, *args, ending, **how):
        def computed():
            if not ended and len(slots) > SHARD_ROWS:
                ended.append(True)
                ending.set()

        try:
            return loop.extract_subset(
                store, subset, slots, *args, ending=ending, computed=computed, **how
            )
        except StopAskedError:
            ending.clear()
            raise

    monkeypatch.setattr(workshop, "extract_subset", end_first)
    monkeypatch.setattr(Batches, "take", lambda self, lanes: take(self, 1))
    report = run_cluster_job(settings_for(tmp_path / "a.zarr"), selection, "any")
    alone = run_job(settings_for(tmp_path / "b.zarr"), selection)
    assert ended and report.rows == alone.rows
    assert report.failures == alone.failures and report.failures
    assert {"real"} == {subset for subset, *_ in report.failures}
    mine, whole = (done_of(store) for store in (report.store, alone.store))
    assert mine == whole


def done_of(path):
    """Rows of a store that have features, and what failed."""
    store = open_store(path)
    (key,) = store.extractor_keys()
    name, _, digest = key.rpartition("-")
    feature = store.feature("real", name, digest)
    return feature.pending_slots().tolist(), feature.failures()


def test_claims_are_as_the_settings_say(on_dask, few_pictures, tmp_path):
    chosen = select_manifests(None, [], few_pictures, [], [few_pictures / "real"], [])
    asked = settings_for(tmp_path / "a.zarr", views=1, claims="leases", lease_seconds=40.0)
    run_cluster_job(asked, chosen, "any")
    mode = next((tmp_path / "a.zarr").rglob("_mode*"))
    assert json.loads(mode.read_text()) == {"expire": 40.0, "leases": True}


def test_a_worker_decodes_with_as_many_threads_as_it_has(
    on_dask_of_others, few_pictures, tmp_path, monkeypatch
):
    taken = []

    def create(settings, roots, reals, threads):
        taken.append(threads)
        return job.create_loader(settings, roots, reals, threads)

    monkeypatch.setattr(workshop, "create_loader", create)
    chosen = select_manifests(None, [], few_pictures, [], [few_pictures / "real"], [])
    run_cluster_job(settings_for(tmp_path / "a.zarr", views=1), chosen, "any")
    assert taken == [1], "two batches at a time share the two threads of each"


def test_devices_that_differ_are_said(on_dask, selection, tmp_path, monkeypatch):
    cards = iter(["NVIDIA H100", *["NVIDIA A100"] * 50])
    monkeypatch.setattr(workshop._Models, "card", property(lambda _: next(cards)))
    seen = Watcher()
    run_cluster_job(settings_for(tmp_path / "a.zarr", views=2), selection, "any", seen)
    assert [told for told in seen.told if "NVIDIA A100 and NVIDIA H100" in told]


def test_batches_get_smaller_and_hold_every_shard_once():
    slots = {"a": list(range(64 * 300)), "b": list(range(10, 200))}
    todo: Todo = {name: {slot // 64: {} for slot in own} for name, own in slots.items()}
    selection: Any = [(SimpleNamespace(name=name), None) for name in slots]
    batches = Batches(selection, slots, todo, {}, {})
    sizes, rows = [], []
    while (batch := batches.take(4)) is not None:
        sizes.append(len(batch.shards))
        rows += [(batch.subset, slot) for slot in batch.slots.tolist()]
    assert sizes[0] == 38 and sizes[-1] == 1 and max(sizes) <= MOST_SHARDS
    assert sorted(rows) == sorted((name, slot) for name, own in slots.items() for slot in own)
