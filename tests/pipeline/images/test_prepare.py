import errno
import io
import os
import random
import struct
import sys
import types
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, PngImagePlugin

from clare.errors import ImageError, InputError
from clare.pipeline.images import decode as decoding
from clare.pipeline.images.decode import (
    REASONS,
    MissingDecoderError,
    decode_mask,
    decode_rgb,
    read_content,
)
from clare.pipeline.images.prepare import load_views
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.headers import file_columns

SIZE = (48, 32)


def gradient(size=SIZE):
    """RGB with another ramp in each channel: no two corners are alike."""
    width, height = size
    x = np.linspace(20, 220, width)[None, :].repeat(height, 0)
    y = np.linspace(30, 200, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, (x + y) / 2], 2).astype(np.uint8))


def encoded(image, container, **options):
    data = io.BytesIO()
    image.save(data, container, **options)
    return data.getvalue()


def prepared(data, settings=None, views=(0,), **more):
    return load_views(data, settings or ImageSettings(), views, content="c" * 64, **more)


def rgb(data):
    return np.asarray(decode_rgb(data)).astype(int)


def reason(data, **more):
    with pytest.raises(ImageError) as caught:
        prepared(data, **more)
    return str(caught.value).partition(":")[0]


GREY = gradient().convert("L")
PNG16 = Image.fromarray((np.asarray(GREY).astype(np.uint16) << 8) + 37)

