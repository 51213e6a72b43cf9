"""How images are prepared before any extractor looks at them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from clare.advice import LeaveOut
from clare.augmentation import USUAL, recipes
from clare.errors import InputError
from clare.plugins import resolve_part

if TYPE_CHECKING:
    from clare.augmentation.recipe import ViewRecipe

VERSION = 1
"""Raised by hand when the same settings give other pixels."""
MAX_RESIZE = 8192

Crop = Literal["none", "boxes", "centre"]
Align = Literal["none", "deepfakebench", "arcface"]

DLIB = "dlib"
"""The detector whose five points are those that DeepfakeBench's own code picks."""


@dataclass(frozen=True)
class ImageSettings:
    """How every image is prepared, before any extractor looks at it.

    Args:
        resize: squash each image to a square of this side in pixels, so that image size no longer
            tells the label. None leaves the size.
        recode: encode each image again in memory, as jpeg:95 or webp:90, so that the file format no
            longer tells the label. Quality is 1 to 100; None leaves the pixels.
        crop: boxes cuts out the manifest's face boxes; centre the largest square in the middle, as
            CLIP's own preparation has it; none leaves images whole.
        crop_side: side of the square that centre cuts out, in pixels, black where the image is
            smaller: 224 is UnivFD's test. None means the image's shorter side.
        margin: share of a face box's sides that is added to it, half on either side.
        align: bring each face's five points onto a template, that of deepfakebench or of arcface,
            in a square; none leaves images as they are.
        align_side: side of that square, in pixels.
        view_seed: seed of the augmented views.
        view_recipe: how they are augmented: clare, or as published by gend, yermandy, univfd,
            declip (declip_blur, declip_jitter, declip_jpeg) or lare2; or deliveries, by compact;
            pair_mix mixes fakes of pairs with their own reals; or a Python file with a
            `clare.augmentation.recipe.ViewRecipe`.

    Raises:
        InputError: a value is out of range or of another form.
    """

    resize: int | None = None
    recode: str | None = None
    crop: Crop = "none"
    crop_side: int | None = None
    margin: float = 0.3
    align: Align = "none"
    align_side: int = 256
    view_seed: int = 0
    view_recipe: str = USUAL

    def __post_init__(self) -> None:
        if self.resize is not None and not 1 <= self.resize <= MAX_RESIZE:
            raise InputError(f"resize {self.resize} is not between 1 and {MAX_RESIZE} pixels")
        self.recoding()
        if self.crop not in get_args(Crop):
            raise InputError(f"crop {self.crop!r} is not one of {', '.join(get_args(Crop))}")
        if self.crop_side is not None and not 1 <= self.crop_side <= MAX_RESIZE:
            raise InputError(f"crop_side {self.crop_side} is not between 1 and {MAX_RESIZE} pixels")
        if not 0 <= self.margin <= 10:
            raise InputError(f"margin {self.margin} is not between 0 and 10 times the box")
        if self.align not in get_args(Align):
            raise InputError(f"align {self.align!r} is not one of {', '.join(get_args(Align))}")
        if not 1 <= self.align_side <= MAX_RESIZE:
            what = f"align_side {self.align_side} is not between 1 and {MAX_RESIZE} pixels"
            raise InputError(what)
        if self.align != "none" and self.crop == "boxes":
            raise InputError("an aligned face has no box left", LeaveOut("crop"), LeaveOut("align"))
        object.__setattr__(self, "view_recipe", resolve_part(recipes, self.view_recipe))

    @cached_property
    def recipe(self) -> ViewRecipe:
        """The recipe of its views.

        Raises:
            InputError: it is a file that the user never named.
        """
        from clare.augmentation.recipe import find_recipe

        return find_recipe(self.view_recipe)

    def recoding(self) -> tuple[str, int] | None:
        """Container and quality of ``recode``; None where nothing is encoded again.

        Raises:
            InputError: ``recode`` has another form.
        """
        if self.recode is None:
            return None
        match = re.fullmatch(r"(jpeg|webp):([1-9][0-9]?|100)", self.recode)
        if match is None:
            raise InputError(
                f"recode {self.recode!r} is not jpeg:Q or webp:Q with a quality Q from 1 to 100"
            )
        return match[1].upper(), int(match[2])

    def to_json(self) -> dict[str, Any]:
        """The settings that decide a value, with the version of the preparation."""
        cuts: dict[str, dict[str, Any]] = {
            "boxes": {"margin": self.margin},
            "centre": {"crop_side": self.crop_side},
        }
        recipe = {"view_recipe": self.view_recipe, "view_recipe_version": self.recipe.VERSION}
        if self.recipe.definition:
            recipe["view_recipe_definition"] = self.recipe.definition
        aligned = {"align": self.align, "align_side": self.align_side}
        return {
            "version": VERSION,
            "resize": self.resize,
            "recode": self.recode,
            "crop": self.crop,
            **cuts.get(self.crop, {}),
            **(aligned if self.align != "none" else {}),
            "view_seed": self.view_seed,
            **(recipe if self.view_recipe != USUAL else {}),
        }
