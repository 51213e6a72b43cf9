"""What CLIPping the Deception's four kinds of checkpoint share.

Khan and Dang-Nguyen, "CLIPping the Deception: Adapting Vision-Language Models for Universal
Deepfake Detection" (ICMR 2024); facts of sfimediafutures/CLIPping-the-Deception at 3e8a63e.
"""

from __future__ import annotations

from clare.heads.published import About


def about(kind: str, file: str, run: str, accuracy: float, precision: float, needs: str) -> About:
    """Where a checkpoint comes from.

    Args:
        kind: how CLIP was adapted.
        file: the checkpoint's place in the archive of weights.
        run: the training that the figures are of.
        accuracy: in percent, the mean over the 25 sets of the repository's own results.
        precision: the average precision, likewise.
        needs: what it reads, in words.
    """
    return About(
        title=f"CLIPping the Deception, {kind} (Khan, Dang-Nguyen, ICMR 2024)",
        url="https://github.com/sfimediafutures/CLIPping-the-Deception",
        weights=f"{file} in its weights.zip (Google Drive)",
        licence="MIT",
        trained_on="ProGAN and LSUN (20 classes)",
        figure=f"of {run}: accuracy {accuracy} %, AP {precision} % (means of 25 sets in its own "
        "JSON files)",
        needs=needs,
    )
