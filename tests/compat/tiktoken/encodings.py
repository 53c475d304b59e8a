"""Encodings of `fastllm.compat.tiktoken` and of tiktoken, of the same settings."""

import random

import numpy as np
import tiktoken as theirs
from texts import TRAPS, mixed_texts
from vocabularies import published_ranks

import fastllm
from fastllm.compat import tiktoken as ours
from fastllm.compat.tiktoken.constructors import PATTERNS

FAST = fastllm.backends()["bpe"] == "fast"
END = {"<|endoftext|>": 300, "<|a|>": 301, "<|b|>": 302, "<é>": 303}
SMALL_TOKENS = [b"ab", b"abc", b"  ", b"\n\n", b" \n", b"\xc3\xa9", b"a\xc3", b" a", b"xyz", b"bc"]
SMALL = {bytes([byte]): byte for byte in range(256)} | {
    token: rank for rank, token in enumerate(SMALL_TOKENS, 256)
}


def settings_of(name):
    """The arguments of an encoding."""
    if name == "small":
        return {"pat_str": PATTERNS["cl100k"], "mergeable_ranks": SMALL, "special_tokens": END}
    if name == "gaps":
        return {"pat_str": r"\p{L}+|\d|\n+", "mergeable_ranks": SMALL, "special_tokens": END}
    specials = {
        "cl100k": {"<|endoftext|>": 100257, "<|fim_prefix|>": 100258, "<|fim_middle|>": 100259},
        "o200k": {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    }
    return {
        "pat_str": PATTERNS[name],
        "mergeable_ranks": published_ranks(f"{name}_base"),
        "special_tokens": specials[name],
    }


OURS = ours.Encoding("small", **settings_of("small"))
THEIRS = theirs.Encoding("small", **settings_of("small"))


def outcome(call):
    """What a call returns, or the type of what it raises."""
    try:
        result = call()
    except Exception as error:
        return type(error)
    return result.tolist() if isinstance(result, np.ndarray) else result


def texts_with_specials(encoding, count=150):
    rng = random.Random(1)
    specials = sorted(encoding._special_tokens)
    plain = [*TRAPS.values(), *mixed_texts(count, seed=3)]
    return plain + [
        "".join(rng.choice([rng.choice(plain), rng.choice(specials)]) for _ in range(6))
        for _ in range(count)
    ]
