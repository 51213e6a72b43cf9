"""Draw the sheet of samples: a row of photographs, and a row of each kind of fake."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from clare.pipeline.synthetic.camera import develop
from clare.pipeline.synthetic.faces import list_faces
from clare.pipeline.synthetic.fakes import KINDS, create_kind, draw_reals

COLUMNS = 16
SCALE = 2
MARGIN = 84


def main() -> None:
    """Write the sheet as a PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, help="folder that export.py wrote")
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    faces = list_faces(np.arange(COLUMNS), np.zeros(COLUMNS, int))
    rows = {"photograph": draw_reals(faces).files}
    for kind in KINDS:
        rows[kind] = create_kind(kind, options.models)(faces, 0).files
    strips = [np.concatenate(list(develop(files)), axis=1) for files in rows.values()]
    sheet = Image.fromarray(np.concatenate(strips))
    sheet = sheet.resize((sheet.width * SCALE, sheet.height * SCALE), Image.Resampling.NEAREST)
    page = Image.new("RGB", (sheet.width + MARGIN, sheet.height), "white")
    page.paste(sheet, (MARGIN, 0))
    draw = ImageDraw.Draw(page)
    for number, name in enumerate(rows):
        draw.text((6, int((number + 0.4) * sheet.height / len(rows))), name, fill="black")
    page.save(options.file, optimize=True)


if __name__ == "__main__":
    main()
