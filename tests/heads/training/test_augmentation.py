"""Views of stored pixels that are drawn while training: by row and epoch, and nothing else."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from clare.augmentation.recipe import draw_view, find_recipe
from clare.errors import InputError
from clare.heads.config import TrainConfig, create_config
from clare.heads.data.augment import Augmentation
from clare.heads.data.table import FeatureTable
from clare.heads.runs.record import read_history, read_record
from clare.heads.training.trainer import Observer, Plan, train_run
from tests.heads.tuned_runs import machine

LN = create_config(
    {
        "fusion": "cls",
        "classifier": "linear",
        "fields": {"cls": "clip_cls_pre"},
        "tune": "ln",
        "augment": "gend",
        "lr": 3e-3,
        "epochs": 3,
        "batch": 8,
        "balance": False,
    }
)


@pytest.fixture
def store(stores):
    return stores("vit")


@cache
def table(store):
    return FeatureTable(store, ["pixels"], ["all"], "train", {}, torch.device("cpu"))


def pixels_at(store, places):
    (batch,) = table(store).batches([np.array(places)], ["pixels"])
    return batch["pixels"]


def test_a_view_is_that_of_its_recipe(store):
    rows = table(store).rows
    drawn = Augmentation("gend", 5, rows).draw(pixels_at(store, [3]), np.array([3]), 2)
    view = draw_view(
        find_recipe("gend"), (32, 32), view_seed=5, content=f"{rows[3].content}/0", view=2
    )
    expected = view.apply(Image.fromarray(pixels_at(store, [3])[0].numpy()))
    assert (drawn[0].numpy() == np.asarray(expected)).all()


def test_row_and_epoch_decide_a_view_and_nothing_else(store):
    augmentation = Augmentation("gend", 0, table(store).rows)
    places = [4, 1, 7]
    together = augmentation.draw(pixels_at(store, places), np.array(places), 1)
    for number, place in enumerate(places):
        alone = augmentation.draw(pixels_at(store, [place]), np.array([place]), 1)
        assert torch.equal(alone[0], together[number])
    later = augmentation.draw(pixels_at(store, places), np.array(places), 2)
    other = Augmentation("gend", 1, table(store).rows)
    assert not torch.equal(together, later)
    assert not torch.equal(together, other.draw(pixels_at(store, places), np.array(places), 1))


def test_members_of_a_pair_that_lie_on_each_other_get_one_view(store):
    rows = list(table(store).rows)
    pair = {"pair_id": "mine/1", "pair_kind": "vae"}
    for place in (2, 5):
        rows[place] = replace(rows[place], columns={**rows[place].columns, **pair})
    pixels = pixels_at(store, [2]).expand(3, -1, -1, -1)
    for epoch in (1, 2):
        drawn = Augmentation("gend", 0, rows).draw(pixels, np.array([2, 5, 6]), epoch)
        assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("recipe", ["univfd", "declip", "lare2", "clare"])
def test_a_recipe_that_changes_the_size_gives_the_square_that_the_tower_takes(store, recipe):
    drawn = Augmentation(recipe, 0, table(store).rows).draw(
        pixels_at(store, range(8)), np.arange(8), 1
    )
    assert drawn.shape == (8, 32, 32, 3) and drawn.dtype == torch.uint8


def test_batches_are_changed_by_other_threads_in_their_order(store):
    order = [np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]
    seen = []

    def change(field, values, places):
        seen.append((field, places.tolist()))
        return values + 1

    plain = list(table(store).batches(order, ["pixels"]))
    changed = list(table(store).batches(order, ["pixels"], change))
    for before, after in zip(plain, changed, strict=True):
        assert torch.equal(after["pixels"], before["pixels"] + 1)
    assert sorted(seen) == [("pixels", places.tolist()) for places in order]


def test_a_run_that_augments_is_the_same_again_and_after_a_kill(
    store, killed_and_resumed, tmp_path
):
    killed_and_resumed(LN, store)
    train_run(LN, store, tmp_path / "again", machine(store))
    train_run(replace(LN, augment=""), store, tmp_path / "plain", machine(store))
    whole, again = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "again"))
    assert all(torch.equal(again[key], whole[key]) for key in whole)
    losses = [
        [epoch["train_loss"] for epoch in read_history(tmp_path / name)]
        for name in ("whole", "cut", "plain")
    ]
    assert losses[0] == losses[1] != losses[2]
    assert read_record(tmp_path / "whole").config.augment == "gend"


def test_what_can_not_be_augmented_is_refused(store, tmp_path):
    with pytest.raises(InputError, match="reads features that are cached"):
        TrainConfig(augment="gend")
    with pytest.raises(InputError, match="no recipe 'gendd': did you mean gend"):
        train_run(replace(LN, augment="gendd"), store, tmp_path / "run", machine(store))
    with pytest.raises(InputError, match="pair_mix mixes fakes with their own reals"):
        train_run(replace(LN, augment="pair_mix"), store, tmp_path / "run", machine(store))
    assert not (tmp_path / "run").exists()


def test_lare_beside_augmented_pixels_is_said_to_stay(store, tmp_path):
    plans: list[Plan] = []

    class Look(Observer):
        def planned(self, plan):
            plans.append(plan)

    beside = create_config({"fusion": "concat", "epochs": 1}, LN)
    train_run(beside, store, tmp_path / "run", machine(store), Look())
    assert any("LaRE stays that of the image as it is stored" in n.what for n in plans[0].notes)
