"""Training which pixels are fake: from masks or labels, as a plain loop would, killed or not."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from clare.errors import InputError
from clare.heads.config import DetectorConfig, Machine, TrainConfig, create_config, read_preset
from clare.heads.data.dataset import FeatureDataset
from clare.heads.localizer import Localizer
from clare.heads.runs.record import read_history, read_record, read_validation
from clare.heads.runs.run import open_run
from clare.heads.training.notices import kept_bytes
from clare.heads.training.prepare import create_detector
from clare.heads.training.schedule import exhausted, learning_rate
from clare.heads.training.train_head import train_head
from clare.heads.training.trainer import Observer, Plan, train_run, train_runs
from clare.plugins import trust_here
from clare.store.feature_store import create_store
from clare.store.spec import Fingerprint
from tests.heads.masked_store import fill, make_rows

LINEAR = TrainConfig(
    DetectorConfig(decoder="linear"),
    train=("local",),
    select="iou",
    lr=0.1,
    warmup_epochs=0,
    epochs=3,
    batch=8,
)
CONV = create_config(
    {"decoder": "conv_4", "lr": 1e-3, "epochs": 2, "train": ("few",), "batch": 4}, LINEAR
)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Convolutions of few channels: their own contract is tested at full width."""
    monkeypatch.setattr("clare.heads.decoders._conv._WIDTHS", (16, 8, 8, 8))


def train(store, config, folder, machine=Machine()):  # noqa: B008
    train_run(config, store.path, folder, machine)
    return open_run(folder)


def value_of(figure, name="value") -> float:
    value = getattr(figure, name)
    assert isinstance(value, float)
    return value


def test_a_decoder_learns_where_the_fake_is(masked, tmp_path):
    run = train(masked, LINEAR, tmp_path / "run")
    found = read_validation(tmp_path / "run")
    name, figure = found.chief
    value = value_of(figure)
    assert name == "IoU" and figure.n == 8 and value > 0.5 and found.auc.value is None
    assert value_of(figure, "low") <= value <= value_of(figure, "high")
    record = read_record(tmp_path / "run")
    assert record.rows == {"train": {"real": 0, "fake": 32}, "val": {"real": 0, "fake": 8}}
    assert record.config.detector.fusion == record.config.detector.classifier == ""
    assert isinstance(run.detector, Localizer)
    data = FeatureDataset(masked, ["clip_tokens", "mask"], subsets=["local"], split="val")
    batch = data.read(range(len(data)))
    with torch.no_grad():
        called = run.detector.maps(batch) > 0
    marked = functional.interpolate(batch["mask"][:, None].float(), (256, 256))[:, 0] > 127
    iou = (called & marked).sum((1, 2)) / (called | marked).sum((1, 2))
    assert iou.mean().item() == pytest.approx(value, abs=0.02)


def test_a_decoder_is_all_that_has_to_be_said(masked, tmp_path):
    run = train_head(masked, tmp_path / "run", decoder="linear", train=("few",), epochs=1)
    own = {"train": ("few",), "epochs": 1, "decoder": "linear"}
    expected = create_config(own, read_preset("localize"))
    assert run.record.config.to_json() == {**expected.to_json(), "reals": []}


@pytest.mark.parametrize("change", [{"mask_content": "f" * 64}, {"mask_fake": "black"}])
def test_its_record_holds_the_masks(masked, tmp_path, change):
    config = replace(LINEAR, train=("few",), epochs=1)
    one = train(masked, config, tmp_path / "one").record
    other = create_store(tmp_path / "other.zarr")
    rows = make_rows("few", 1, 12)
    changed = {**rows[0].columns, **change}
    fill(other, "few", [replace(rows[0], columns=changed), *rows[1:]])
    two = train(other, config, tmp_path / "two").record
    assert len(one.masks) == 64 and one.masks != two.masks
    assert one.rows == two.rows and one.fingerprints == two.fingerprints
    assert set(one.fingerprints) == {"clip", "mask"}


