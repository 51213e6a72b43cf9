"""What ties rows together is refused across splits, and told of rows that a run has seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clare.advice import Name
from clare.errors import InputError
from clare.groups import Group, met_by, ties_of
from clare.heads.data.leakage import Seen, refuse_leaks
from clare.store.row import Row
from clare.typed_json import from_json, to_json


def row(subset: str, name: str, split: str = "train", content: str = "", **columns) -> Row:
    columns = {"label": 0, "subset": subset, "split": split, **columns}
    return Row(sample_id=name, view=0, content=content, columns=columns)


def test_a_leak_of_each_kind_is_named_by_its_two_splits():
    rows = [
        row("swap", "a", "train", "one", video_id="v1", source_ids="3|7", domain="ff"),
        row("swap", "b", "test", "one", video_id="v1", source_ids="7|9", domain="ff"),
        row("swap", "c", "val", "two", video_id="v1"),
        row("swap", "d", "val", "two", video_id="v2", source_ids="9", domain="ff"),
    ]
    with pytest.raises(InputError) as refused:
        refuse_leaks(rows)
    assert refused.value.what == (
        "the splits leak: 1 video in two splits, swap/v1, a of swap (train) and b of swap (test); "
        "2 identities in two splits, ff/7, a of swap (train) and b of swap (test); "
        "ff/9, b of swap (test) and d of swap (val); "
        "1 image in two splits, a of swap (train) and b of swap (test)"
    )
    again = "again with groups kept whole{}, and extract again, which refreshes the splits"
    copies = " (copies are found by their hashes)"
    assert refused.value.advice == (f"build swap {again.format(copies)}",)
    rows[0] = row("swap", "a", "train", video_id="v1", path="x/a.png")
    with pytest.raises(InputError) as refused:
        refuse_leaks([*rows[:2], row("gan", "e", "val", video_id="v1")])
    assert refused.value.what == (
        "the splits leak: 1 video in two splits, swap/v1, x/a.png of swap (train) and b of swap "
        "(test)"
    )
    assert refused.value.advice == (f"build swap {again.format('')}",)
    with pytest.raises(InputError, match="leak: 1 identity in two splits, ff/9, a of swap"):
        refuse_leaks([row("swap", "a", "val", source_ids="9", domain="ff"), rows[1]])
    refuse_leaks(rows[2:])
    refuse_leaks(rows[:1])


def test_members_of_a_pair_in_two_splits_are_a_leak_however_the_pair_is_named():
    real = row("vae", "vae/real/1", "train", "one", pair_id="photo 1", pair_kind="vae")
    fake = row("sbi", "sbi/fake/1", "test", "two", label=1, pair_id="photo 1", pair_kind="sbi")
    with pytest.raises(InputError, match="leak: 1 pair in two splits, photo 1, vae/real/1 of vae"):
        refuse_leaks([real, fake])
    named = row("swaps", "f", "test", "three", label=1, pair_id="reals/7")
    with pytest.raises(InputError, match="leak: 1 pair in two splits, reals/7"):
        refuse_leaks([row("reals", "reals/7", "train", "four"), named])
    assert Seen.of([real]).shared_with(fake) == ["pair photo 1"]
    # A photograph whose own pair is another one's is still the real of its fakes.
    with pytest.raises(InputError, match="leak: 1 pair in two splits, reals/7"):
        refuse_leaks([named, row("reals", "reals/7", "train", "four", pair_id="photo 1")])


def test_a_run_has_seen_the_real_of_a_fake_and_the_fake_of_a_real():
    real = row("mine", "photo 1", content="one")
    fake = row("vae", "vae/fake/1", "test", "two", label=1, pair_id="photo 1", pair_kind="vae")
    for trained, other in ((real, fake), (fake, real)):
        seen = from_json(Seen, to_json(Seen.of([trained])), "seen")
        assert seen.shared_with(other) == seen.trained_on(other) == ["pair photo 1"]
        assert Seen.of([], [trained]).shared_with(other) == ["pair photo 1"]


def test_reals_of_two_subsets_with_one_name_are_no_pair():
    one, other = row("a", "0001", "train", "one"), row("b", "0001", "test", "two")
    refuse_leaks([one, other])
    assert Seen.of([one]).shared_with(other) == []
    refuse_leaks([one, row("sbi", "f", "train", "two", label=1, pair_id="0001")])


def test_a_leak_between_subsets_is_mended_by_a_choice_of_them():
    rows = [row("sg3", f"s{n}", "train", f"c{n}") for n in range(7)]
    rows += [row("faces", f"f{n}", "test", f"c{n}") for n in range(7)]
    with pytest.raises(InputError) as error:
        refuse_leaks(rows)
    assert error.value.what.startswith(
        "the splits leak: 7 images in two splits, "
        "s0 of sg3 (train) and f0 of faces (test); s1 of sg3 (train) and f1 of faces (test); "
    )
    assert error.value.what.endswith(" and 2 more")
    first, second = error.value.advice
    assert first == Name("only subsets that agree, of faces and sg3,", "train")
    assert second == (
        "build the manifests of faces and sg3 with one split for what they share, and extract "
        "them again"
    )


def test_equal_names_of_other_subsets_and_domains_are_no_leak():
    refuse_leaks(
        [
            row("a", "1", "train", video_id="v", source_ids="7", domain="ff"),
            row("b", "2", "test", video_id="v", source_ids="7", domain="cdf"),
            row("b", "3", "", video_id="v", source_ids="7", domain="ff"),
            Row(sample_id="4", view=0, content="", columns={"label": 0, "source_ids": "7"}),
        ]
    )


def test_what_was_seen_is_found_again_in_other_rows():
    trained = row("a", "1", content="one", video_id="v", source_ids="7|8", domain="ff")
    chosen = row("a", "2", "val", "two", video_id="w", source_ids="9", domain="ff")
    seen = from_json(Seen, to_json(Seen.of([trained], [chosen])), "seen")
    assert seen.shared_with(trained) == [
        "video a/v",
        "identity ff/7",
        "identity ff/8",
        "image one",
    ]
    assert seen.shared_with(chosen) == ["video a/w", "identity ff/9", "image two"]
    assert seen.trained_on(chosen) == [] and seen.trained_on(trained) == seen.shared_with(trained)
    other = row("b", "3", "test", "three", video_id="v", source_ids="8|10", domain="ff")
    assert seen.shared_with(other) == ["identity ff/8"]
    assert seen.shared_with(row("a", "4", "test", source_ids="8", domain="cdf")) == []
    # A name counts for its kind alone.
    assert seen.shared_with(row("a", "5", "test", "a/v", source_ids="one")) == []


def test_what_either_of_two_runs_has_seen():
    first, second = row("a", "1", video_id="v", content="one"), row("a", "2", video_id="w")
    third = row("b", "3", content="three", source_ids="5")
    both = Seen.of([first], [third]).join(Seen.of([second, third]))
    for one in (first, second, third):
        assert both.trained_on(one) == both.shared_with(one) != []
    assert Seen.of([first]).trained_on(second) == []
    turned = Seen.of([second, third]).join(Seen.of([first], [third]))
    assert turned == both


def test_hashes_stay_as_they_stand_in_the_records_of_runs():
    seen = Seen.of([row("a", "1", video_id="v"), row("a", "2", content="\ud800")])
    assert to_json(seen)["trained"] == {
        "video": ["6878d55db11adbd4"],
        "real": ["1bf41ef6fd6f6f6c", "767513ff3bfc6dd8", "b27f9d5bfd0616c0", "f6fc42039fba3776"],
        "image": ["4208783e927d0d68"],
    }


def test_a_record_that_lacks_names_of_reals_is_of_the_same_rows():
    rows = [row("a", "1", content="one"), row("a", "2", content="two", label=1)]
    now = Seen.of(rows, rows[:1])
    for names in ([], ["real"]):  # none, or none with their subset before them
        plain = [
            {k: v for k, v in one.items() if k != "real"}
            | {k: frozenset(sorted(one[k])[:1]) for k in names}
            for one in (now.trained, now.chosen)
        ]
        earlier = Seen(plain[0], plain[1])
        assert earlier.is_of(now) and now.is_of(now)
        assert not earlier.is_of(Seen.of(rows[:1], rows[:1])) and not now.is_of(earlier)


def test_a_pair_that_names_the_subset_of_its_real_is_no_pair_of_another_subset():
    mine, other = row("mine", "1", "train", "one"), row("other", "1", "test", "two")
    fake = row("vae", "f", "test", "three", label=1, pair_id="mine/1")
    with pytest.raises(InputError, match="1 pair in two splits, mine/1"):
        refuse_leaks([mine, other, fake])
    refuse_leaks([other, fake, row("vae", "g", "train", "four", label=1, pair_id="other/2")])
    assert Seen.of([mine]).shared_with(fake) == ["pair mine/1"]
    assert Seen.of([other]).shared_with(fake) == []


FEW = st.sampled_from(("", "a", "b", "a|b"))


@given(
    rows=st.lists(
        st.builds(
            lambda name, split, content, columns: row("faces", name, split, content, **columns),
            st.sampled_from("abcd"),
            st.sampled_from(("", "train", "test")),
            st.sampled_from(("", "x", "y")),
            st.fixed_dictionaries(
                {"label": st.sampled_from((0, 1))},
                optional=dict.fromkeys(("video_id", "source_ids", "domain", "pair_id"), FEW),
            ),
        ),
        max_size=6,
    )
)
def test_what_ties_two_splits_is_refused_and_nothing_else_is(rows):
    splits: dict[Group, set[str]] = {}
    for one in rows:
        for tie in ties_of(one.columns, one.sample_id, one.content):
            splits.setdefault(tie, set()).add(one.columns["split"])
    met = [
        found.union(*(splits.get(other, ()) for other in met_by(tie)))
        for tie, found in splits.items()
        if tie[0] != "real"
    ]
    if any(len(found - {""}) > 1 for found in met):
        with pytest.raises(InputError, match=r"the splits leak: [0-9]"):
            refuse_leaks(rows)
    else:
        refuse_leaks(rows)


def delivered(parent: Row, split: str, subset: str = "swap_variants") -> Row:
    made = {"delivery": "low", "delivery_steps": "jpeg 5", "parent_id": parent.sample_id}
    columns = {**parent.columns, **made, "parent_subset": parent.columns["subset"]}
    columns |= {"subset": subset, "split": split}
    return Row(sample_id=f"{parent.sample_id}#low", view=0, content=parent.content, columns=columns)


def test_a_delivery_shares_all_that_its_image_does():
    parent = row("swap", "a", "train", "one", video_id="v1", source_ids="3", domain="ff")
    assert Seen.of([parent]).shared_with(delivered(parent, "test")) == [
        *("video swap/v1", "identity ff/3", "image one")
    ]
    beside = row("swap", "b", "test", "two", video_id="v1")
    with pytest.raises(InputError, match="1 video in two splits, swap/v1"):
        refuse_leaks([delivered(parent, "train"), beside])
    fake = row("gan", "f", "test", "three", pair_id="a", label=1)
    with pytest.raises(InputError, match="1 pair in two splits, a,"):
        refuse_leaks([delivered(parent, "train"), fake])
    refuse_leaks([delivered(parent, "test"), beside, fake])
