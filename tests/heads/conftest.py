"""A text tower as open_clip runs it, and a small store with every field that a head may read,
whose class token tells fakes.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.transformer import LayerNorm, QuickGELU, TextTransformer
from safetensors.torch import save_file

from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint
from tests.heads.masked_store import create_masked, create_towers


@dataclass
class PlainText:
    """open_clip's text transformer in float64 beside its file."""

    model: TextTransformer
    file: Path
    logit_scale: float

    def read(self, embeddings: torch.Tensor, end: int) -> torch.Tensor:
        """The text vector (E,) of one prompt's embeddings (positions, width): nothing left out."""
        model = self.model
        x = embeddings + model.positional_embedding[: len(embeddings)]
        mask = model.attn_mask[: len(embeddings), : len(embeddings)]
        x = model.ln_final(model.transformer(x[None], attn_mask=mask))
        return x[0, end] @ model.text_projection


@pytest.fixture(scope="session")
def make_text(tmp_path_factory):
    """Make a seeded tower; settings are those of open_clip's text configuration."""

    def make(*, embed_dim=24, quick_gelu=True, eps=None, tokenizer="SimpleTokenizer", **settings):
        config = {"width": 32, "heads": 2, "layers": 3, **settings}
        plain = {"act_layer": QuickGELU if quick_gelu else torch.nn.GELU, "output_dim": embed_dim}
        if eps is not None:
            plain["norm_layer"] = lambda width: LayerNorm(width, eps=eps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            model = TextTransformer(**config, **plain).eval().requires_grad_(False)
            for name, parameter in model.named_parameters():
                # As it starts, norms and biases would hide what they do.
                std = 0.3 if "ln_" in name or "bias" in name else 0.02
                parameter += std * torch.randn_like(parameter)
        if eps is not None:
            config["norm_kwargs"] = {"eps": eps}
        facts = {
            "text_config": config,
            "embed_dim": embed_dim,
            "quick_gelu": quick_gelu,
            "context_length": config.get("context_length", 77),
            "tokenizer": tokenizer,
        }
        file = tmp_path_factory.mktemp("text") / "text_tower.safetensors"
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
        tensors["logit_scale"] = torch.tensor(3.0)
        save_file(tensors, file, {"text_tower": json.dumps(facts)})
        return PlainText(model.double(), file, torch.tensor(3.0).exp().item())

    return make


@pytest.fixture(scope="session")
def plain_text(make_text):
    """One tower for the tests that need just any: width 32, embed_dim 24."""
    return make_text()


WIDTH = 24
SPECS = {
    "clip": [
        FeatureSpec("clip_cls", (WIDTH,), "float32"),
        FeatureSpec("clip_cls_pre", (16,), "float32"),
        FeatureSpec("clip_tokens", (9, 16), "float16"),
    ],
    "lare": [FeatureSpec("lare", (2, 3, 4, 6, 6), "float16", channel_axis=-3)],
}
FINGERPRINTS = {"clip": Fingerprint("clip", 1, "aa"), "lare": Fingerprint("lare", 1, "bb")}
SPLITS = ("train", "train", "train", "train", "train", "val", "val", "test")


@pytest.fixture(autouse=True)
def one_thread():
    """The tests' tensors are tiny, and their machine is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_row(subset, sample_id, label, split, view=0, content=None, **columns) -> Row:
    known = {"label": label, "split": split, "subset": subset, **columns}
    content = hashlib.sha256((content or f"{subset}/{sample_id}").encode()).hexdigest()
    return Row(sample_id=sample_id, view=view, content=content, columns=known)


@cache
def _drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    seed = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng(list(seed[:8])).normal(size=shape)


def value_of(row: Row, spec: FeatureSpec) -> np.ndarray:
    values = _drawn(f"{row.content}{row.view}{spec.field}", spec.shape).copy()
    if spec.field in ("clip_cls", "clip_cls_pre"):
        values[0] += 3.0 * row.columns["label"]
    elif spec.field == "clip_tokens":
        values = values * 2 + 5
    return values.astype(spec.dtype)


def fill(store, subset, rows, failed=(), fingerprints=FINGERPRINTS) -> None:
    """Rows with values in every field; ``failed`` sample ids have none for lare."""
    assigned = store.assign_rows(subset, rows)
    for extractor, specs in SPECS.items():
        fingerprint = fingerprints[extractor]
        store.declare(fingerprint, specs)
        feature = store.feature(subset, extractor, fingerprint.digest)
        for shard in feature.pending():
            assert feature.claim(shard)
            mine = [row for row in assigned if row.slot // SHARD_ROWS == shard]
            values = {}
            for spec in specs:
                values[spec.field] = np.zeros((SHARD_ROWS, *spec.shape), spec.dtype)
                for row in mine:
                    values[spec.field][row.slot % SHARD_ROWS] = value_of(row, spec)
            bad = {
                row.slot % SHARD_ROWS: "bad"
                for row in mine
                if extractor == "lare" and row.sample_id in failed
            }
            feature.write_shard(shard, values, bad, {})
            feature.release(shard)


def plain_rows(subset, label, count, views=1) -> list[Row]:
    return [
        make_row(subset, f"{subset}-{n}", label, SPLITS[n % 8], view)
        for n in range(count)
        for view in range(views if SPLITS[n % 8] == "train" else 1)
    ]


def video_rows(subset, videos) -> list[Row]:
    """Four frames a video, a real and a fake video of each identity, in the domain "ff"."""
    return [
        make_row(
            subset,
            f"{subset}-{video}-{label}-{frame}",
            label,
            SPLITS[video % 8],
            video_id=f"{'fake' if label else 'real'}{video}",
            source_ids=f"{video}",
            domain="ff",
        )
        for video in range(videos)
        for label in (0, 1)
        for frame in range(4)
    ]


@pytest.fixture(scope="session")
def build_store(plain_text):
    """Make a store: ``build(path, {subset: rows}, failed)``; with a text tower."""

    def build(path, subsets, failed=(), fingerprints=FINGERPRINTS):
        store = create_store(path)
        for subset, rows in subsets.items():
            fill(store, subset, rows, failed, fingerprints)
        tower = {"text_tower.safetensors": plain_text.file.read_bytes()}
        store.write_assets(fingerprints["clip"].key, tower)
        return store

    return build


@pytest.fixture(scope="session")
def store(tmp_path_factory, build_store):
    """A pool of reals, fakes in two views, and videos of either."""
    subsets = {
        "pool": plain_rows("pool", 0, 80),
        "gan": plain_rows("gan", 1, 80, views=2),
        "swap": video_rows("swap", 16),
    }
    return build_store(tmp_path_factory.mktemp("training") / "features.zarr", subsets)


@pytest.fixture(scope="session")
def masked(tmp_path_factory):
    """Fakes with masks, a pool of reals, and fakes without masks; read alone."""
    return create_masked(tmp_path_factory.mktemp("masked") / "features.zarr")


@pytest.fixture(scope="session")
def towers(tmp_path_factory):
    """Fakes with masks and reals in two extractions of CLIP; read alone."""
    return create_towers(tmp_path_factory.mktemp("towers") / "features.zarr")


@pytest.fixture(scope="session")
def rows_of():
    """The makers of rows, for tests with a store of their own."""
    return {"row": make_row, "plain": plain_rows, "videos": video_rows}
