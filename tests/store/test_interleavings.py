"""Random orders of append, write, fail, reopen and damage against a plain model in memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from clare.errors import RowUnavailableError
from clare.store.feature_store import create_store, open_store
from clare.store.maintenance.repair import repair_store
from clare.store.maintenance.verify import verify_store
from clare.store.row import Row
from tests.store.conftest import FIELDS, FINGERPRINT, MADE_WITH, make_rows, shard_values, values_of


class StoreAgainstModel(RuleBasedStateMachine):
    """The model: live row by (sample, view), slot by identity, state by slot."""

    folder: Path  # set by the test
    count = 0

    def __init__(self) -> None:
        super().__init__()
        StoreAgainstModel.count += 1
        self.path = self.folder / str(StoreAgainstModel.count)
        self.store = create_store(self.path)
        self.store.declare(FINGERPRINT, FIELDS)
        self.feature: Any = None
        self.live: dict[tuple[str, int], Row] = {}
        self.slots: dict[tuple, int] = {}
        self.state: dict[int, str | None] = {}
        self.next_slot = 0

    @rule(
        start=st.integers(0, 40),
        number=st.integers(1, 70),
        version=st.integers(0, 2),
        split=st.sampled_from(["train", "test"]),
    )
    def append(self, start, number, version, split):
        rows = [
            dataclasses.replace(
                row, content=f"{version}{row.content[1:]}", columns={**row.columns, "split": split}
            )
            for row in make_rows(number, start)
        ]
        got = self.store.assign_rows("faces", rows)
        slot = self.next_slot
        for row, assigned in zip(rows, got, strict=True):
            if row.identity not in self.slots:
                self.slots[row.identity] = slot
                slot += 1
            expected = dataclasses.replace(row, slot=self.slots[row.identity])
            assert assigned == expected
            self.live[row.sample_id, row.view] = expected
        self.next_slot = -(-slot // 64) * 64
        self.feature = self.feature or self.store.feature("faces", "clip")

    @precondition(lambda self: self.feature)
    @rule(failing=st.sets(st.integers(0, 63), max_size=3), last=st.booleans())
    def write(self, failing, last):
        pending = self.feature.pending()
        if not pending:
            return
        shard = pending[-1 if last else 0]
        assert self.feature.claim(shard)
        rows = self.feature.shard_rows(shard)
        failed = {r.slot % 64: f"bad {r.slot}" for r in rows if r.slot % 64 in failing}
        self.feature.write_shard(shard, shard_values(rows), failed, MADE_WITH)
        self.feature.release(shard)
        for slot in range(64 * shard, 64 * shard + 64):
            self.state[slot] = None
        for row in rows:
            self.state[row.slot] = failed.get(row.slot % 64, "complete")

    @precondition(lambda self: self.feature)
    @rule()
    def claim_and_give_up(self):
        for shard in self.feature.pending()[:1]:
            assert self.feature.claim(shard)
            self.feature.release(shard)

    @rule()
    def reopen(self):
        self.store = open_store(self.path)
        self.feature = self.store.feature("faces", "clip") if self.store.subsets() else None

    @precondition(lambda self: any(self.state.values()))
    @rule(data=st.data())
    def damage_and_repair(self, data):
        shard = data.draw(st.sampled_from(sorted({s // 64 for s, v in self.state.items() if v})))
        path = self.feature.array_path("clip_cls") / "c" / str(shard) / "0"
        raw = bytearray(path.read_bytes())
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1
        path.write_bytes(raw)
        assert repair_store(self.path)
        for slot in range(64 * shard, 64 * shard + 64):
            self.state[slot] = None
        self.feature.refresh()

    @invariant()
    def store_equals_model(self):
        if not self.feature:
            return
        live = sorted(self.live.values(), key=lambda row: row.slot)
        assert list(self.store.rows("faces")) == live
        states = {row.slot: self.state.get(row.slot) for row in live}
        assert self.feature.pending() == sorted({s // 64 for s, v in states.items() if not v})
        failures = {s: v for s, v in states.items() if v not in (None, "complete")}
        assert self.feature.failures() == failures
        reader = self.feature.reader("clip_cls")
        complete = [row for row in live if states[row.slot] == "complete"]
        if complete:
            got = reader.read([row.slot for row in complete])
            np.testing.assert_array_equal(got, [values_of(row, FIELDS[1]) for row in complete])
        for slot in [s for s, v in states.items() if v != "complete"][:2]:
            with pytest.raises(RowUnavailableError, match=failures.get(slot, "no value yet")):
                reader.read([slot])

    def teardown(self):
        assert verify_store(self.path) == []


@pytest.mark.slow
def test_store_behaves_as_the_model(tmp_path):
    StoreAgainstModel.folder = tmp_path
    run_state_machine_as_test(
        StoreAgainstModel,
        settings=settings(max_examples=25, stateful_step_count=20, deadline=None),
    )
