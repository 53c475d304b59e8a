"""Words, characters and byte pairs of a whole novel, so that tokens look like those of a model.

The novel is Jane Austen's "Persuasion" of 1818, half a megabyte. ``persuasion/README.md`` says
where its text is from.
"""

import gzip
from functools import cache
from pathlib import Path

from fastllm.explain.sample_text import STORY
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.char import CharTokenizer
from fastllm.tokenizers.string_tokenizer import UNKNOWN
from fastllm.tokenizers.word import WordTokenizer

FOLDER = Path(__file__).with_name("persuasion")
TITLE = "Jane Austen's “Persuasion”"
VOCAB_SIZE = 4096


def training_texts() -> list[str]:
    """What the vocabularies are learned from: the novel, and the few lines of `sample_text`.

    Without those, the words of the worked example would be several tokens each.

    >>> [len(text) for text in training_texts()]
    [530, 466854]
    """
    return [STORY, gzip.decompress((FOLDER / "persuasion.txt.gz").read_bytes()).decode()]


@cache
def novel_bpe() -> BPETokenizer:
    """Byte pairs alone. They were learned once: the reference would take minutes.

    >>> novel_bpe().decode_tokens_bytes(novel_bpe().encode("a sentimental journey"))
    [b'a', b' sentiment', b'al', b' journey']
    """
    return BPETokenizer.from_file(FOLDER / "persuasion.model")


@cache
def novel_tokenizers() -> dict[str, WordTokenizer | CharTokenizer | BPETokenizer]:
    """Words, characters and byte pairs, each with the vocabulary that the novel gives it."""
    texts = training_texts()
    return {
        "words": WordTokenizer.train(texts),
        "characters": CharTokenizer.train(texts, special_tokens=[UNKNOWN]),
        "byte pairs": novel_bpe(),
    }
