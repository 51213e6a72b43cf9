import errno
import io
import os
import random
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

from clare.errors import ImageError
from clare.pipeline.images import decode as decoding
from clare.pipeline.images.decode import (
    REASONS,
    MissingDecoderError,
    decode_mask,
    decode_rgb,
    read_content,
)
from clare.pipeline.manifests.headers import file_columns
from tests.pipeline.images.pictures import (
    GREY,
    GREYS,
    LOSSLESS,
    LOSSY,
    PNG16,
    SIZE,
    encoded,
    gradient,
    png,
    reason,
    rgb,
    see_through,
)


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


@settings(max_examples=300, deadline=None)
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
