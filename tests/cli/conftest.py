"""What the commands are tried on."""

import pytest
from cli.running import TEXT, WITHOUT_SPECIAL

import fastllm


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, and a tokenizer with one special token."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_bytes(TEXT.encode())
    (folder / "plain.txt").write_bytes(WITHOUT_SPECIAL.encode())
    tokenizer = fastllm.BPETokenizer.train(TEXT, 280, special_tokens=["<|endoftext|>"])
    tokenizer.save(folder / "tok.json")
    return folder


@pytest.fixture(scope="module")
def tok(folder):
    return fastllm.BPETokenizer.from_file(folder / "tok.json")
