"""Several image towers in one extraction, side by side in one store."""

from typing import Any

import numpy as np
import pytest

import clare
from clare.errors import InputError, LostClaimError
from clare.models.runtime import Runtime
from clare.models.tiny import TowerKind, write_tiny_clip, write_tiny_tower
from clare.models.towers import ClipSettings, TowerSettings, load_image_tower, reader_of
from clare.pipeline.extraction.towers import list_wanted
from clare.store.feature import Feature
from clare.store.feature_store import open_store
from tests.cli.pages import run

RUNTIME = Runtime("cpu", "float32")
PREFIX: dict[TowerKind, int] = {"dinov3": 5, "siglip": 0}
"""Class and register tokens that stand before the patches."""


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Two CLIPs, of which one's tower is timm's, and two towers of timm without text."""
    root = tmp_path_factory.mktemp("towers")
    write_tiny_clip(root / "vit")
    write_tiny_clip(root / "timm", "timm")
    for kind in PREFIX:
        write_tiny_tower(root / kind, kind)
    return {kind: str(root / kind) for kind in ("vit", "timm", *PREFIX)}


@pytest.fixture(scope="module")
def extract(tmp_path_factory, few_pictures):
    folder = tmp_path_factory.mktemp("stores")

    def make(name, features, **settings):
        report = clare.extract(
            folder / name,
            real=few_pictures / "real",
            features=features,
            settings=settings,
            device="cpu",
            micro_batch=4,
            thumbnails=False,
        )
        return open_store(folder / name), report.fingerprints

    return make


def values(store, key):
    name, _, digest = key.rpartition("-")
    feature = store.feature("real", name, digest)
    slots = [row.slot for row in store.rows("real")]
    return {field: feature.reader(field).read(slots) for field in feature.fields}


@pytest.fixture(scope="module")
def together(extract, towers):
    return extract("all", ("clip",), clip={"model": ",".join(towers.values()), "layers": "all"})


def test_each_has_its_own_fingerprint_size_and_fields(together, towers):
    store, keys = together
    assert list(keys) == ["clip", "clip_2", "tower", "tower_2"]
    sides = {"vit": 64, "timm": 160, "dinov3": 64, "siglip": 64}
    for kind, key in zip(towers, keys.values(), strict=True):
        fingerprint, fields = store.extractor(key)
        own = "clip" if kind in ("vit", "timm") else "tower"
        assert fingerprint.extractor == own and fingerprint.settings["size"] == sides[kind]
        blocks = [name for name in fields if name.startswith(f"{own}_tokens_")]
        assert blocks == [f"{own}_tokens_{k}" for k in range(len(blocks))]
        assert fingerprint.settings["layers"] == list(range(len(blocks))) and len(blocks) > 1
        assert store.extractor(key)[0].key == key


def test_tokens_are_patches_without_class_token_and_registers(together, towers):
    store, keys = together
    for kind, key in zip(list(towers)[2:], list(keys.values())[2:], strict=True):
        tower = load_image_tower(TowerSettings(model=towers[kind]), RUNTIME)
        assert tower.module.visual.num_prefix_tokens == PREFIX[kind]
        shapes = {spec.shape for name, spec in store.extractor(key)[1].items() if "tokens" in name}
        assert {shape[0] for shape in shapes} == {(64 // 8) ** 2}


def test_values_are_those_of_each_tower_alone(together, extract, towers):
    store, keys = together
    for kind, label in (("timm", "clip_2"), ("dinov3", "tower")):
        name = label.partition("_")[0]
        alone, own = extract(kind, (name,), **{name: {"model": towers[kind], "layers": "all"}})
        assert own[name] == keys[label]
        for field, found in values(alone, own[name]).items():
            assert np.array_equal(found, values(store, keys[label])[field]), field


def test_towers_are_added_to_a_store_beside_those_that_are_there(together, extract, towers):
    before = set(together[0].extractor_keys())
    several = {"model": [towers["dinov3"], towers["siglip"]], "layers": [0]}
    added, own = extract("all", ("tower",), tower=several)
    assert set(added.extractor_keys()) == before | set(own.values())
    assert not set(own.values()) & before, "other layers are another fingerprint"


def test_names_of_timm_are_told_from_those_of_open_clip():
    names = ("ViT-L-14", "PE-Core-L-14-336", "ViT-L-16-SigLIP2-256", "vit_large_patch16_dinov3")
    assert [reader_of(name, "clip") for name in names] == ["clip", "clip", "clip", "tower"]
    given: dict[str, Any] = {
        "clip": {"model": ",".join(names), "layers": ("all",)},
        "tower": {"layers": (3,)},
    }
    wanted = list_wanted(["lare", "clip"], given)
    assert [one.label for one in wanted] == ["lare", "clip", "clip_2", "clip_3", "tower"]
    found = [one.settings(given) for one in wanted]
    assert found[3] == {"model": names[2], "weights": None, "layers": ("all",)}
    assert found[4] == {"model": names[3], "weights": None, "layers": (3,)}


def test_weights_of_each_are_named_in_their_order():
    given = {"clip": {"model": "ViT-L-14,ViT-B-32", "weights": "laion2b_s32b_b82k,"}}
    found = [one.settings(given)["weights"] for one in list_wanted(["clip"], given)]
    assert found == ["laion2b_s32b_b82k", None]
    with pytest.raises(InputError, match="2 models, and weights of 1"):
        list_wanted(["clip"], {"clip": {**given["clip"], "weights": "openai"}})


def test_what_is_wrong_with_one_is_said_with_its_name(extract, towers):
    both = f"{towers['vit']},{towers['timm']}"
    with pytest.raises(InputError, match=r"vit: clip's layers of this model are 0 to 2, not 9"):
        extract("wrong", ("clip",), clip={"model": both, "layers": (9,)})


def test_one_tower_under_two_names_is_refused(extract, towers):
    both = f"{towers['vit']},{towers['vit']}/"
    with pytest.raises(InputError, match="clip and clip_2 are the same tower"):
        extract("twins", ("clip",), clip={"model": both})
    with pytest.raises(InputError, match="the same model twice"):
        extract("twins", ("clip",), clip={"model": [towers["vit"]] * 2})


def test_a_model_with_one_tag_needs_none_named():
    with pytest.raises(clare.ClareError) as caught:  # the hub is away: the tag was found
        load_image_tower(ClipSettings(model="PE-Core-L-14-336"), RUNTIME)
    assert "no weights" not in str(caught.value)


def test_a_run_from_folders_reads_one_tower(few_pictures, towers, tmp_path):
    images = ("--real", few_pictures / "real", "--fake", f"toy={few_pictures / 'fake'}")
    both = ("--clip-model", f"{towers['vit']},{towers['timm']}", "--fusion", "cls")
    with pytest.raises(InputError, match="one tower is read here"):
        run("run", *images, *both, "--out", tmp_path / "run", "--store", tmp_path / "f.zarr")


def test_a_shard_of_a_second_tower_that_was_lost_is_tried_again(
    extract, towers, together, monkeypatch
):
    write = Feature.write_shard
    lost: list[str] = []

    def lose_once(self, *args, **how):
        if self.key == together[1]["clip_2"] and not lost:
            lost.append(self.key)
            raise LostClaimError("taken over")
        return write(self, *args, **how)

    monkeypatch.setattr(Feature, "write_shard", lose_once)
    both = {"model": f"{towers['vit']},{towers['timm']}", "layers": "all"}
    store, keys = extract("lost", ("clip",), clip=both)
    assert lost == [keys["clip_2"]]
    for key in keys.values():
        name, _, digest = key.rpartition("-")
        assert not len(store.feature("real", name, digest).pending_slots()), key
