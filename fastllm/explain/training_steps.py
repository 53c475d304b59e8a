r"""Training and ties: how a byte-pair vocabulary is learned, round by round.

Begin with every byte as a token. Count how often each pair of neighbours stands in the texts, join
the most frequent pair everywhere, and give what comes of it the next id. Again, until the
vocabulary is as large as it should be. On "aaabdaaabac" the first two rounds are

>>> from fastllm import explain
>>> print(explain.training("aaabdaaabac", 258))
training: 2 rounds, ties go to the lowest ids
  round  merge  count   id  tokens  decided by             leading pairs
      0                         11
      1  a + a      4  256       9  the count              a a 4, a b 2, a c 1, b a 1, b d 1
      2  a + b      2  257       7  the tie rule, among 2  a b 2, aa a 2, a c 1, b a 1, b d 1

The first count is 4, though no more than two pairs can be joined: "aaa" holds (a, a) twice, at its
first and at its second letter. Both are counted, the left one is joined, and then there is no
second. Programs that count otherwise learn other vocabularies.

**Ties decide.** In round 2 two pairs stand twice, and a rule has to choose. There is no right one,
but there is a price for mixing them up: ids that mean something else. Three are in use:

``lowest-ids``
    the pair whose left id is the lowest, then the right one: (a, b), which is (97, 98), goes before
    (aa, a), which is (256, 97);
``first-seen``
    the pair that stands first in the text as it is by then: "aa a b ..." begins with (aa, a);
``huggingface``
    the lowest ids again, with the bytes numbered in another order.

>>> def learned(tie_break):
...     found = explain.training("aaabdaaabac", 259, tie_break=tie_break)
...     return found.merges, found.tokenizer().encode("aaabdaaabac")
>>> learned("first-seen")
([(b'a', b'a'), (b'aa', b'a'), (b'aaa', b'b')], [258, 100, 258, 97, 99])
>>> learned("lowest-ids")
([(b'a', b'a'), (b'a', b'b'), (b'aa', b'ab')], [258, 100, 258, 97, 99])

Here the ids happen to be the same; what 257 stands for is not. On real text ties are everywhere,
since thousands of pairs stand equally often.

**When to stop.** Each round makes the text shorter by as many tokens as pairs were joined, and the
rounds bring less and less:

>>> story = explain.training(explain.story.STORY, explain.story.VOCAB_SIZE)
>>> [story.rounds[i].winner.count for i in (0, 10, 20, 30)]
[23, 10, 6, 4]
>>> story.start_tokens, story.rounds[-1].tokens
(530, 251)
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fastllm.checks import tokenization as arguments
from fastllm.corpus.byte_order import byte_order
from fastllm.explain import figures
from fastllm.explain.formatting import counted, readable
from fastllm.explain.text import Cell, Line, TextBuilder
from fastllm.explain.trace import Trace
from fastllm.patterns.named import SplitPattern
from fastllm.reference import bpe, tokenization
from fastllm.tokenizers.bpe import BPETokenizer

LEADING = 5
TIE_RULES = {
    "lowest-ids": "the lowest ids",
    "huggingface": "the lowest ids, bytes in Hugging Face's order",
    "first-seen": "the pair seen first",
}


@dataclass(frozen=True)
class PairCount:
    """A pair of neighbours, with its ids, and how often it stands in the texts."""

    left: bytes
    right: bytes
    count: int
    ids: tuple[int, int]


@dataclass(frozen=True)
class Round:
    """One round of training.

    Attributes
    ----------
    leading : tuple of PairCount
        The most frequent pairs, no more than `LEADING`, in the order in which they would win.
    tied : int
        How many pairs had the highest count.
    pairs : int
        How many different pairs there were.
    id : int
        The id of the token that came of it.
    tokens : int
        How many tokens the texts have afterwards.
    """

    leading: tuple[PairCount, ...]
    tied: int
    pairs: int
    id: int
    tokens: int

    @property
    def winner(self) -> PairCount:
        """The pair that was merged."""
        return self.leading[0]


@dataclass(frozen=True)
class Word:
    """A pre-token of the texts, and how often it stands there."""

    data: bytes
    count: int


@dataclass(frozen=True, repr=False)
class Training(Trace):
    """A vocabulary being learned.

    Attributes
    ----------
    rounds : tuple of Round
    words : tuple of Word
        The different pre-tokens of the texts; pairs are counted inside of them.
    start_tokens : int
        How many tokens the texts have before the first round: their bytes.
    tie_break : str
    pattern : str or SplitPattern
    early_end : str
        Why training ended before the vocabulary was full; empty if it did not.
    """

    rounds: tuple[Round, ...]
    words: tuple[Word, ...]
    start_tokens: int
    tie_break: str
    pattern: str | SplitPattern
    early_end: str = ""

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The merges, in the order in which they were learned."""
        return [(found.winner.left, found.winner.right) for found in self.rounds]

    def tokenizer(self) -> BPETokenizer:
        """A tokenizer with the vocabulary that was learned."""
        order = byte_order(self.tie_break)
        tokens = [order[i : i + 1] for i in range(256)] + [a + b for a, b in self.merges]
        return BPETokenizer({token: i for i, token in enumerate(tokens)}, pattern=self.pattern)

    def lines(self) -> list[Line]:
        out = TextBuilder()
        out.add(
            ("training", "title"),
            f": {counted(len(self.rounds), 'round')}, ties go to {TIE_RULES[self.tie_break]}",
        )
        rows: list[list[Cell]] = [["0", "", "", "", f"{self.start_tokens:,}", "", ""]]
        for number, found in enumerate(self.rounds, 1):
            rows.append(
                [
                    str(number),
                    (f"{readable(found.winner.left)} + {readable(found.winner.right)}", "strong"),
                    f"{found.winner.count:,}",
                    str(found.id),
                    f"{found.tokens:,}",
                    decided_by(found),
                    (
                        ", ".join(
                            f"{readable(pair.left)} {readable(pair.right)} {pair.count:,}"
                            for pair in found.leading
                        ),
                        "quiet",
                    ),
                ]
            )
        header = ("round", "merge", "count", "id", "tokens", "decided by", "leading pairs")
        out.table(header, rows)
        if self.early_end:
            out.add((self.early_end, "wrong"))
        return out.lines

    def plot(self, ax: Any = None) -> Any:
        """Draw how the texts become shorter as the vocabulary grows; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes
        """
        lengths = [self.start_tokens, *(found.tokens for found in self.rounds)]
        tied = [number for number, found in enumerate(self.rounds, 1) if found.tied > 1]
        return figures.training_curve(lengths, tied, ax)


