"""Views by the usual deliveries."""

from __future__ import annotations

from clare.augmentation.delivery_recipe import DeliveryRecipe


class Compact(DeliveryRecipe):
    """One of the deliveries `compact`: a compression, a blur, a loss of size, noise, a platform."""

    SET = "compact"
