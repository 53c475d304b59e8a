"""A few lines to follow training on, the vocabularies they give, and vectors for any token."""

import hashlib
from functools import cache

from fastllm.explain.training_steps import training
from fastllm.explain.worked_example import INPUTS, WORDS
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.char import CharTokenizer
from fastllm.tokenizers.string_tokenizer import UNKNOWN
from fastllm.tokenizers.word import WordTokenizer

SENTENCE = " ".join(WORDS)

# Short enough to count by hand, and after 28 merges each word of SENTENCE is one token.
STORY = """\
Your journey starts with one step. One step is short, and short steps are easy steps.
Your second step starts with the first one, and your third step starts with the second.
Every long journey is made of short steps. No step is lost: each one starts another journey.
Your friend starts another journey with you. You walk with her, she walks with you.
Whoever walks with a friend walks further. The journey starts with one, and goes on with two.
Your journey is yours alone. It starts with one step, it goes on with one step more.
"""
VOCAB_SIZE = 288


@cache
def story_tokenizers() -> dict[str, WordTokenizer | CharTokenizer | BPETokenizer]:
    """Words, characters and byte pairs, each with the vocabulary that `STORY` gives it."""
    return {
        "words": WordTokenizer.train(STORY),
        "characters": CharTokenizer.train(STORY, special_tokens=[UNKNOWN]),
        "byte pairs": story_bpe(),
    }


@cache
def story_bpe() -> BPETokenizer:
    """Byte pairs alone, as the reference learns them."""
    return training(STORY, VOCAB_SIZE).tokenizer()


def vector(token: bytes) -> tuple[float, ...]:
    """Three numbers with two decimals for a token, the same wherever it stands.

    The words of `SENTENCE` have those of the worked example; any other token gets numbers from a
    hash of its bytes. They say nothing of what a token means: a model learns that.

    >>> vector(b" journey"), vector(b" path")
    ((0.55, 0.87, 0.66), (0.55, 0.26, 0.4))
    """
    word = token.strip().decode(errors="replace")
    if word in WORDS:
        return INPUTS[WORDS.index(word)]
    return tuple((5 + byte % 91) / 100 for byte in hashlib.sha256(token).digest()[:3])
