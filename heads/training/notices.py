"""What a configuration does that its user may not expect: said before training, or refused."""

from __future__ import annotations

from clare.errors import InputError
from clare.heads.config import TrainConfig
from clare.heads.detector import Detector
from clare.heads.roles import DEFAULT_FIELDS


def notice(detector: Detector, config: TrainConfig) -> list[str]:
    """Sentences for the user.

    Raises:
        InputError: parts and losses contradict each other.
    """
    fitted = detector.classifier.is_fitted
    learning = {} if fitted else detector.parameters_to_train(config.scope)
    if config.slerp and not detector.classifier.normalizes:
        raise InputError(
            f"slerp trains on directions alone, and {config.classifier} would be tested on lengths "
            f"too: bring vectors to unit length (--set {config.classifier}.normalize=true), take "
            "another --classifier, or leave slerp out"
        )
    notes = [
        f"{config.fields[role]} is read as {role}, in place of {DEFAULT_FIELDS[role]}"
        for role in detector.fusion.roles
        if config.fields.get(role, DEFAULT_FIELDS[role]) != DEFAULT_FIELDS[role]
    ]
    losses = [name for name in ("alignment", "uniformity") if getattr(config, name)]
    if losses and not any(name.startswith("fusion.") for name in learning):
        notes.append(
            f"{' and '.join(losses)} change nothing here: vectors of {config.fusion} don't learn"
        )
    if fitted and config.init_from is None and any(True for _ in detector.fusion.parameters()):
        notes.append(
            f"{config.classifier} learns nothing, and {config.fusion} keeps its random start; "
            "--init-from RUN takes over one that was trained"
        )
    return notes