LOSSLESS = {
    "png": encoded(gradient(), "PNG"),
    "png optimised": encoded(gradient(), "PNG", optimize=True),
    "bmp": encoded(gradient(), "BMP"),
    "tiff": encoded(gradient(), "TIFF"),
    "tiff deflate": encoded(gradient(), "TIFF", compression="tiff_adobe_deflate"),
    "webp": encoded(gradient(), "WEBP", lossless=True),
    "opaque alpha": encoded(gradient().convert("RGBA"), "PNG"),
    "animation": encoded(
        gradient(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", SIZE)]
    ),
}
LOSSY = {
    "jpeg": encoded(gradient(), "JPEG", quality=95),
    "progressive": encoded(gradient(), "JPEG", quality=95, progressive=True),
    "webp": encoded(gradient(), "WEBP", quality=95),
    "gif": encoded(gradient(), "GIF"),
    "palette": encoded(gradient().quantize(256), "PNG"),
    "mpo": encoded(
        gradient(), "MPO", save_all=True, append_images=[Image.new("RGB", SIZE)], quality=95
    ),
    "animated gif": encoded(
        gradient(), "GIF", save_all=True, append_images=[Image.new("RGB", SIZE, "red")]
    ),
}
GREYS = {
    "L": encoded(GREY, "PNG"),
    "L jpeg": encoded(GREY, "JPEG", quality=100),
    "LA": encoded(GREY.convert("LA"), "PNG"),
    "16-bit png": encoded(PNG16, "PNG"),
    "16-bit tiff": encoded(PNG16, "TIFF"),
    "16-bit big-endian": encoded(
        Image.frombytes("I;16B", SIZE, np.asarray(PNG16).astype(">u2").tobytes()), "TIFF"
    ),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_containers_give_the_same_pixels(name):
    assert np.array_equal(rgb(LOSSLESS[name]), np.asarray(gradient()))


@pytest.mark.parametrize("name", LOSSY)
def test_lossy_containers_give_nearly_the_same_pixels(name):
    assert np.abs(rgb(LOSSY[name]) - np.asarray(gradient())).mean() < 6


@pytest.mark.parametrize("name", GREYS)
def test_grey_is_scaled_to_eight_bits_and_never_clipped(name):
    expected = np.asarray(GREY).astype(int)[..., None].repeat(3, 2)
    assert np.abs(rgb(GREYS[name]) - expected).max() <= 1


def test_one_bit_images_are_black_and_white():
    bits = encoded(GREY.point(lambda v: 255 * (v > 100)).convert("1"), "PNG")
    assert set(np.unique(rgb(bits))) == {0, 255}


def test_sixteen_bit_grey_equals_sixteen_bit_colour():
    rows = np.asarray(PNG16).astype(">u2")[..., None].repeat(3, 2)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    assert np.array_equal(rgb(png(*SIZE, 16, 2, zlib.compress(lines))), rgb(GREYS["16-bit png"]))


def png(width, height, depth, colour, data):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def see_through():
    """Left half opaque, right half fully transparent."""
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (24, 0, 48, 32))
    image = gradient()
    image.putalpha(alpha)
    return image


def test_transparency_shows_white_in_every_kind():
    palette = gradient().quantize(16)
    key = palette.getpixel((40, 20))
    for name, data in {
        "RGBA": encoded(see_through(), "PNG"),
        "LA": encoded(see_through().convert("LA"), "PNG"),
        "webp": encoded(see_through(), "WEBP", lossless=True),
        "palette alphas": encoded(palette, "PNG", transparency=bytes([0] * 16)),
        "palette key": encoded(palette, "PNG", transparency=key),
        "colour key": encoded(Image.new("RGB", SIZE, (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        "grey key": encoded(Image.new("L", SIZE, 7), "PNG", transparency=7),
        "gif": encoded(palette, "GIF", transparency=key),
    }.items():
        assert (rgb(data)[20, 40] == 255).all(), name
    assert np.array_equal(
        rgb(encoded(see_through(), "PNG"))[:, :24], np.asarray(gradient())[:, :24]
    )


@pytest.mark.parametrize("container", ["JPEG", "TIFF"])
def test_cmyk_is_not_inverted(container):
    # Pillow writes Adobe's inverted kind into a JPEG and the plain one into a TIFF.
    data = encoded(gradient().convert("CMYK"), container)
    assert np.abs(rgb(data) - np.asarray(gradient())).mean() < 6


@pytest.mark.parametrize("container", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_image_and_mask_upright(container, orientation):
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "exif": exif, **({"lossless": True} if container == "WEBP" else {})}
    found = rgb(encoded(gradient(), container, **options))
    expected = turned(np.asarray(gradient()))
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3
    mask = np.asarray(decode_mask(encoded(GREY, container, **options)))
    grey = np.asarray(GREY) / np.asarray(GREY).max() * 255
    assert np.abs(mask - turned(grey)).mean() < 3


def test_a_broken_exif_block_does_not_cost_the_image():
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert rgb(data).shape == (32, 48, 3)


class TestFailures:
    def test_files_that_cannot_be_read(self, tmp_path):
        (tmp_path / "empty.png").write_bytes(b"")
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        for name, expected in {
            "none.png": "missing",
            "empty.png/a.png": "missing",
            "empty.png": "empty file",
            "": "unreadable",
            "pipe.png": "unreadable",
            "loop.png": "unreadable",
            "nul\0.png": "unreadable",
        }.items():
            with pytest.raises(ImageError, match=f"^{expected}: "):
                read_content(tmp_path / name)

    def test_a_file_without_permission(self, tmp_path, monkeypatch):
        # Root, whom continuous integration often runs as, may read everything.
        def refuse(path, mode):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        (tmp_path / "a.png").write_bytes(LOSSLESS["png"])
        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(ImageError, match="unreadable: Permission denied"):
            read_content(tmp_path / "a.png")

    def test_a_file_over_the_limit_is_not_read(self, tmp_path):
        with (tmp_path / "big.png").open("wb") as file:
            file.truncate(decoding.MAX_BYTES + 1)  # sparse
        with pytest.raises(ImageError, match="too large: "):
            read_content(tmp_path / "big.png")

    @pytest.mark.parametrize(
        "data", [b"\0", b"GIF", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0", b"\xff" * 99]
    )
    def test_what_is_no_image(self, data):
        assert reason(data) == "not an image"

    @pytest.mark.parametrize("name", [n for n in LOSSY if n != "mpo"])
    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_half_a_lossy_file_is_never_filled_in(self, name, share):
        data = LOSSY[name]
        assert reason(data[: int(len(data) * share)]) in ("truncated", "corrupt", "not an image")

    @pytest.mark.parametrize("name", ["png", "bmp", "tiff", "tiff deflate", "webp"])
    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_half_a_lossless_file_is_never_filled_in(self, name, share):
        data = LOSSLESS[name]
        assert reason(data[: int(len(data) * share)]) in ("truncated", "corrupt", "not an image")

    def test_another_library_cannot_switch_filling_on(self, monkeypatch):
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        assert reason(LOSSY["jpeg"][:-200]) == "truncated"

    @pytest.mark.parametrize(
        ("width", "height"), [(9460, 9460), (2**15, 2**15), (2**31 - 1, 2**31 - 1), (65_501, 1)]
    )
    def test_a_bomb_is_refused_by_its_header_without_a_warning(self, width, height):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert reason(png(width, height, 8, 0, zlib.compress(b"\0" * 99))) == "too large"
        assert not seen

    @pytest.mark.parametrize("side", [9460, 2**15])
    def test_a_bomb_s_reason_names_the_documented_limits(self, side):
        with pytest.raises(ImageError, match=r"pixels, the limits are 89478485 .* 65500") as found:
            decode_rgb(png(side, side, 8, 0, zlib.compress(b"\0" * 99)))
        assert f"{side}x{side}" in str(found.value) or str(side * side) in str(found.value)

    def test_a_frame_larger_than_the_canvas_says(self):
        data = bytearray(LOSSY["gif"])
        at = data.index(b",\0\0\0\0", 13 + 3 * 256 - 1)
        data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
        assert reason(bytes(data)) in REASONS

    @pytest.mark.parametrize(
        "values",
        [
            np.array([[0, np.nan]], np.float32),
            np.array([[0, 1]], np.float32),
            np.array([[0, 255]], np.float32),
            np.array([[0, 70000]], np.float32),
            np.array([[0, 255]], np.int32),
            np.array([[0, 70000]], np.int32),
            np.array([[0, 255]], np.uint16),
        ],
    )
    def test_samples_without_a_known_range(self, values):
        """They would come out black, or clipped to white."""
        assert reason(encoded(Image.fromarray(values), "TIFF")) == "unsupported"

    def test_sixteen_bit_colour_that_holds_eight_bits_is_not_taken_for_black(self):
        rows = np.asarray(gradient()).astype(">u2")
        lines = b"".join(b"\0" + row.tobytes() for row in rows)
        assert reason(png(*SIZE, 16, 2, zlib.compress(lines))) == "unsupported"

    def test_a_colour_space_that_needs_a_profile(self):
        lab = ImageCms.applyTransform(
            gradient(),
            ImageCms.buildTransform(
                ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
            ),
        )
        data = encoded(lab, "TIFF")
        try:
            assert rgb(data).shape == (32, 48, 3)
        except ImageError as error:
            assert str(error).partition(":")[0] in REASONS

    def test_memory_and_recursion_are_the_image_s_own_failure(self, monkeypatch):
        for error, expected in ((MemoryError, "too large"), (RecursionError, "corrupt")):
            monkeypatch.setattr(Image, "open", lambda *a, e=error, **k: (_ for _ in ()).throw(e()))
            assert reason(LOSSLESS["png"]) == expected

    def test_messages_are_the_same_in_every_run(self):
        messages = set()
        for _ in range(2):
            with pytest.raises(ImageError) as caught:
                decode_rgb(b"no image" * 9)
            messages.add(str(caught.value))
        assert len(messages) == 1
        assert "0x" not in messages.pop()

    def test_a_bad_mask_says_that_it_is_the_mask(self):
        assert reason(LOSSLESS["png"], mask=b"none") == "mask not an image"
        assert reason(LOSSLESS["png"], mask=LOSSLESS["png"][:99]).startswith("mask ")


MARKED = np.zeros((SIZE[1], SIZE[0]), np.uint8)
MARKED[8:24, 10:30] = 1


def see_through_mask(colour):
    image = Image.new("RGBA", SIZE, colour)
    image.putalpha(Image.fromarray(MARKED * 255))
    return image


@pytest.mark.parametrize(
    ("kind", "tops"),
    [
        (np.uint8, [1, 2, 127, 255]),
        (np.uint16, [1, 255, 256, 65535]),
        (np.int32, [1, 255, 65535, 70000]),
        (np.float32, [1e-9, 1, 255, 1e30]),
    ],
)
def test_a_mask_marks_the_same_whatever_its_depth(kind, tops):
    """0 and 1, 0 and 255, 0 and 65535: the largest value is the mark."""
    for top in tops:
        assert np.array_equal(mask_of(Image.fromarray(MARKED * kind(top))), MARKED * 255)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MARKED * 255).convert("1"),
        Image.fromarray(MARKED * 255).convert("LA"),
        Image.fromarray(np.stack([MARKED * 0, MARKED * 0, MARKED], -1)),
        see_through_mask("black"),
        see_through_mask("white"),
    ],
    ids=["one bit", "opaque", "blue", "transparent black", "transparent white"],
)
def test_a_mask_marks_the_same_in_every_form(image):
    assert np.array_equal(mask_of(image), MARKED * 255)


def test_a_palettes_colours_mark_and_not_their_numbers():
    for colours in ([0, 0, 0, 0, 0, 128], [0, 0, 128, 0, 0, 0]):
        indexed = Image.fromarray(MARKED if colours[5] else 1 - MARKED)
        indexed.putpalette([*colours, *[0] * 762])
        assert np.array_equal(mask_of(indexed), MARKED * 255)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([np.uint8, np.uint16, np.int32]), st.data())
def test_a_masks_shades_keep_their_order_and_none_gets_lost(kind, data):
    most = min(np.iinfo(kind).max, 1 << 24)
    values = np.array(data.draw(st.lists(st.integers(0, most), min_size=2, max_size=6)), kind)
    found = mask_of(Image.fromarray(values[None]))[0].astype(int)
    assert np.array_equal(found > 0, values > 0)
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert found.max() == (255 if values.max() else 0)


def test_a_mask_of_what_is_no_number_is_refused():
    for values in ([[-1, 4]], [[0, np.nan]], [[0, np.inf]]):
        data = encoded(Image.fromarray(np.array(values, np.float32)), "TIFF")
        assert reason(LOSSLESS["png"], mask=data) == "mask unsupported"


def mask_of(image):
    container = "TIFF" if image.mode in ("I", "F") else "PNG"
    return np.asarray(decode_mask(encoded(image, container)))


class TestFormats:
    def test_avif_is_an_image_whatever_its_name(self, tmp_path):
        data = encoded(gradient(), "AVIF", quality=95)
        assert np.abs(rgb(data) - np.asarray(gradient())).mean() < 6
        (tmp_path / "photo.jpg").write_bytes(data)
        assert file_columns(tmp_path / "photo.jpg")["format"] == "avif"

    def test_heic_is_decoded_where_its_package_is_and_named_where_it_is_not(self, monkeypatch):
        data = b"\0\0\0\x18ftypheic" + b"\0" * 64
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(MissingDecoderError, match="pillow-heif"):
            decode_rgb(data)
        with pytest.raises(MissingDecoderError, match="mask unsupported"):
            decode_mask(data)

        def register():
            as_png = PngImagePlugin.PngImageFile
            Image.register_open("HEIF", lambda *_: as_png(io.BytesIO(LOSSLESS["png"])))

        known = dict(Image.OPEN)
        package = types.SimpleNamespace(register_heif_opener=register)
        monkeypatch.setitem(sys.modules, "pillow_heif", package)
        try:
            assert np.array_equal(rgb(data), np.asarray(gradient()))
        finally:
            Image.OPEN.clear()
            Image.OPEN.update(known)
            Image.ID.remove("HEIF")


ORIGINALS = [*LOSSLESS.values(), *LOSSY.values(), *GREYS.values()]


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(ORIGINALS), st.randoms(use_true_random=False), st.booleans())
def test_damaged_files_decode_or_raise_an_image_error(data, dice, cut):
    damaged = bytearray(data)
    # Headers are where decoders are most easily led astray.
    reach = dice.choice((64, len(damaged)))
    for _ in range(dice.randint(1, 8)):
        damaged[dice.randrange(min(reach, len(damaged)))] = dice.randrange(256)
    if cut:
        del damaged[dice.randrange(len(damaged)) :]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            assert decode_rgb(bytes(damaged)).mode == "RGB"
        except ImageError as error:
            assert str(error).partition(":")[0] in REASONS
    assert not seen


