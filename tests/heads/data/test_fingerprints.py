"""Which fingerprint each field is read of."""

import re

import pytest

from clare.advice import Set
from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.data.fingerprints import choose_fingerprints
from clare.store.feature_store import create_store
from clare.store.spec import FeatureSpec, Fingerprint
from tests.heads.masked_store import fill_feature, make_rows

BOTH = ("clip_cls", "clip_tokens")


def clip(name, fields):
    fingerprint = Fingerprint("clip", 1, "", {"tower": name, "mean_std": "clip"})
    return fingerprint, [FeatureSpec(field, (4, 2), "float16") for field in fields]


VIT, VIT_FIELDS = clip("vit", [*BOTH, "clip_tokens_20"])
RESNET, RESNET_FIELDS = clip("resnet", [*BOTH, "clip_tokens_layer3"])
PLAIN, PLAIN_FIELDS = clip("plain", BOTH)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    store = create_store(tmp_path_factory.mktemp("two") / "features.zarr")
    for fingerprint, specs in ((VIT, VIT_FIELDS), (RESNET, RESNET_FIELDS)):
        fill_feature(store, "few", make_rows("few", 1, 2), fingerprint, specs)
    store.declare(PLAIN, PLAIN_FIELDS)  # of which nothing was extracted
    return store


def choose(store, fields, text=None, **settings):
    config = TrainConfig(**settings)
    return choose_fingerprints(store, config, ["few"], fields, text=text)


def sources(store, fields, **settings):
    return dict(choose(store, fields, **settings).sources)


DECLIP = ["clip_tokens_20", "clip_tokens_layer3"]


def test_fields_that_no_fingerprint_has_together_are_read_of_several(two):
    assert sources(two, DECLIP) == {
        "clip_tokens_20": VIT.key,
        "clip_tokens_layer3": RESNET.key,
    }
    chosen = choose(two, DECLIP)
    assert chosen.digests == {"clip_tokens_20": VIT.digest, "clip_tokens_layer3": RESNET.digest}
    names, split = chosen.read_by(DECLIP, text=False)
    assert names == {"clip": VIT.key, "clip_2": RESNET.key}
    assert split == {"clip_tokens_20": "clip", "clip_tokens_layer3": "clip_2"}
    assert chosen.read_by(DECLIP[1:], text=False) == ({"clip": RESNET.key}, {})


@pytest.mark.parametrize(
    ("fields", "of"),
    [
        (["clip_tokens", "clip_tokens_20"], VIT),
        (["clip_tokens", "clip_tokens_layer3"], RESNET),
        (["clip_cls", "clip_tokens", "clip_tokens_layer3"], RESNET),
    ],
)
def test_one_that_has_all_fields_is_read_alone(two, fields, of):
    assert sources(two, fields) == dict.fromkeys(fields, of.key)


def test_several_that_fit_are_refused_with_what_differs(two):
    with pytest.raises(InputError, match=r"several clip features: clip: .*tower=resnet") as error:
        choose(two, ["clip_cls"])
    assert PLAIN.digest not in str(error.value)
    assert Set("features", {"clip": "latest"}, "takes those begun last") in error.value.advice
    with pytest.raises(InputError, match=r"several clip features: clip_cls: .*tower=") as error:
        choose(two, ["clip_cls", *DECLIP])
    assert Set("features", {"clip_cls": "latest"}, "takes those begun last") in error.value.advice


@pytest.mark.parametrize("of", [VIT, RESNET])
def test_a_field_is_read_of_the_one_that_is_named(two, of):
    named = {"clip_cls": of.digest[:8]}
    assert sources(two, ["clip_cls", *DECLIP], features=named)["clip_cls"] == of.key


@pytest.mark.parametrize(("layer", "one", "other"), [(0, VIT, RESNET), (1, RESNET, VIT)])
def test_of_two_that_are_named_both_are_read(two, layer, one, other):
    fields = ["clip_cls", DECLIP[layer]]
    assert set(sources(two, fields).values()) == {one.key}
    named = {"clip": f"{VIT.digest[:8]}+{RESNET.digest[:8]}"}
    assert sources(two, fields, features=named) == {
        "clip_cls": other.key,
        DECLIP[layer]: one.key,
    }


def test_the_latest_is_asked_for_by_field(two):
    two.record_command(["x"], ["few"], [VIT.key])
    two.record_command(["x"], ["few"], [RESNET.key])
    found = sources(two, ["clip_cls", *DECLIP], features={"clip_cls": "latest"})
    assert found["clip_cls"] == RESNET.key
    assert sources(two, DECLIP, features={"clip": "latest"}) == sources(two, DECLIP)


def test_names_that_choose_nothing_are_refused(two):
    with pytest.raises(InputError, match="has no field 'clip_tokens_layer3'") as error:
        choose(two, DECLIP, features={"clip": VIT.digest})
    together = f"{VIT.digest}+{RESNET.digest}"
    (advice,) = error.value.advice
    assert advice == Set("features", {"clip": together}, "reads them beside each other")
    assert sources(two, DECLIP, features={"clip": together}) == sources(two, DECLIP)
    with pytest.raises(InputError, match=re.escape(f"features {RESNET.digest} are named")):
        choose(two, ["clip_tokens_20"], features={"clip": together})
    with pytest.raises(InputError, match="several clip features"):
        choose(two, BOTH, features={"clip": together})
    with pytest.raises(InputError, match="no clip features with a fingerprint beef"):
        choose(two, DECLIP, features={"clip_tokens_20": "beef"})


def test_a_text_tower_is_that_of_the_class_token(two):
    fields = ["clip_tokens_20", "clip_cls", "clip_tokens_layer3"]
    for of, other in ((VIT, RESNET), (RESNET, VIT)):
        chosen = choose(two, fields, "clip_cls", features={"clip_cls": of.digest})
        assert chosen.text == of.key
        names, split = chosen.read_by(fields, text=True)
        assert names == {"clip": of.key, "clip_2": other.key} and split["clip_cls"] == "clip"
    assert choose(two, ["clip_tokens_20"], "clip_cls").text == VIT.key
    alone = choose(two, [], "clip_cls", features={"clip": RESNET.digest})
    assert alone.text == RESNET.key and not alone.sources
    with pytest.raises(InputError, match="several clip features"):
        choose(two, [], "clip_cls")


def test_a_further_fingerprint_takes_the_name_of_no_extractor(tmp_path):
    store = create_store(tmp_path / "s.zarr")
    other = Fingerprint("clip_2", 1, "")
    store.declare(VIT, VIT_FIELDS)
    store.declare(RESNET, RESNET_FIELDS)
    store.declare(other, [FeatureSpec("x", (4, 2), "uint8")])
    chosen = choose_fingerprints(store, TrainConfig(), [], [*DECLIP, "x"])
    names, split = chosen.read_by([*DECLIP, "x"], text=False)
    assert names == {"clip": VIT.key, "clip_3": RESNET.key, "clip_2": other.key}
    assert split == {"clip_tokens_20": "clip", "clip_tokens_layer3": "clip_3"}
