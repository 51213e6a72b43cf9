"""Prompts whose contexts the image shifts."""

from __future__ import annotations

from dataclasses import dataclass

from clare.errors import InputError
from clare.heads.base import TextTower
from clare.heads.classifiers._prompted import PromptClassifier
from clare.heads.text.prompts import PromptLearner, PromptSettings


@dataclass(frozen=True)
class CoCoOpSettings(PromptSettings):
    """Settings of `cocoop`.

    Args:
        n_ctx: number of context vectors, where no words are given.
        ctx_init: words whose token embeddings the contexts start from; random if empty.
        position: where the class name stands: before, amid or after the contexts.
        hidden: width inside the network that shifts the contexts; None means D // 16.
    """

    hidden: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden is not None and self.hidden < 1:
            raise InputError(f"cocoop's setting hidden can't be {self.hidden}: 1 or more")


class CoCoOp(PromptClassifier):
    """Zhou et al., "Conditional Prompt Learning for Vision-Language Models", two classes.

    A network of two layers takes the image vector, of unit length, to one shift for all contexts.
    CLaRE does the same on its fused vector.
    """

    Settings = CoCoOpSettings

    def __init__(self, settings: CoCoOpSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        hidden = settings.hidden or max(1, width // 16)
        self.prompts = PromptLearner(self.text, settings, meta=(width, hidden))
