"""The tokenizers of open_clip, without its towers."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


@cache
def open_clip_tokenizers() -> Any:
    """open_clip's module ``tokenizer``, by itself: importing the package takes seconds.

    The module needs nothing else of the package.
    """
    package = find_spec("open_clip")
    assert package is not None and package.origin is not None
    file = Path(package.origin).with_name("tokenizer.py")
    spec = spec_from_file_location("clare_open_clip_tokenizer", file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