def test_threads_decode_without_warnings_or_mixing_results():
    dice = random.Random(0)
    files = [dice.choice(ORIGINALS) for _ in range(200)]
    expected = {data: rgb(data).sum() for data in ORIGINALS}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: rgb(data).sum(), files)) == [expected[d] for d in files]


class TestSettings:
    @pytest.mark.parametrize(
        "bad",
        [
            {"resize": 0},
            {"resize": 10**6},
            {"recode": "jpeg"},
            {"recode": "jpeg:0"},
            {"recode": "jpeg:101"},
            {"recode": "png:95"},
            {"recode": "jpeg:095"},
            {"crop": "face"},
            {"margin": -0.1},
            {"margin": float("nan")},
        ],
    )
    def test_a_value_of_another_form_is_refused(self, bad):
        with pytest.raises(InputError, match=str(next(iter(bad)))):
            ImageSettings(**bad)

    def test_the_record_holds_what_decides_a_value(self):
        assert ImageSettings(margin=0.5).to_json() == ImageSettings().to_json()
        assert ImageSettings().to_json() == {
            "version": 1,
            "resize": None,
            "recode": None,
            "crop": "none",
            "view_seed": 0,
        }
        assert ImageSettings(crop="boxes", margin=0.5).to_json()["margin"] == 0.5

    def test_resize_and_recode_leave_no_size_and_no_container(self):
        chosen = ImageSettings(resize=64, recode="jpeg:95")
        (small,) = prepared(LOSSLESS["png"], chosen)
        # A squash and a JPEG round trip, in this order, whatever came in.
        squashed = gradient().resize((64, 64), Image.Resampling.BICUBIC)
        again = Image.open(io.BytesIO(encoded(squashed, "JPEG", quality=95)))
        assert np.array_equal(small.pixels(64), np.asarray(again))
        assert np.array_equal(small.pixels(64), prepared(LOSSLESS["bmp"], chosen)[0].pixels(64))

    def test_webp_recoding_and_its_size_limit(self):
        plain = prepared(LOSSLESS["png"])[0].pixels(32).astype(int)
        coded = prepared(LOSSLESS["png"], ImageSettings(recode="webp:90"))[0].pixels(32)
        assert 0 < np.abs(coded - plain).mean() < 5
        wide = encoded(Image.new("RGB", (20_000, 2)), "PNG")
        with pytest.raises(ImageError, match="not encodable: 20000x2"):
            prepared(wide, ImageSettings(recode="webp:90"))

    @pytest.mark.parametrize(
        ("boxes", "margin", "expected"),
        [
            ("8 8 24 24", 0.0, (8, 8, 24, 24)),
            ("8 8 24 24", 0.5, (4, 4, 28, 28)),
            ("8.4 8.4 23.6 23.6", 0.0, (8, 8, 24, 24)),
            ("-10 -10 20 20", 0.0, (0, 0, 20, 20)),
            ("8 8 24 24", 10.0, (0, 0, 48, 32)),
        ],
    )
    def test_boxes_grow_by_the_margin_and_stay_inside(self, boxes, margin, expected):
        (image,) = prepared(
            LOSSLESS["png"], ImageSettings(crop="boxes", margin=margin), boxes=boxes
        )
        wanted = gradient().crop(expected).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.array_equal(image.pixels(16), np.asarray(wanted))

    @pytest.mark.parametrize(
        ("boxes", "expected"),
        [
            (None, "no box"),
            ("", "no box"),
            ("1 2 3", "no box"),
            ("5 5 5 9", "empty box"),
            ("9 9 5 5", "empty box"),
            ("100 100 120 120", "empty box"),
            ("-9 -9 -5 -5", "empty box"),
        ],
    )
    def test_a_row_without_a_usable_box_fails(self, boxes, expected):
        assert (
            reason(LOSSLESS["png"], settings=ImageSettings(crop="boxes"), boxes=boxes) == expected
        )

    def test_boxes_are_ignored_unless_asked_for(self):
        assert prepared(LOSSLESS["png"], boxes="9 9 5 5")