def test_steps_equal_a_plain_loop(masked, tmp_path):
    """BatchNorm in training mode, torch's AdamW and loss, in the run's own order of rows."""
    config = create_config({"epochs": 1, "clip": None}, CONV)
    run = train(masked, config, tmp_path / "run")
    data = FeatureDataset(masked, ["clip_tokens", "mask"], subsets=["few"], split="train")
    batch = data.read(range(len(data)))
    plain = create_detector(config, {"clip_tokens": (16, 8), "mask": (32, 32)}, None)
    assert isinstance(plain, Localizer)
    plain.fit_statistics([batch])
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.01)
    order, losses = np.random.default_rng([0, 1]).permutation(8), []
    for step in range(2):
        optimizer.param_groups[0]["lr"] = learning_rate(config, 1, step / 2)
        picked = torch.from_numpy(order[4 * step : 4 * step + 4])
        some = {name: batch[name][picked] for name in ("clip_tokens", "mask")}
        masks = functional.interpolate(
            some["mask"][:, None].float() / 255, (256, 256), mode="bilinear"
        )
        loss = functional.binary_cross_entropy_with_logits(plain.maps(some), masks[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    (epoch,) = read_history(tmp_path / "run")
    assert epoch["train_loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    own = run.detector.state_dict()
    for name in ("decoder.fc.1.running_mean", "decoder.fc.13.running_var", "decoder.fc.17.weight"):
        torch.testing.assert_close(own[name], plain.state_dict()[name], rtol=1e-3, atol=1e-4)


def test_a_kill_changes_nothing_running_statistics_included(masked, tmp_path):
    machine = Machine(checkpoint_seconds=0)
    whole = train(masked, CONV, tmp_path / "whole", machine)

    class Killed(Observer):
        def epoch(self, run, record):
            if record["epoch"] == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_run(CONV, masked.path, tmp_path / "killed", machine, Killed())
    resumed = train(masked, CONV, tmp_path / "killed", machine)
    for name, value in whole.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name]), name


def test_what_is_kept_is_the_best_epoch_with_its_own_statistics(masked, tmp_path):
    run = train(masked, CONV, tmp_path / "run", Machine(keep_every=1, checkpoint_seconds=0))
    best = read_validation(tmp_path / "run").epoch
    from clare.heads.detector import load_detector

    kept = load_detector(tmp_path / "run" / f"epoch-{best:03d}.safetensors")
    for name, value in run.detector.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name]), name


def test_runs_side_by_side_are_as_alone(masked, tmp_path):
    configs = [
        replace(LINEAR, train=("few",), batch=4),
        CONV,
        create_config({"fields": {"lare": "lare"}, "train": ("few",), "batch": 4}, LINEAR),
    ]
    together = [tmp_path / f"together-{n}" for n in range(3)]
    assert train_runs(configs, masked.path, together) == [None, None, None]
    for number, config in enumerate(configs):
        alone = train(masked, config, tmp_path / f"alone-{number}")
        beside = open_run(together[number])
        for name, value in alone.detector.state_dict().items():
            assert torch.equal(value, beside.detector.state_dict()[name]), (number, name)


@pytest.mark.parametrize(
    "fields",
    [
        {"lare": "lare"},
        {"tokens": "clip_tokens", "lare": "lare"},
        {"tokens": "clip_tokens", "tokens_2": "clip_tokens_20"},
    ],
)
def test_a_decoder_reads_what_its_fields_name(masked, tmp_path, fields):
    run = train(masked, create_config({"fields": fields}, LINEAR), tmp_path / "run")
    assert run.detector.fields == tuple(fields.values())
    assert value_of(read_validation(tmp_path / "run").metrics["iou"]) > 0.5


def test_labels_alone_teach_where_the_fake_is(masked, tmp_path):
    config = create_config(
        {"supervision": "image", "reals": ("pool",), "score": "mean_logit", "epochs": 8}, LINEAR
    )
    run = train(masked, config, tmp_path / "run")
    found = read_validation(tmp_path / "run")
    assert run.record.masks and run.record.rows["train"] == {"real": 16, "fake": 32}
    assert value_of(found.metrics["auc"]) > 0.9 and value_of(found.metrics["iou"]) > 0.2
    without = create_config({"train": ("bare",), "select": "auc"}, config)
    assert value_of(read_validation(train(masked, without, tmp_path / "bare").path).auc) > 0.9


