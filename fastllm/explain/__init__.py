"""See it: every step from text to context vectors, as data, as text, in a notebook, on a page.

Each function here follows one thing that this library does, with the reference backend, and returns
a trace: a dataclass that holds every number in between. A trace has three formats. ``print`` it,
let a notebook show it, or write it to one HTML file with ``to_html(path)``; some can ``plot()`` as
well (extra ``explain``).

==================  ==============================================================================
`tokenization`      what words, characters and byte pairs make of a text, and what decoding loses
`bpe`               the merges of bytes, or of characters, that make the tokens of a word
`word_piece`        the longest matches that make the tokens of a word
`unigram`           all ways to cut a word, as a lattice, and the best of them
`training`          the rounds in which a vocabulary is learned, and where a tie rule decided
`pattern`           the automaton of a split pattern, and its look-ups on a text
`attention`         scores, softmax, weights, context: the arithmetic of each cell
`heads`             a heat map, and who looks at whom, for any attention weights
`agreement`         reference against fast on this machine
`journey`           all of it for one sentence; what ``fastllm explain`` shows
==================  ==============================================================================

There is a guide at the head of each module, for readers with Python and school algebra:
`fastllm.explain.strategies` on the three ways to cut a text, `fastllm.explain.pattern_steps` on
automata that split it, `fastllm.explain.merging` on putting merges to work,
`fastllm.explain.character_merging` on merging characters,
`fastllm.explain.longest_matches` on WordPiece, `fastllm.explain.lattice` on Unigram,
`fastllm.explain.training_steps` on training and ties,
`fastllm.explain.attention_steps` on attention by hand, `fastllm.explain.speed` on how the fast
versions differ and why their results may not. ``help(fastllm.explain.attention_steps)`` shows one.

>>> from fastllm import explain
>>> explain.journey().attention.weights[0, 1].round(4).tolist()
[0.1385, 0.2379, 0.2333, 0.124, 0.1082, 0.1581]
"""

import fastllm.explain.views  # noqa: F401 (each view registers itself with `render`)
from fastllm.explain import sample_text as story
from fastllm.explain.attention_heads import Heads, heads
from fastllm.explain.attention_steps import Attention, attention
from fastllm.explain.lattice import Lattice, unigram
from fastllm.explain.longest_matches import LongestMatches, word_piece
from fastllm.explain.merging import Merging, bpe
from fastllm.explain.pattern_steps import Matching, pattern
from fastllm.explain.sentence import Journey, journey
from fastllm.explain.speed import Agreement, agreement
from fastllm.explain.strategies import Tokenization, tokenization
from fastllm.explain.training_steps import Training, training

__all__ = [
    "Agreement",
    "Attention",
    "Heads",
    "Journey",
    "Lattice",
    "LongestMatches",
    "Matching",
    "Merging",
    "Tokenization",
    "Training",
    "agreement",
    "attention",
    "bpe",
    "heads",
    "journey",
    "pattern",
    "story",
    "tokenization",
    "training",
    "unigram",
    "word_piece",
]
