"""The one door to files: whatever tokenizer a file holds."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastllm.formats import files
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.pieces import CharacterBPETokenizer, UnigramTokenizer
from fastllm.tokenizers.sentencepiece import SentencePieceTokenizer
from fastllm.tokenizers.word_level import WordLevelTokenizer
from fastllm.tokenizers.word_piece import WordPieceTokenizer

CLASSES: dict[str, Any] = {
    "BPE": BPETokenizer,
    "CharacterBPE": CharacterBPETokenizer,
    "SentencePiece": SentencePieceTokenizer,
    "Unigram": UnigramTokenizer,
    "WordLevel": WordLevelTokenizer,
    "WordPiece": WordPieceTokenizer,
}


def load_tokenizer(path: str | os.PathLike[str], **options: Any) -> SubwordTokenizer:
    """Read the tokenizer of a file, or of the files in a folder, whatever its kind.

    Parameters
    ----------
    path : path
        Hugging Face's tokenizer.json (BPE of bytes or characters, Unigram, WordPiece, WordLevel),
        BERT's vocab.txt, a SentencePiece .model, tiktoken ranks, tekken.json, a minbpe model,
        GPT-2's vocab.json or merges.txt, or a folder with such files.
    **options
        As for `BPETokenizer.from_file`: a file of ranks needs ``pattern=``.

    Returns
    -------
    BPETokenizer, CharacterBPETokenizer, SentencePieceTokenizer, UnigramTokenizer,
    WordLevelTokenizer or WordPieceTokenizer

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If a file is of no known format, wrong, or asks for what is not supported; for options with
        a file that is not of byte-pair encoding.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "vocab.txt")
    ...     _ = path.write_text("[UNK]\\nhel\\n##lo\\n")
    ...     load_tokenizer(path).encode("Hello")
    [1, 2]
    """
    with files.reading_once(), _collector_paused():
        return _load(path, options)


def _load(path: str | os.PathLike[str], options: dict[str, Any]) -> SubwordTokenizer:
    model = files.model_of(path)
    if options and model != "BPE":
        raise ValueError(
            f"{os.fspath(path)}: a {model} tokenizer says itself what {', '.join(options)} is"
        )
    tokenizer: SubwordTokenizer = CLASSES[model].from_file(path, **options)
    return tokenizer


@contextmanager
def _collector_paused() -> Iterator[None]:
    """The garbage collector would go through the many merges of a file again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
