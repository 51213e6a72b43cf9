"""Deliveries: sets are read as they are written, and do to an image what they say."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from clare.augmentation.deliveries import CLEAN, Delivery, list_sets, read_set
from clare.augmentation.photometry import Jpeg, KernelBlur, Noise
from clare.augmentation.recipe import find_recipe
from clare.errors import InputError
from clare.pipeline.images.settings import ImageSettings

KNOWN = {
    "clipping": "e637fac6b19ccb53",
    "compact": "b29cb001da14f826",
    "gend": "18f89d1a5b4c2e73",
    "platform": "eff3655550a87c02",
    "univfd": "879498a06ba2058f",
}
"""Of each set a hash of what it draws for two images of two sizes."""

SIZE = (90, 70)


@pytest.fixture(scope="module")
def photo():
    """Smooth shapes with some noise: neither flat nor without order."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8))
    values = np.asarray(small.resize(SIZE, Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(
        np.clip(values + rng.integers(-9, 10, values.shape), 0, 255).astype(np.uint8)
    )


def delivered(text, image, content="ab", **more):
    return Delivery.of("mine", text).view(content, image.size, **more).apply(image)


def same(one, other):
    return one.size == other.size and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", list_sets())
def test_what_a_set_draws_stays_what_it_is(name):
    """Stored features depend on these draws: another result needs another version."""
    views = [
        one.view(content, size)
        for one in read_set(name)
        for content in ("a", "b")
        for size in ((256, 200), (31, 500))
    ]
    assert hashlib.sha256(repr(views).encode()).hexdigest()[:16] == KNOWN[name]


@pytest.mark.parametrize("name", list_sets())
def test_a_text_gives_its_delivery_back(name):
    found = read_set(name)
    assert len({one.name for one in found}) == len(found) > 1
    assert [Delivery.of(one.name, one.text) for one in found] == list(found)


@pytest.mark.parametrize("name", list_sets())
@settings(max_examples=20, deadline=None)
@given(size=st.tuples(st.integers(1, 120), st.integers(1, 120)), content=st.text(max_size=4))
def test_images_and_masks_of_any_size_stay_of_one_size(name, size, content):
    image, mask = Image.new("RGB", size, (9, 99, 199)), Image.new("L", size, 255)
    for one in read_set(name):
        view = one.view(content, size)
        seen, marked = view.apply(image), view.apply_to_mask(mask)
        assert (seen.mode, marked.mode) == ("RGB", "L")
        assert seen.size == marked.size


def test_a_compression_is_that_of_pillow(photo):
    data = io.BytesIO()
    photo.save(data, "JPEG", quality=30)
    assert same(delivered("jpeg 30", photo), Image.open(data).convert("RGB"))


def test_a_blur_is_a_gaussian(photo):
    values = np.asarray(photo).astype(float)
    expected = ndimage.gaussian_filter(values, (2, 2, 0), mode="mirror", truncate=4)
    assert np.abs(np.asarray(delivered("blur 2", photo)) - expected).max() < 0.51
    assert Delivery.of("b", "blur 2 kernel 13").view("", SIZE).steps == (KernelBlur(13, 13, 2),)


def test_a_scaled_image_comes_back_or_stays_small(photo):
    small = photo.resize((45, 35), Image.Resampling.BICUBIC)
    assert same(delivered("resize 0.5", photo), small)
    assert same(delivered("resize 0.5 back", photo), small.resize(SIZE, Image.Resampling.BICUBIC))
    shorter = photo.resize((18, 14), Image.Resampling.LANCZOS)
    assert same(delivered("short_side 14 lanczos", photo), shorter)


def test_noise_is_of_its_deviation_and_a_crop_of_the_middle():
    flat = Image.new("RGB", (200, 100), (128, 128, 128))
    noise = np.asarray(delivered("noise 0.05", flat)).astype(float) - 128
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.02)
    picture = Image.fromarray(
        np.arange(100 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 200, 3)
    )
    assert same(delivered("crop 0.5", picture), picture.crop((50, 25, 150, 75)))


def test_numbers_of_a_range_follow_from_the_image_the_name_and_the_seed():
    planned = Delivery.of("mine", "jpeg 70-90, resize 0.5-1, noise 0.02")

    def steps(content="a", seed=0, delivery=planned):
        return delivery.view(content, SIZE, seed).steps

    assert steps() == steps()
    others = [steps("b"), steps(seed=1), steps(delivery=Delivery("other", planned.steps))]
    assert steps() not in others
    assert len({repr(one) for one in others}) == 3
    drawn = [steps(str(n)) for n in range(300)]
    assert {one.quality for s in drawn for one in s if isinstance(one, Jpeg)} == set(range(70, 91))
    widths = {one.size[0] for s in drawn for one in s if hasattr(one, "resample")}
    assert min(widths) >= 45 and max(widths) <= 90 and len(widths) > 30
    assert len({one.key for s in drawn for one in s if isinstance(one, Noise)}) == 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jpg 95", "'jpg 95' is no step, which is a kind and a number: jpeg quality"),
        ("jpeg", "'jpeg' is no step"),
        ("", "'' is no step"),
        ("jpeg 95,", "'' is no step"),
        (", ".join(["jpeg 5"] * 33), "has 33 steps, more than 32"),
        ("jpeg 101", "jpeg takes a quality from 1 to 100"),
        ("jpeg 90-70", "the lower first"),
        ("jpeg 70.5", "jpeg takes whole numbers"),
        ("resize 0", "resize takes a factor from 0.001 to 8"),
        ("resize 0.5 sharp", "'sharp' can't follow resize: a filter (bicubic, bilinear"),
        ("noise 0.1 back", "'back' can't follow noise: nothing can"),
        ("blur 1 kernel 4", "a kernel of 4 is not an odd number"),
        ("blur 1 kernel", "a kernel of nothing"),
    ],
)
def test_a_step_that_is_none_is_refused(text, said):
    with pytest.raises(InputError) as refused:
        Delivery.of("mine", text)
    assert "delivery mine" in str(refused.value)
    assert said in str(refused.value)


