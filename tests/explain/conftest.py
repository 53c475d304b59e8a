"""Vocabularies that the traces show."""

import pytest
from explain.inputs import TEXT
from vocabularies import gpt2_folder

from fastllm import BPETokenizer


@pytest.fixture(scope="session")
def gpt2():
    return BPETokenizer.from_file(gpt2_folder() / "vocab.bpe")


@pytest.fixture(scope="session")
def trained():
    return BPETokenizer.train(TEXT, 296)