def test_real_images_join_with_empty_masks(masked, tmp_path):
    config = create_config({"empty_masks": True}, LINEAR)  # the pool is found by itself
    found = read_validation(train(masked, config, tmp_path / "run").path)
    assert found.metrics["iou"].n == 8 and found.metrics["auc"].n == 12
    assert value_of(found.metrics["auc"]) > 0.9


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"train": ("bare",)}, "fakes of bare have no masks in split train"),
        ({"select": "auc"}, "auc needs real images"),
        ({"fields": {"cls": "clip_cls"}}, "a decoder takes no class token"),
        (
            {"fields": {"tokens_3": "clip_tokens"}},
            "two fields of tokens, and LaRE, but no tokens_3",
        ),
        ({"shuffle_labels": True}, "shuffled labels would change nothing"),
        ({"decoder": "conv_5"}, "no decoder 'conv_5'"),
        ({"fields": {"tokens": "mask"}}, "32 tokens form no square, over which a decoder works"),
        ({"scope": "as-published"}, "a decoder has no prompts"),
        ({"train": ("pool",)}, "pool has no fakes with these features in training"),
        (
            {"decoder": "attention", "decoder_settings": {"heads": 0}},
            "attention can't have 0 heads",
        ),
        (
            {"fusion": "lare", "classifier": "linear", "reals": ("pool",)},
            "IoU is of a decoder's map",
        ),
    ],
)
def test_what_cant_be_trained_is_refused(masked, tmp_path, changed, said):
    with pytest.raises(InputError, match=said):
        train_run(create_config(changed, LINEAR), masked.path, tmp_path / "run")


def test_a_decoder_beside_a_fusion_is_refused():
    with pytest.raises(InputError, match="stands in the place of fusion and classifier"):
        create_config({"decoder": "linear", "fusion": "cls"})
    assert create_config({"decoder": "conv-20"}).detector.decoder == "conv_20"
    back = create_config({"fusion": "esa"}, LINEAR).detector
    assert (back.fusion, back.classifier, back.decoder) == ("esa", "cocoop", "")


def test_the_memory_of_a_step_is_said_before_it(masked, tmp_path):
    plans: list[Plan] = []

    class Watching(Observer):
        def planned(self, plan):
            plans.append(plan)
            raise KeyboardInterrupt

    config = create_config({"batch": 512}, CONV)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, masked.path, tmp_path / "run", observer=Watching())
    (said,) = [str(note) for note in plans[0].notes if "GB" in str(note)]
    kept: list[int] = []
    model = create_detector(config, {"clip_tokens": (16, 8), "mask": (32, 32)}, None)
    assert isinstance(model, Localizer)
    tokens = {"clip_tokens": torch.randn(2, 16, 8)}
    seen = set()

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        copy.deepcopy(model).maps(tokens)
    gigabytes = sum(kept) / 2 * 512 / 1e9
    assert float(said.split()[4]) == pytest.approx(gigabytes, rel=0.05)


def test_what_a_head_has_no_use_for_is_said(masked, tmp_path):
    plans: list[Plan] = []

    class Watching(Observer):
        def planned(self, plan):
            plans.append(plan)
            raise KeyboardInterrupt

    idle = {"slerp": True, "label_smoothing": 0.1}
    fusion = {"fusion": "lare", "classifier": "linear", "select": "auc", "reals": ("pool",)}
    for changed, said in (
        (idle, "a decoder has no use for label_smoothing and slerp"),
        ({**fusion, "score": "max"}, "a head without a decoder has no use for score"),
        ({}, None),
    ):
        with pytest.raises(KeyboardInterrupt):
            config = create_config(changed, LINEAR)
            train_run(config, masked.path, tmp_path / "run", observer=Watching())
        notes = [str(note) for note in plans.pop().notes if "no use" in str(note)]
        assert [note.partition(":")[0] for note in notes] == ([said] if said else [])


def test_declips_preset_trains(masked, tmp_path):
    changed = {"train": ("local",), "epochs": 1, "fraction": 0.25}
    config = create_config(changed, read_preset("declip"))
    config = create_config({"decoder": "conv_4", "decoder_settings": {"start": "declip"}}, config)
    assert train(masked, config, tmp_path / "run").detector.fields == ("clip_tokens_20",)
    assert read_preset("declip").detector.decoder == "conv_20"


def test_declips_attention_trains_a_part_of_itself():
    config = read_preset("declip-attention")
    with torch.device("meta"):
        model = create_detector(config, {"clip_tokens_20": (256, 1024), "mask": (256, 256)}, None)
    assert sum(p.numel() for p in model.parameters_to_train().values()) == 8_397_825


def rows_with_views():
    """Fakes with masks; those of training in two views."""
    rows = make_rows("local", 1, 24)
    return rows + [
        replace(row, view=1, content=f"{n:064x}")
        for n, row in enumerate(rows)
        if row.columns["split"] == "train"
    ]


def test_a_view_learns_from_its_own_mask(tmp_path):
    """Views are rows of their own: tokens and mask of one view stay together."""
    store = create_store(tmp_path / "features.zarr")
    fill(store, "local", rows_with_views())
    train(store, replace(LINEAR, epochs=6), tmp_path / "run")
    assert value_of(read_validation(tmp_path / "run").metrics["iou"]) > 0.5


