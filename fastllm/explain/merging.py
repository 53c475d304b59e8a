"""How merges make the tokens of a word: each merge in order, and the tree that grows from them.

Encoding a word with byte pairs is a game with one rule. Begin with its bytes. Look at all pairs of
neighbours, find the one that was learned first, which has the lowest rank, and join it; of several
places the leftmost. Stop when no pair of neighbours was ever learned.

>>> from fastllm import explain
>>> tokenizer = explain.story.story_bpe()
>>> print(explain.bpe(tokenizer, " journey"))
·journey: 1 token after 7 merges
  step  merge        rank   id  parts
     0                          ·|j|o|u|r|n|e|y
     1  o + u         260  260  ·|j|ou|r|n|e|y
     2  n + e         261  261  ·|j|ou|r|ne|y
     3  ou + r        262  262  ·|j|our|ne|y
     4  · + j         274  274  ·j|our|ne|y
     5  ne + y        276  276  ·j|our|ney
     6  our + ney     277  277  ·j|ourney
     7  ·j + ourney   279  279  ·journey
<BLANKLINE>
·journey (279)
├─ ·j (274)
│  ├─ · (32)
│  └─ j (106)
└─ ourney (277)
   ├─ our (262)
   │  ├─ ou (260)
   │  │  ├─ o (111)
   │  │  └─ u (117)
   │  └─ r (114)
   └─ ney (276)
      ├─ ne (261)
      │  ├─ n (110)
      │  └─ e (101)
      └─ y (121)

A rank says when a pair was learned. This vocabulary is one of ranks, as in tiktoken's files: the id
of the new token is the rank of its merge. Files of Hugging Face list merges, and the rank is the
place in that list.

The blank belongs to the word: text is split into pre-tokens first, and a word takes the blank
before it along (`fastllm.split`). Merges never cross from one pre-token into the next.

A word that training never saw is put together as far as its pairs are known, and never fails:

>>> [node.data for node in explain.bpe(tokenizer, " journal").pieces[0].tokens]
[b' j', b'our', b'n', b'al']

**Why the order matters.** The rule is not "take the longest token from the left". Let (b, c)
be learned before (a, b), and see what becomes of "abc":

>>> from fastllm import BPETokenizer
>>> ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"ab": 4}
>>> trace = explain.bpe(BPETokenizer(ranks, pattern="gpt2"), "abc")
>>> [node.data for node in trace.pieces[0].tokens]
[b'a', b'bc']

Some teaching code goes through a word from left to right and joins whatever it can. That gives
other tokens, and more of them; `fastllm.book.BPETokenizerSimple` shows it with ``mode="book"``. A
vocabulary fits only the rule that it was learned with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastllm.checks import tokenization as arguments
from fastllm.explain.character_merging import follow_characters
from fastllm.explain.formatting import counted, readable
from fastllm.explain.merge_steps import (
    MOST_DEPTH,
    MOST_MERGES,
    MOST_PARTS,
    Node,
    Piece,
    merge_all,
    taken_whole,
)
from fastllm.explain.text import Cell, Line, TextBuilder, token_spans
from fastllm.explain.trace import Trace
from fastllm.reference import tokenization as reference
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.pieces import CharacterBPETokenizer
from fastllm.tokenizers.sentencepiece import SentencePieceTokenizer


@dataclass(frozen=True, repr=False)
class Merging(Trace):
    """How the tokens of a text came about, pre-token by pre-token.

    Attributes
    ----------
    text : str
    pieces : tuple of Piece
        In the order of the text.
    """

    heading: ClassVar[str] = "The merges that made the tokens"

    text: str
    pieces: tuple[Piece, ...]

    @property
    def ids(self) -> list[int]:
        """The id of each token of the text."""
        return [number for piece in self.pieces for number in piece.ids]

    def distinct(self) -> list[Piece]:
        """The pre-tokens, each only once."""
        return list({piece.data: piece for piece in self.pieces}.values())

    def lines(self) -> list[Line]:
        out = TextBuilder()
        for piece in self.distinct():
            if out.lines:
                out.add()
            _add_pre_token(out, piece)
        return out.lines


def _add_pre_token(out: TextBuilder, piece: Piece) -> None:
    ending = (
        "a token, taken whole"
        if piece.whole
        else f"{counted(len(piece.tokens), 'token')} after {counted(len(piece.merges), 'merge')}"
    )
    out.add((readable(piece.data), "title"), f": {ending}")
    states = list(piece.shown_states())
    rows: list[list[Cell]] = [["0", "", "", "", "|".join(states[0])]]
    for number, (merge, state) in enumerate(zip(piece.merges, states[1:], strict=False), 1):
        pair = f"{readable(merge.made.left)} + {readable(merge.made.right)}"
        made = (pair, "strong")
        rows.append([str(number), made, str(merge.made.rank), str(merge.id), "|".join(state)])
    out.table(("step", "merge", "rank", "id", "parts"), rows)
    _add_rest(out, len(piece.merges) - MOST_MERGES, "merge")
    out.add()
    for i, node in enumerate(piece.tokens[:MOST_PARTS]):
        out.add(*token_spans([readable(node.data)], [i]), (f" ({node.id})", "quiet"))
        for branch, child in _branches(node):
            out.add((branch, "quiet"), readable(child.data), (f" ({child.id})", "quiet"))
    _add_rest(out, len(piece.tokens) - MOST_PARTS, "token")


def _add_rest(out: TextBuilder, count: int, kind: str) -> None:
    if count > 0:
        out.add((f"  … and {counted(count, f'more {kind}')}", "quiet"))


def _branches(node: Node, indent: str = "", depth: int = 1) -> Iterator[tuple[str, Node]]:
    """What is below a node, as far as trees are shown, with the lines of a tree before it."""
    for i, child in enumerate(node.children):
        last = i == len(node.children) - 1
        yield indent + ("└─ " if last else "├─ "), child
        if depth < MOST_DEPTH:
            yield from _branches(child, indent + ("   " if last else "│  "), depth + 1)


def bpe(
    tokenizer: BPETokenizer | CharacterBPETokenizer | SentencePieceTokenizer, word: str
) -> Merging:
    """Each merge that leads from the bytes or characters of a word to its tokens.

    Parameters
    ----------
    tokenizer : BPETokenizer, CharacterBPETokenizer or SentencePieceTokenizer of the kind BPE
    word : str
        A word, or any text: it is split into pre-tokens as always. A special token in it is
        ordinary text; lone surrogates become U+FFFD.

    Returns
    -------
    Merging

    Raises
    ------
    TypeError
        If `tokenizer` does not merge, or `word` is not a string.
    ValueError
        If the vocabulary lacks a byte and the tokenizer does not drop such bytes.

    Notes
    -----
    The rank is the place in the list of merges, or, for a vocabulary of ranks, the id of the token
    that comes of the merge.

    Examples
    --------
    In "aaa" the pair (a, a) stands twice. The leftmost is merged, which ends the other:

    >>> tokenizer = BPETokenizer.train("aaabdaaabac", 257)
    >>> [piece.ids for piece in bpe(tokenizer, "aaa").pieces]
    [[256, 97]]
    """
    if isinstance(tokenizer, (CharacterBPETokenizer, SentencePieceTokenizer)):
        return Merging(arguments.check_text(word, "word"), follow_characters(tokenizer, word))
    if not isinstance(tokenizer, BPETokenizer):
        raise TypeError(
            "tokenizer must be a BPETokenizer, CharacterBPETokenizer or SentencePieceTokenizer, "
            f"not {type(tokenizer).__name__}"
        )
    text = arguments.check_text(word, "word")
    settings = tokenizer._settings()
    ids = settings["ranks"]
    encoder = reference.BytePairEncoder(
        ids,
        merges=settings["merges"],
        pattern=tokenizer.split_pattern,
        ignore_merges=settings["ignore_merges"],
        missing_bytes=settings["missing_bytes"],
    )
    traced: dict[bytes, Piece] = {}
    pieces = []
    for piece, token in _pre_tokens(tokenizer, word):
        data = piece.encode()
        if token is not None:
            pieces.append(taken_whole(data, token))
            continue
        if data not in traced:
            traced[data] = _follow(data, encoder, ids)
        pieces.append(traced[data])
    return Merging(text, tuple(pieces))


def _pre_tokens(tokenizer: BPETokenizer, text: str) -> Iterator[tuple[str, int | None]]:
    """The pre-tokens of a text; an added token, which is taken whole, with its id."""
    policy = tokenizer._policies.of(frozenset(), frozenset())
    for part, token in policy.cut(text) or [(text, None)]:
        for pretoken in reference.split(part, tokenizer.split_pattern):
            yield pretoken, None
        if token is not None:
            yield token, tokenizer.added_tokens[token]


def _follow(data: bytes, encoder: reference.BytePairEncoder, ids: dict[bytes, int]) -> Piece:
    """Merge one pre-token by the plain rule."""
    may_be_whole = encoder._whole_pretokens and data in ids
    if may_be_whole and any(data[i : i + 1] not in ids for i in range(len(data))):
        return taken_whole(data, ids[data])
    start = encoder._single_bytes(data)
    piece = merge_all(
        data,
        [Node(part, ids[part]) for part in start],
        encoder._rank,
        lambda left, right: Node(left + right, ids[left + right]),
    )
    if may_be_whole and len(piece.tokens) > 1:
        return taken_whole(data, ids[data], tuple(start))
    return piece
