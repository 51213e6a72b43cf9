"""Views of fakes that hold some of the real that they lie on."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clare.augmentation.photometry import Mix
from clare.augmentation.recipe import View, draw_view, find_recipe
from clare.errors import ImageError, InputError
from clare.pipeline.extract import extract
from clare.pipeline.extraction import loading
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.csv_io import read_manifest, write_manifest
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.store.feature_store import open_store

SIDE, VIEWS, PAIRS = 24, 6, 3
MIXED = ImageSettings(view_recipe="pair_mix")


def picture(number, label):
    rng = np.random.default_rng([number, label])
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Pairs of noise, with a manifest."""
    rows = []
    for number in range(PAIRS):
        for label, kind in enumerate(("real", "fake")):
            name = f"{kind}-{number}.png"
            Image.fromarray(picture(number, label)).save(tmp_path / name)
            told: dict[str, Any] = {
                "split": "train",
                "pair_id": f"mine/{number}",
                "pair_kind": "vae",
            }
            rows.append(Sample(f"vae/{name}", name, label, "vae", **told))
    write_manifest(Manifest("vae", tuple(rows)), tmp_path / "vae.csv")
    return tmp_path


def extracted(folder, store="f.zarr", **how: Any):
    given: dict[str, Any] = {"views": VIEWS, "view_recipe": "pair_mix", **how}
    return extract(
        folder / store,
        manifest=folder / "vae.csv",
        root=folder,
        features=["pixels"],
        settings={"pixels": {"size": SIDE}},
        **given,
    )


def expected(number, label, view):
    """A view by hand: the fake and its real are blended, and the result is augmented as usual."""
    drawn = draw_view(
        find_recipe("pair_mix"), (SIDE, SIDE), view_seed=0, content=f"pair mine/{number}", view=view
    )
    own, real = (picture(number, one).astype(float) for one in (label, 0))
    steps = drawn.steps if view else ()
    if steps and isinstance(mix := steps[0], Mix):
        own, steps = (1 - mix.share) * own + mix.share * real, steps[1:]
    image = View(steps).apply(Image.fromarray(np.rint(own).astype(np.uint8)))
    is_mixed = len(steps) < len(drawn.steps) and view > 0
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)), is_mixed


def test_half_of_the_views_of_a_fake_are_mixed_with_its_own_real(folder):
    extracted(folder)
    store = open_store(folder / "f.zarr")
    reader, mixed = store.feature("vae", "pixels").reader("pixels"), 0
    for row in store.rows("vae"):
        number, label = int(row.sample_id[-5]), row.columns["label"]
        value, is_mixed = expected(number, label, row.view)
        difference = np.abs(reader.read([row.slot])[0].astype(int) - value)
        assert difference.max() <= 1, row
        mixed += is_mixed and label
    assert 3 <= mixed <= 12


def test_a_real_that_changed_meanwhile_is_not_mixed_in(folder, monkeypatch):
    extracted(folder, "before.zarr", views=1)

    def changed(path):
        return read_content(path.with_name("real-2.png") if path.name == "real-1.png" else path)

    monkeypatch.setattr(loading, "read_content", changed)
    found = extracted(folder, max_failures=1.0)
    whose = {(sample, view) for _, sample, view in found.failures}
    assert {("vae/fake-1.png", view) for view in range(VIEWS)} <= whose
    assert not any("fake-0" in sample for sample, _ in whose)
    assert any(why.startswith("real of its pair changed") for why in found.failures.values())


@pytest.mark.parametrize("lacking", ["pair_kind", "real"])
def test_fakes_that_lie_on_no_real_are_refused(folder, lacking):
    rows = read_manifest(folder / "vae.csv").samples
    left = [s for s in rows if lacking != "real" or s.sample_id != "vae/real-1.png"]
    if lacking == "pair_kind":
        left = [replace(s, pair_kind="") if s.sample_id == "vae/fake-1.png" else s for s in left]
    write_manifest(Manifest("vae", tuple(left)), folder / "vae.csv")
    message = "1 fake of vae lie on none of its reals.*fake-1.png.*view_recipe="
    with pytest.raises(InputError, match=message):
        extracted(folder)
    assert not [*(folder / "f.zarr").glob("**/c/*")]
    extracted(folder, views=1)  # which draws none


def test_a_real_of_another_shape_is_refused(folder):
    small = folder / "small.png"
    Image.new("RGB", (SIDE, SIDE - 1)).save(small)
    data = (folder / "fake-0.png").read_bytes()
    with pytest.raises(ImageError, match="pair other shape: its real has 24x23 pixels"):
        load_views(data, MIXED, [0, 1], content="c", real=small.read_bytes())
