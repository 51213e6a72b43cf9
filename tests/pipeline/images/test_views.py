import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clare.augmentation import recipes
from clare.errors import InputError
from clare.pipeline.images.marks import FaceMarks
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.plugins import list_parts, trust_here


def encoded(image, container="PNG", **options):
    data = io.BytesIO()
    image.save(data, container, **options)
    return data.getvalue()


def blob(size, dice):
    """White on black, off the middle: where the picture is bright, its mask is set.

    One shape alone: the gap between two may be too narrow to survive in a small mask.
    """
    width, height = size
    image = Image.new("L", size)
    x, y = dice.uniform(0, 0.6) * width, dice.uniform(0, 0.6) * height
    corner = (x + width * 0.35, y + height * 0.35)
    ImageDraw.Draw(image).rectangle((x, y, *corner), fill=255)
    return image


def eroded(marked, by):
    """Pixels whose whole neighbourhood is marked, and in the image: at an edge a strip may go on
    beyond it, or end there."""
    padded = np.pad(marked, by, constant_values=False)
    height, width = marked.shape
    shifts = [
        padded[dy : dy + height, dx : dx + width]
        for dy in range(2 * by + 1)
        for dx in range(2 * by + 1)
    ]
    return np.logical_and.reduce(shifts)


@settings(max_examples=50, deadline=None)
@given(
    dice=st.randoms(use_true_random=False),
    width=st.integers(64, 300),
    height=st.integers(64, 300),
    content=st.text("0123456789abcdef", min_size=8, max_size=8),
    chosen=st.builds(
        ImageSettings,
        resize=st.none() | st.integers(64, 200),
        recode=st.none() | st.just("jpeg:95"),
        crop=st.sampled_from(["none", "boxes"]),
        view_seed=st.integers(0, 9),
        view_recipe=st.sampled_from(list_parts(recipes)),
    ),
    mask_scale=st.sampled_from([1, 2]),
)
def test_masks_move_with_their_pixels(dice, width, height, content, chosen, mask_scale):
    picture = blob((width, height), dice)
    mask = picture.resize((width * mask_scale, height * mask_scale), Image.Resampling.NEAREST)
    boxes = f"{width * 0.1} {height * 0.1} {width * 0.8} {height * 0.9}"
    for image in load_views(
        encoded(picture),
        chosen,
        range(5),
        face=FaceMarks(boxes),
        mask=encoded(mask),
        content=content,
    ):
        values = image.pixels(96)[..., 1]
        marked = image.mask(96) > 127
        # Blur and JPEG soften an edge and thin a narrow strip: only what is clearly inside or
        # outside counts, and it need not be quite white or black.
        assert (values[eroded(marked, 4)] > 64).all()
        assert (values[eroded(~marked, 4)] < 191).all()


def test_view_zero_is_the_plain_image_and_others_depend_on_nothing_else():
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    data = encoded(Image.fromarray(noise))

    def views(numbers, content="a", seed=0, recipe="clare"):
        chosen = ImageSettings(view_seed=seed, view_recipe=recipe)
        return {
            i.view: i.pixels(32).tobytes()
            for i in load_views(data, chosen, numbers, content=content)
        }

    four = views(range(4))
    plain = Image.fromarray(noise).resize((32, 32), Image.Resampling.BICUBIC)
    assert four[0] == plain.tobytes()
    assert len(set(four.values())) == 4
    assert views([3, 1]) == {3: four[3], 1: four[1]}
    assert views([0], content="b")[0] == four[0]
    assert views([1], content="b")[1] != four[1]
    assert views([1], seed=1)[1] != four[1]
    assert views([1], recipe="gend")[1] != four[1]
    assert views([0], recipe="gend")[0] == four[0]


def test_noise_is_keyed_by_content_and_view():
    data = encoded(Image.new("RGB", (8, 8)))
    keys = [
        image.noise_key
        for content in ("a", "b")
        for image in load_views(data, ImageSettings(), [0, 1], content=content)
    ]
    assert keys == [b"a/0", b"a/1", b"b/0", b"b/1"]


def test_every_size_sees_the_same_geometry():
    """Two extractors at other sizes look at the same place."""
    picture = Image.new("RGB", (200, 150))
    picture.paste((255, 255, 255), (40, 60, 110, 120))
    for image in load_views(encoded(picture), ImageSettings(), range(6), content="a"):
        small, large = (image.pixels(size)[..., 0].astype(float) / 255 for size in (64, 256))
        pooled = large.reshape(64, 4, 64, 4).mean((1, 3))
        assert np.abs(small - pooled).max() < 0.35
        assert np.abs(small - pooled).mean() < 0.01


OWN = """
from clare.augmentation.geometry import MIRROR
from clare.augmentation.recipe import ViewRecipe


class Mirrored(ViewRecipe):
    \"\"\"Every view is the mirror image.\"\"\"

    VERSION = 4

    def draw(self, dice, size):
        return [MIRROR]
"""


def test_a_recipe_of_one_s_own_is_used_once_it_is_named(tmp_path):
    file = tmp_path / "mirrored.py"
    file.write_text(OWN, "utf-8")
    chosen = ImageSettings(view_recipe=str(file))
    with pytest.raises(InputError, match=r"mirrored\.py is code that you never named"):
        chosen.to_json()
    trust_here(file)
    noise = Image.effect_noise((32, 32), 90).convert("RGB")
    _, mirrored = load_views(encoded(noise), chosen, range(2), content="a")
    assert (mirrored.pixels(32) == np.asarray(noise)[:, ::-1]).all()
    assert chosen.to_json()["view_recipe"] == str(file)
    assert chosen.to_json()["view_recipe_version"] == 4


def test_the_usual_recipe_leaves_fingerprints_as_they_were():
    assert ImageSettings(view_recipe="clare").to_json() == {
        "version": 1,
        "resize": None,
        "recode": None,
        "crop": "none",
        "view_seed": 0,
    }
    told = ImageSettings(view_recipe="gend").to_json()
    assert (told["view_recipe"], told["view_recipe_version"]) == ("gend", 1)


def test_a_recipe_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="did you mean gend"):
        ImageSettings(view_recipe="gendd")