def test_declips_rates_fall_as_published():
    """Six epochs a stage at a constant figure, four stages, and a creep never ends."""
    config = read_preset("declip")
    rates = [learning_rate(config, epoch, 0.0, [0.5] * (epoch - 1)) for epoch in range(1, 25)]
    assert rates == pytest.approx([1e-3] * 6 + [1e-4] * 6 + [1e-5] * 6 + [1e-6] * 6)
    assert not exhausted(config, [0.5] * 23) and exhausted(config, [0.5] * 24)
    creep = [0.5 + 0.000005 * n for n in range(200)]
    assert learning_rate(config, 201, 0.0, creep) == 1e-3
    after = [0.5] * 6 + [0.3, *(0.3 + 0.00001 * n for n in range(1, 6))]
    assert learning_rate(config, 13, 0.0, after) == pytest.approx(1e-4), "gains of 1e-5 add up"


def test_figures_of_a_damaged_localiser_are_refused(masked, tmp_path):
    train(masked, LINEAR, tmp_path / "run")
    path = tmp_path / "run" / "val_metrics.json"
    found = json.loads(path.read_text())
    del found["metrics"]["iou"]
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match="neither AUC nor IoU"):
        read_validation(tmp_path / "run")


def test_masks_of_another_crop_are_refused(masked, tmp_path):
    store = create_store(tmp_path / "features.zarr")
    fill(store, "local", make_rows("local", 1, 12), {"mask": {"images": {"crop": "boxes"}}})
    with pytest.raises(InputError, match="were cut out of the images differently"):
        train_run(LINEAR, store.path, tmp_path / "run")


@pytest.mark.parametrize(
    "images", [{"crop": "boxes"}, {"crop": "none", "align": "arcface", "align_side": 64}]
)
def test_tokens_and_lare_of_other_parts_of_an_image_are_refused(
    tmp_path, build_store, rows_of, images
):
    made = {
        "clip": Fingerprint("clip", 1, "aa"),
        "lare": Fingerprint("lare", 1, "bb", {"images": images}),
    }
    store = build_store(
        tmp_path / "features.zarr", {"swap": rows_of["videos"]("swap", 8)}, fingerprints=made
    )
    config = create_config({"fusion": "esa", "classifier": "linear", "epochs": 1})
    with pytest.raises(InputError, match="were cut out of the images differently"):
        train_run(config, store.path, tmp_path / "run")
    # Each of them alone says nothing of a place that the other would have.
    train_run(replace(config, detector=DetectorConfig("cls", "linear")), store.path, tmp_path / "b")
    fields = {"parts": "lare"}
    with pytest.raises(InputError, match="were cut out of the images differently"):
        train_run(
            replace(config, detector=DetectorConfig("roi", "linear", fields=fields)),
            store.path,
            tmp_path / "c",
        )


def test_a_protocol_trains_masks_without_its_reals(masked, tmp_path):
    """Its pools join only where real images are trained on."""
    base = replace(LINEAR, protocol="own", reals=("elsewhere",))
    run = train(masked, base, tmp_path / "run")
    assert run.record.rows["train"] == {"real": 0, "fake": 32} and not run.record.lacking
    with pytest.raises(InputError, match="trains on elsewhere"):
        train_run(replace(base, empty_masks=True), masked.path, tmp_path / "other")


def test_fakes_without_a_mask_are_left_out_aloud(masked, tmp_path):
    everything = replace(LINEAR, train=(), epochs=1)
    train(masked, everything, tmp_path / "run")
    log = (tmp_path / "run" / "run.log").read_text()
    assert "bare: 16 fakes without a mask, left out of split train" in log
    assert "bare: 4 fakes without a mask, left out of split val" in log
    with pytest.raises(InputError, match="fakes of bare have no masks in split train"):
        train_run(replace(LINEAR, train=("local", "bare")), masked.path, tmp_path / "other")


def test_labels_choose_by_all_fakes_where_some_have_masks(masked, tmp_path):
    config = replace(LINEAR, supervision="image", train=("local", "bare"), reals=("pool",))
    config = replace(config, epochs=1)
    found = read_validation(train(masked, config, tmp_path / "run").path)
    assert found.metrics["iou"].n == 8 and found.metrics["auc"].n == 16


