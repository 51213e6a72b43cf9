"""Questions of probes: what is planted adds, and noise does not."""

import clare
from clare.heads.probing.said import is_sure
from tests.heads.probing.probed_store import QUICK


def ends(figure):
    return figure.low, figure.high


def test_a_planted_gain_is_found_and_its_shuffled_control_is_not(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "asked",
        inputs=["clip_cls"],
        ask=["does lare:mean@300 add to clip_cls?", "clip_tokens_2:mean adds to clip_cls"],
        test=["gan", "swap"],
        **QUICK,
    )
    adds, idle = found.answers
    assert (adds.base, adds.added) == ("clip_cls", "lare:mean@300")
    assert is_sure(adds.mean)
    gain, control, nothing = (ends(one) for one in (adds.mean.auc, adds.shuffled, idle.mean.auc))
    assert gain[0] > 0.01
    assert gain[0] > control[1]
    assert not is_sure(idle.mean)
    assert nothing[0] < 0.01


def test_noise_adds_nothing_and_is_not_said_to_cost(found):
    answers = {one.added.partition(":")[0]: one for one in found.answers}
    for name in ("clip_tokens_2", "clip_tokens_6"):
        assert not is_sure(answers[name].mean)
        assert abs(answers[name].mean.auc.value) < 0.03


def test_a_question_gives_both_sides_the_same_normalisations(probed, tmp_path):
    """Seven rows a class can whiten six channels, and not ten."""
    found = clare.probe(
        probed,
        tmp_path / "few",
        inputs=["clip_cls"],
        fractions=[0.022],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    assert {one.norm for one in found.probes} == {"none", "l2", "standard", "whiten"}
    assert {one.rows for one in found.probes} == {8}
    (one,) = found.answers
    assert "whiten" not in one.alone + one.together
    assert any("whiten is left out for clip_cls+lare:mean@300" in told for told in found.notices)


def test_questions_of_a_share_are_asked_of_one_seed(probed, tmp_path):
    found = clare.probe(
        probed,
        tmp_path / "seeds",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        fractions=[0.25],
        seeds=[3, 0],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    alone = clare.probe(
        probed,
        tmp_path / "one",
        inputs=["clip_cls"],
        norms=["standard"],
        kinds=["centroid"],
        fractions=[0.25],
        seeds=[3],
        ask=["does lare:mean@300 add to clip_cls?"],
        test=["swap"],
        **QUICK,
    )
    assert found.answers == alone.answers


def test_by_default_every_other_field_is_asked_whether_it_adds_to_the_best(found):
    assert {one.base.partition(":")[0] for one in found.answers} == {"clip_tokens_4"}
    fields = {one.added.partition(":")[0] for one in found.answers}
    assert fields == {"clip_cls", "clip_tokens_2", "clip_tokens_6", "lare"}
