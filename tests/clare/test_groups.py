"""One rule of what images share, for manifests and for the rows of a store."""

from dataclasses import replace

from clare.groups import (
    aligned_pair,
    altered_video,
    cluster_of,
    full_name,
    groups_of,
    met_by,
    ties_of,
)
from clare.pipeline.extraction.store_rows import sample_columns
from clare.pipeline.manifests.sample import Sample

PLAIN = Sample("s", "s.png", 0, "a")


def test_a_video_counts_in_its_subset_and_an_identity_in_its_domain():
    columns = {"subset": "a", "video_id": "v", "domain": "ff", "source_ids": "17 | 35"}
    assert groups_of(columns, "c0") == [
        ("video", "a/v"),
        ("identity", "ff/17"),
        ("identity", "ff/35"),
        ("image", "c0"),
    ]
    assert groups_of({"source_ids": "17| "}) == [("identity", "17")]
    assert groups_of({"source_ids": "", "video_id": None}) == []


def test_a_cluster_is_the_video_or_the_first_identity_or_the_image():
    assert PLAIN.cluster == "a/s"
    assert replace(PLAIN, source_ids="1|2").cluster == "identity 1"
    assert replace(PLAIN, source_ids="1|2", domain="ff").cluster == "identity ff/1"
    assert replace(PLAIN, source_ids="1", video_id="v").cluster == "a/v"


def test_members_of_a_pair_are_one_group_also_where_the_fake_names_its_real():
    real, fake = PLAIN, replace(PLAIN, sample_id="f", path="f.png", label=1, pair_id="s")
    for one, other in ((real, fake), (fake, real)):
        met = {group for tie in one.ties for group in met_by(tie)}
        assert [name for _, name in met & set(other.ties)] == ["s"]
    both = [replace(one, pair_id="p", sample_id=f"{one.label}") for one in (real, fake)]
    assert set(both[0].ties) & set(both[1].ties) >= {("pair", "p")}
    assert both[0].cluster == both[1].cluster == "pair p"
    assert ties_of({"label": 1}, "f") == []
    assert met_by(("real", "s")) == [("pair", "s")]


def test_a_fake_may_name_its_real_with_the_subset_before_it():
    real, other = PLAIN, replace(PLAIN, subset="b")
    fake = replace(
        PLAIN, sample_id="f", path="f.png", label=1, subset="vae", pair_id=full_name("a", "s")
    )
    assert fake.pair_id == "a/s" and full_name("a", "a/s") == "a/s" and full_name("", "s") == "s"
    met = {group for tie in fake.ties for group in met_by(tie)}
    assert met & set(real.ties) == {("real", "a/s")} and not met & set(other.ties)
    columns = {"label": 0, "subset": "a"}
    assert cluster_of(columns, "s", {"a/s"}) == "pair a/s" == fake.cluster
    assert cluster_of({**columns, "subset": "b"}, "s", {"a/s"}) == "b/s"


def test_a_pair_is_drawn_as_a_whole():
    frame = replace(PLAIN, video_id="v", pair_id="p", pair_kind="vae")
    altered = replace(frame, label=1, video_id=altered_video("v", "vae"))
    assert altered.video_id != "v" and altered_video("", "vae") == ""
    assert frame.cluster == altered.cluster == "a/v"
    # Without a kind, a video of such a name is one as any other.
    assert replace(altered, pair_kind="").cluster == f"a/{altered.video_id}"
    named = cluster_of({"label": 1, "subset": "b", "pair_id": "s"}, "f", {"s"})
    assert cluster_of({"label": 0, "subset": "a"}, "s", {"s"}) == named == "pair s"
    assert cluster_of({"label": 0, "subset": "a"}, "t", {"s"}) == "a/t"


def test_only_a_kind_says_that_a_pair_is_aligned():
    assert aligned_pair({"pair_id": "ff:953"}) == aligned_pair({"pair_kind": "vae"}) == ""
    assert aligned_pair({"pair_id": "p", "pair_kind": "vae"}) == "p"


def test_a_sample_and_its_stored_row_are_grouped_alike():
    sample = replace(PLAIN, source_ids="1|2", domain="ff", video_id="v", root="r", sha256="1" * 64)
    sample = replace(sample, pair_id="p")
    columns = sample_columns(sample)
    stored = groups_of(columns, sample.sha256)
    assert sample.groups == [*stored, ("image", "r/s.png")]
    ties = ties_of(columns, sample.sample_id, sample.sha256)
    assert sample.ties == [*ties, ("image", "r/s.png")]
    assert sample.cluster == cluster_of(columns, sample.sample_id)