def test_masks_that_mark_nothing_end_a_run_in_a_sentence(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    rows = [
        replace(row, columns={**row.columns, "blank": "yes"}) for row in make_rows("local", 1, 24)
    ]
    fill(store, "local", rows)
    configs = [LINEAR, replace(LINEAR, select="loss")]
    failures = train_runs(configs, store.path, [tmp_path / "one", tmp_path / "two"])
    assert all(failure and "no mask of its fakes marks anything" in failure for failure in failures)


def test_reals_without_the_field_are_named(masked, tmp_path):
    store = create_store(tmp_path / "features.zarr")
    fill(store, "local", make_rows("local", 1, 24))
    fill(store, "pool", make_rows("pool", 0, 24), without=["mask"])
    config = replace(LINEAR, empty_masks=True, reals=("pool",))
    with pytest.raises(InputError, match="reals of pool have no complete training rows"):
        train_run(config, store.path, tmp_path / "run")


def test_a_run_that_an_earlier_version_left_goes_on(masked, tmp_path):
    class Killed(Observer):
        def epoch(self, run, record):
            if record["epoch"] == 2:
                raise KeyboardInterrupt

    detector = create_config({"fusion": "lare", "classifier": "linear", "select": "auc"}, LINEAR)
    detector = replace(detector, reals=("pool",), lr=0.01)
    folder, machine = tmp_path / "run", Machine(checkpoint_seconds=0)
    undisturbed = train(masked, detector, tmp_path / "undisturbed", machine)
    with pytest.raises(KeyboardInterrupt):
        train_run(detector, masked.path, folder, machine, Killed())
    with safe_open(folder / "last.safetensors", "pt") as file:
        header = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["margins"] = tensors.pop("judged")[:, 0].contiguous()
    save_file(tensors, folder / "last.safetensors", header)
    resumed = train(masked, detector, folder, machine)
    for name, value in undisturbed.detector.state_dict().items():
        assert torch.equal(value, resumed.detector.state_dict()[name]), name


def test_a_decoder_with_a_temperature_of_its_own_trains(masked, tmp_path):
    file = tmp_path / "warm.py"
    file.write_text(WARM)
    trust_here(file)
    config = create_config({"decoder": str(file), "epochs": 1}, LINEAR)
    assert train(masked, config, tmp_path / "run").detector.fields == ("clip_tokens",)


WARM = """
import torch
from torch import nn
from clare.heads.layers.grid import GridDecoder, scale_up


class Warm(GridDecoder):
    \"\"\"A mean over channels, at a learnt temperature; no shapes alone: it looks at values.\"\"\"

    def __init__(self, settings, shapes):
        super().__init__(settings, shapes)
        self.temperature = nn.Parameter(torch.zeros(()))

    def forward(self, inputs):
        grid = self.stack(inputs).mean(1)
        assert grid.sum().item() == grid.sum().item()
        return scale_up(grid * self.temperature.exp())
"""


def test_what_attention_keeps_is_counted_whole():
    """Its tensors have heads, or positions, before the images."""
    config = create_config({"decoder": "attention"}, LINEAR)
    model = create_detector(config, {"clip_tokens": (256, 1024), "mask": (256, 256)}, None)
    assert isinstance(model, Localizer)
    assert 40e6 < kept_bytes(model) < 70e6  # 43 MB by storage, of which some are views


def test_masks_of_other_views_are_refused_where_views_are_read(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    fill(store, "local", rows_with_views(), {"mask": {"images": {"view_seed": 7}}})
    with pytest.raises(
        InputError, match=r"masks and features are of views .* mask clare with seed 7"
    ):
        train_run(LINEAR, store.path, tmp_path / "run")
    train(store, replace(LINEAR, views=False), tmp_path / "plain")
    alone = create_store(tmp_path / "alone.zarr")
    fill(alone, "local", make_rows("local", 1, 12), {"mask": {"images": {"view_seed": 7}}})
    train(alone, LINEAR, tmp_path / "alone")


def test_features_of_other_views_are_refused_where_no_masks_are_read(tmp_path):
    store = create_store(tmp_path / "features.zarr")
    other = {"lare": {"images": {"view_seed": 7}}}
    fill(store, "local", rows_with_views(), other)
    fill(store, "pool", make_rows("pool", 0, 24), other)
    by_label = {"supervision": "image", "reals": ("pool",), "select": "auc"}
    both = create_config({**by_label, "fields": {"tokens": "clip_tokens", "lare": "lare"}}, LINEAR)
    with pytest.raises(InputError, match=r"^features are of views .* lare clare with seed 7"):
        train_run(both, store.path, tmp_path / "run")
