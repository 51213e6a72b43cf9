"""Write the tokenizer of the miniature's text encoder: bytes, and the words of the captions."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from clare.models.tiny import write_byte_tokenizer

FURTHER_WORDS = ("real", "fake", "true", "generated", "image", "photograph", "picture", "camera")
"""Not in the captions, but in the prompts that people try."""

LENGTH = 40
"""Positions of a prompt, with the start and the end."""

MOST_WORDS = 1000


def main() -> None:
    """Write the folder tokenizer/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="scratch folder with captions.json")
    options = parser.parse_args()
    folder = options.folder / "tokenizer"
    write_byte_tokenizer(folder)
    captions = json.loads((options.folder / "captions.json").read_text(encoding="utf-8"))
    words = Counter(word for caption in captions for word in re.findall(r"[a-z]+", caption))
    words.update(FURTHER_WORDS)
    merges = _merge(words)
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    signs = list(vocabulary)[:-2] + ["".join(pair) for pair in merges]
    tokens = [*signs, "<|startoftext|>", "<|endoftext|>"]  # the end has the highest number
    if len(tokens) > MOST_WORDS:
        raise SystemExit(f"{len(tokens)} tokens are more than {MOST_WORDS}")
    numbers = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(numbers, indent=0) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["model_max_length"] = LENGTH
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    print(f"{len(tokens)} tokens, {len(words)} words")


def _merge(words: Counter[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent first, until every word is one token."""
    split = {word: [*word[:-1], f"{word[-1]}</w>"] for word in sorted(words)}
    merges = []
    while any(len(parts) > 1 for parts in split.values()):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        best = max(sorted(pairs), key=lambda pair: pairs[pair])
        merges.append(best)
        for word, parts in split.items():
            split[word] = _joined(parts, best)
    return merges


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return found


if __name__ == "__main__":
    main()
