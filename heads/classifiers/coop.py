"""Prompts with learned contexts, the same for every image."""

from __future__ import annotations

from dataclasses import dataclass

from clare.heads.base import TextTower
from clare.heads.classifiers._prompted import PromptClassifier
from clare.heads.text.prompts import PromptLearner, PromptSettings


@dataclass(frozen=True)
class CoOpSettings(PromptSettings):
    """Settings of `coop`.

    Args:
        n_ctx: number of context vectors, where no words are given.
        ctx_init: words whose token embeddings the contexts start from; random if empty.
        position: where the class name stands: before, amid or after the contexts.
        class_specific: whether each class has contexts of its own.
    """

    class_specific: bool = False


class CoOp(PromptClassifier):
    """Zhou et al., "Learning to Prompt for Vision-Language Models", two classes."""

    Settings = CoOpSettings

    def __init__(self, settings: CoOpSettings, width: int, text: TextTower | None) -> None:
        super().__init__(settings, width, text)
        self.prompts = PromptLearner(self.text, settings, settings.class_specific)