@given(
    st.lists(
        st.builds(
            " ".join,
            st.lists(
                st.sampled_from(
                    [
                        "jpeg",
                        "blur",
                        "resize",
                        "noise",
                        "back",
                        "kernel",
                        "box",
                        "5",
                        ".5",
                        "1-2",
                        "0",
                    ]
                ),
                min_size=1,
                max_size=4,
            ),
        ),
        max_size=3,
    ).map(", ".join)
)
def test_any_text_is_a_delivery_that_can_be_told_again_or_is_refused(text):
    try:
        found = Delivery.of("mine", text)
    except InputError as error:
        assert str(error).startswith("delivery mine: ")
    else:
        assert Delivery.of("mine", found.text) == found
        found.view("a", (40, 30)).apply(Image.new("RGB", (40, 30)))


@pytest.mark.parametrize("name", ["", CLEAN, "a#b", "a b", ".x"])
def test_a_name_is_a_plain_word(name):
    with pytest.raises(InputError, match="can't name a delivery"):
        Delivery.of(name, "jpeg 50")


def test_an_image_does_not_become_endless():
    with pytest.raises(ValueError, match="would make"):
        Delivery.of("mine", "resize 8").view("a", (4000, 4000))


def test_a_set_of_one_s_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("title: two\ndeliveries:\n  low: jpeg 20\n  tiny: short_side 8 box\n")
    found = read_set(file)
    assert (found.name, found.title, len(found)) == ("mine", "two", 2)
    assert found["tiny"].text == "short_side 8 box"
    with pytest.raises(InputError, match="deliveries mine have no 'high'; they have low, tiny"):
        found["high"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", "are not a mapping with deliveries"),
        ("deliveries: {}\n", "have none"),
        ("deliveries: {a: 5}\n", "'a' is not a name with a text of steps"),
        ("deliveries: {a: jpeg 5}\nname: x\n", "has no setting 'name'"),
        ("deliveries: {a: jpeg 5, b: zip 3}\n", "delivery b: 'zip 3' is no step"),
        ("deliveries: [\n", "can't be read as deliveries"),
    ],
)
def test_a_file_that_is_no_set_is_refused(tmp_path, text, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        read_set(str(file))
    assert said in str(refused.value)


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no deliveries 'compakt'.*clipping, compact, gend"):
        read_set("compakt")
    with pytest.raises(InputError, match="is missing"):
        read_set(tmp_path / "no.yaml")


def test_a_recipe_of_views_draws_the_deliveries_of_its_set():
    recipe = find_recipe("compact")
    own = {type(step) for one in read_set("compact") for step in one.view("", SIZE).steps}
    from clare.augmentation.recipe import draw_view

    drawn = [draw_view(recipe, SIZE, view_seed=0, content="a", view=n) for n in range(1, 200)]
    assert {type(step) for view in drawn for step in view.steps} == own
    told = ImageSettings(view_recipe="compact").to_json()
    assert told["view_recipe_definition"] == read_set("compact").text
    assert "view_recipe_definition" not in ImageSettings(view_recipe="gend").to_json()


@pytest.mark.parametrize(
    ("text", "draws"),
    [
        ("jpeg 50", False),
        ("jpeg 50-51", True),
        ("resize 0.5, crop 0.9, blur 1", False),
        ("jpeg 50, resize 0.5-0.6", True),
        ("noise 0.1", True),
    ],
)
def test_what_draws_something_gives_other_pixels_for_another_seed(photo, text, draws):
    delivery = Delivery.of("d", text)
    made = {delivery.view("a", SIZE, seed).apply(photo).tobytes() for seed in range(6)}
    assert delivery.draws == draws == (len(made) > 1)