def test_pixels_are_made_once_and_cannot_be_changed():
    (image,) = prepared(LOSSLESS["png"])
    assert image.pixels(16) is image.pixels(16)
    with pytest.raises(ValueError, match="read-only"):
        image.pixels(16)[0] = 0
    assert np.array_equal(
        image.pixels(16), np.asarray(gradient().resize((16, 16), Image.Resampling.BICUBIC))
    )


def test_thumbnails_are_small_jpegs_of_the_plain_image():
    plain, view = prepared(encoded(gradient((400, 200)), "PNG"), views=(0, 3))
    with Image.open(io.BytesIO(plain.thumbnail())) as small:
        assert (small.format, small.size) == ("JPEG", (128, 64))
    assert view.thumbnail() == plain.thumbnail()
    with Image.open(io.BytesIO(prepared(LOSSLESS["png"])[0].thumbnail())) as small:
        assert small.size == SIZE  # never enlarged


def test_what_a_file_says_beside_its_pixels_goes_nowhere():
    said = encoded(gradient(), "JPEG", quality=95, comment=b"said in private" * 4000)
    (image,) = prepared(said, ImageSettings(recode="jpeg:95"))
    assert b"private" not in image.thumbnail()


MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK")


@settings(max_examples=150, deadline=None)
@given(
    mode=st.sampled_from(MODES),
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    chosen=st.builds(
        ImageSettings,
        resize=st.none() | st.integers(1, 64),
        recode=st.none() | st.sampled_from(["jpeg:1", "jpeg:95", "webp:80"]),
        crop=st.sampled_from(["none", "boxes"]),
        margin=st.floats(0, 2),
        view_seed=st.integers(0, 5),
    ),
    size=st.integers(1, 64),
    masked=st.booleans(),
)
def test_any_image_under_any_settings_becomes_square_bytes(
    mode, width, height, chosen, size, masked
):
    picture = gradient((width, height)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) << 8)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG")
    mask = encoded(Image.new("L", (height, width), 200), "PNG") if masked else None
    boxes = f"0 0 {max(1, width // 2)} {height}"
    for image in prepared(data, chosen, (0, 1, 2), boxes=boxes, mask=mask):
        pixels, marked = image.pixels(size), image.mask(size)
        assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
        assert (marked.shape, marked.dtype) == ((size, size), np.uint8)
        assert (marked == (255 if masked else 0)).all()
        assert image.thumbnail(16)
