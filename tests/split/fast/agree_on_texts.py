"""Long texts through every form of every named pattern until one differs: a program, not a test.

    PYTHONPATH=tests:. python tests/split/fast/agree_on_texts.py --megabytes 100 [FILE ...]

The texts are those files, or what `bench.corpora` finds on the machine, a third of each kind. Of
all of it, the starts of pre-tokens by masks and by the automaton must be the same at every
instruction-set level. Of --slow megabytes of each text, pre-tokens must be those of the reference
and of Hugging Face tokenizers, given the same steps, and the ids those of tiktoken, where a
pattern is an expression that it takes. The first difference ends the run with the pattern, the
forms, and the place.

100 MB take some five minutes on one core, and a megabyte of each text for the slow ones fifteen.
"""

import argparse
import itertools
import sys
import time
from collections import Counter
from pathlib import Path

import tiktoken
from split.fast.fuzz_split import LEVELS, step_of_tokenizers
from tokenizers.pre_tokenizers import Sequence
from vocabularies import published_ranks

from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.patterns.coverage import matches_all_text
from fastllm.patterns.named import NAMED, SplitPattern
from fastllm.reference import tokenization as reference

RANKS = published_ranks("cl100k_base")


def texts_of(files, size):
    """The texts by name, `size` bytes in all."""
    if files:
        return {path.name: path.read_text("utf-8")[: size // len(files)] for path in files}
    from bench import corpora

    return {name: corpora.corpus(name, size // len(corpora.NAMES)) for name in corpora.NAMES}


def by_levels(pattern, text):
    """A bit for each byte at which a pre-token starts: masks, and the automaton, at each level."""
    data = text.encode()
    for level in LEVELS:
        yield level, _kernels.pretoken_starts(data, pattern, level)
    if pattern.scanner is not None:
        yield "automaton", _kernels.pretoken_starts(data, pattern, "automaton")


def by_rivals(pattern, text):
    """Pre-tokens by the engines of others, as they are or as ids."""
    rival = Sequence(list(map(step_of_tokenizers, pattern.steps)))
    yield "fastllm", fast.split(text, pattern)
    yield "the reference", reference.split(text, pattern)
    yield "tokenizers", [pretoken for pretoken, _ in rival.pre_tokenize_str(text)]


def by_tiktoken(pattern, text):
    """Ids of one-step patterns that match all text, by tiktoken and by us."""
    settings = {"pat_str": pattern.expression, "mergeable_ranks": RANKS, "special_tokens": {}}
    rival = tiktoken.Encoding("own", **settings)
    yield "fastllm", fast.encode(text, RANKS, pattern=pattern)
    yield "tiktoken", rival.encode_ordinary(text)


def first_difference(found):
    """The names of the first two that differ, and where; None if none do."""
    name, expected = next(found)
    for other, result in found:
        if result != expected:
            pairs = enumerate(itertools.zip_longest(expected, result))
            return name, other, next(place for place, (a, b) in pairs if a != b)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--slow", type=float, default=0.1, help="megabytes of each for the slow")
    parser.add_argument("--patterns", default=",".join(NAMED))
    given = parser.parse_args()
    texts = texts_of(given.files, int(given.megabytes * 1e6))
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    for name in given.patterns.split(","):
        pattern = SplitPattern(NAMED[name].steps)
        ways = [(by_levels, None), (by_rivals, int(given.slow * 1e6))]
        if pattern.expression and matches_all_text(pattern.expression):
            ways.append((by_tiktoken, int(given.slow * 1e6)))
        for way, size in ways:
            for what, text in texts.items():
                part = text[:size]
                counts[f"bytes {way.__name__.replace('_', ' ')}"] += len(part.encode())
                if difference := first_difference(way(pattern, part)):
                    one, other, place = difference
                    print(f"{name}, {what}: {one} and {other} differ at {place}")
                    return 1
    for what, count in counts.items():
        print(f"{count:16,}  {what}")
    sizes = ", ".join(f"{len(text.encode()):,} {what}" for what, text in texts.items())
    print(f"{time.monotonic() - begin:16.0f}  seconds; bytes of texts: {sizes}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
