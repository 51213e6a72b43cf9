"""Tokenizers are had without the towers beside them."""

import subprocess
import sys

import open_clip

from clare.models.tokenizers import open_clip_tokenizers

TEXTS = ["a real face", "", "A synthetic, AI-generated face: 100 % fake!"]


def test_ids_are_open_clip_s():
    own = open_clip_tokenizers().SimpleTokenizer()
    assert own(TEXTS).equal(open_clip.tokenizer.SimpleTokenizer()(TEXTS))


def test_open_clip_itself_is_not_imported():
    code = (
        "import sys\n"
        "from clare.models.tokenizers import open_clip_tokenizers\n"
        "assert open_clip_tokenizers().SimpleTokenizer()(['a face']).shape == (1, 77)\n"
        "assert not {'open_clip', 'transformers', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
