"""Steps that do not leave all parts as they are, in segments and where a text is cut in two."""

import itertools
import random
from collections import Counter

import pytest
from texts import TRAPS, mixed_texts

from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.patterns.named import SplitPattern
from fastllm.patterns.steps import BEHAVIORS, Step

TEXTS = [
    text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for text in [
        *TRAPS.values(),
        *mixed_texts(300, seed=61),
        *mixed_texts(10, seed=62, longest=400),
    ]
]


def test_long_texts_are_cut_in_segments_as_they_are_whole():
    text = "\n".join(random.Random(64).choices(TEXTS, k=32_000))
    assert len(text.encode()) > 1 << 20
    for step in (Step(r"\p{L}+", "removed"), Step(r"\S", "merged_with_next", True)):
        pattern = SplitPattern((step, r"[^\n]+|\n"))
        words = Counter(_kernels.split_text(text, pattern))
        assert dict(fast.count_words([text], pattern)) == {w.encode(): n for w, n in words.items()}


@pytest.mark.parametrize("invert", [False, True])
def test_texts_may_be_cut_where_the_tables_say(invert):
    text = "\n".join(TEXTS[::5])
    for behavior, expression in itertools.product(BEHAVIORS, (r"\p{L}+", r"\s", "[^\n]+")):
        pattern = SplitPattern((Step(expression, behavior, invert), r"[^\n]+|\n"))
        encoded, cut = text.encode(), 0
        whole = fast.split(text, pattern)
        for _ in range(20):
            cut = _kernels.next_cut(encoded, pattern, cut + 31)
            if cut < len(encoded):
                before, after = encoded[:cut].decode(), encoded[cut:].decode()
                assert fast.split(before, pattern) + fast.split(after, pattern) == whole