def decided_by(found: Round) -> str:
    """What chose the winner of a round."""
    return "the count" if found.tied == 1 else f"the tie rule, among {found.tied:,}"


def training(
    texts: str | Iterable[str],
    vocab_size: int,
    *,
    pattern: str | SplitPattern = "gpt2",
    tie_break: str = "lowest-ids",
    min_frequency: int = 1,
) -> Training:
    """Every round of learning a vocabulary, as `fastllm.train` does it.

    Parameters
    ----------
    texts : str or iterable of str
        Each text is a document. Meant for short ones: all pairs are counted anew in each round.
    vocab_size : int
        Size of the vocabulary, everything included: 256 bytes and one for each round.
    pattern, tie_break, min_frequency
        As for `fastllm.train`.

    Returns
    -------
    Training

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.

    Examples
    --------
    >>> found = training("aaabdaaabac", 257)
    >>> found.rounds[0].winner, found.rounds[0].tied
    (PairCount(left=b'a', right=b'a', count=4, ids=(97, 97)), 1)
    """
    options = arguments.check_training(vocab_size, (), tie_break, min_frequency, None, None, None)
    num_merges, min_frequency = options.num_merges, options.min_frequency
    word_counts = tokenization.count_words(texts, pattern)
    rounds = tuple(islice(_rounds(word_counts, tie_break, min_frequency), num_merges))
    early_end = ""
    if len(rounds) < num_merges:
        times = f"{min_frequency} time{'s' * (min_frequency > 1)}"
        early_end = (
            f"ended after {len(rounds)} of {num_merges} rounds: no pair stands {times} any more"
        )
    return Training(
        rounds=rounds,
        words=tuple(Word(word, count) for word, count in word_counts.items()),
        start_tokens=_length(word_counts.items()),
        tie_break=tie_break,
        pattern=pattern,
        early_end=early_end,
    )


def _rounds(
    word_counts: Mapping[bytes, int], tie_break: str, min_frequency: int
) -> Iterator[Round]:
    """Count all pairs, merge the best, count again, while one is frequent enough."""
    order = byte_order(tie_break)
    tokens = [order[i : i + 1] for i in range(256)]
    words = [([order.index(byte) for byte in word], count) for word, count in word_counts.items()]
    while True:
        found = bpe.count_pairs(words)
        counts = {pair: count for pair, count in found.items() if count >= min_frequency}
        if not counts:
            return
        leading = _leading(counts, tie_break)
        best, new_id = leading[0], len(tokens)
        words = [(bpe.merge(ids, best, new_id), count) for ids, count in words]
        tokens.append(tokens[best[0]] + tokens[best[1]])
        yield Round(
            leading=tuple(
                PairCount(tokens[a], tokens[b], counts[a, b], (a, b)) for a, b in leading
            ),
            tied=sum(count == counts[best] for count in counts.values()),
            pairs=len(counts),
            id=new_id,
            tokens=_length(words),
        )


def _leading(counts: dict[tuple[int, int], int], tie_break: str) -> list[tuple[int, int]]:
    """The pairs that would win if those before them did not exist; the first is the winner."""
    rest = dict(counts)
    leading: list[tuple[int, int]] = []
    while rest and len(leading) < LEADING:
        leading.append(bpe.best_pair(rest, tie_break))
        del rest[leading[-1]]
    return leading


def _length(words: Iterable[tuple[Sequence[int], int]]) -> int:
    """How many tokens the texts have, each word as often as it stands there."""
    return sum(len(ids) * count for ids, count in words)
