r"""Tokenization in three strategies: what each makes of one text, and what it loses.

A model computes with numbers, so text has to become numbers first: cut it into tokens, give each
kind of token a number, its id. How to cut is a choice. Here are three answers, each with a
vocabulary learned from the same novel, `fastllm.explain.novel`.

>>> from fastllm import explain
>>> print(explain.tokenization("Your journeying  starts: 🙂"))
Your journeying  starts: 🙂
26 characters, 29 bytes
<BLANKLINE>
words: 5 tokens of a vocabulary of 6,210, 2 unknown
  Your|journeying|starts|:|🙂
  568 6209 5321 49 6209
  decodes to: Your <|unk|> starts: <|unk|>
  lost: 2 unknown words and 1 blank
<BLANKLINE>
characters: 26 tokens of a vocabulary of 76, 1 unknown
  Y|o|u|r|·|j|o|u|r|n|e|y|i|n|g|·|·|s|t|a|r|t|s|:|·|🙂
  47 63 69 66 1 58 63 69 66 62 53 73 57 62 55 1 1 67 68 49 66 68 67 21 1 75
  decodes to: Your journeying  starts: <|unk|>
  lost: 1 unknown character
<BLANKLINE>
byte pairs: 11 tokens of a vocabulary of 4,096
  Your|·journey|ing|·|·starts|:|·|\xf0|\x9f|\x99|\x82
  1842 2578 274 32 2986 58 32 240 159 153 130
  lost: nothing

**Words** read well, but every spelling needs an id of its own: a word that the novel does not hold
becomes ``<|unk|>``, and it is gone. So is one of the two blanks: decoding puts one between words,
takes it away before a colon, and can only guess where else there were more or fewer:

>>> words, characters, pairs = explain.tokenization("Your journeying  starts: 🙂").strategies
>>> words.decoded
'Your <|unk|> starts: <|unk|>'

**Characters** need a tiny vocabulary and keep every blank, but a text becomes long, and a character
that was never seen is as lost as a word:

>>> len(characters.tokens), characters.vocab_size, characters.unknown
(26, 76, 1)

**Byte pairs** begin with the 256 bytes, so nothing can be unknown, and then join what often stands
together. Common words end up as one token, rare ones as several, an emoji as its four bytes:

>>> [token.data for token in pairs.tokens][:4]
[b'Your', b' journey', b'ing', b' ']
>>> [token.data for token in pairs.tokens][-4:]
[b'\xf0', b'\x9f', b'\x99', b'\x82']
>>> pairs.decoded == "Your journeying  starts: 🙂"
True

The four last tokens are parts of one character; ``group`` says so. Alone none of them is text:

>>> [token.group for token in pairs.tokens][-4:]
[7, 7, 7, 7]

The more bytes a token has on average, the shorter the sequence that a model has to work on:

>>> [round(strategy.bytes_per_token, 2) for strategy in (words, characters, pairs)]
[5.0, 1.12, 2.64]

How the pairs were chosen is told in `fastllm.explain.training_steps`, how they are put to work on a
word in `fastllm.explain.merging`.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastllm.checks import tokenization as arguments
from fastllm.explain.formatting import counted, readable, visible
from fastllm.explain.graphemes import groups
from fastllm.explain.novel import novel_tokenizers
from fastllm.explain.text import Line, TextBuilder, token_spans
from fastllm.explain.trace import Trace
from fastllm.tokenizers.base import Tokenizer
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.tokenizers.model_tokenizer import ModelTokenizer
from fastllm.tokenizers.string_tokenizer import UNKNOWN, StringTokenizer


@dataclass(frozen=True)
class Token:
    """A token where it stands in a text.

    Attributes
    ----------
    id : int
    data : bytes
        What stands in the text, also for an unknown token.
    unknown : bool
        Whether the vocabulary has no such token, so that the id is that of ``<|unk|>``.
    group : int
        The number of the run it belongs to: tokens that are parts of one character are one run.
    """

    id: int
    data: bytes
    unknown: bool
    group: int


@dataclass(frozen=True)
class Strategy:
    """How one tokenizer takes a text apart, and what it makes of the ids.

    Attributes
    ----------
    name : str
    tokens : tuple of Token
    vocab_size : int
    decoded : str
        What decoding the ids gives.
    lost : str
        What is not in it, in words; ``"nothing"`` if it is the text.
    changes : tuple of (str, str)
        Stretches of the text and what decoding has in their place, in order; equal where nothing
        is lost.
    """

    name: str
    tokens: tuple[Token, ...]
    vocab_size: int
    decoded: str
    lost: str
    changes: tuple[tuple[str, str], ...]

    @property
    def ids(self) -> list[int]:
        """The id of each token."""
        return [token.id for token in self.tokens]

    @property
    def unknown(self) -> int:
        """How many tokens the vocabulary does not have."""
        return sum(token.unknown for token in self.tokens)

    @property
    def bytes_per_token(self) -> float:
        """The mean length of a token; 0 where there is none."""
        return sum(len(token.data) for token in self.tokens) / max(1, len(self.tokens))


@dataclass(frozen=True, repr=False)
class Tokenization(Trace):
    """One text in several strategies.

    Attributes
    ----------
    text : str
    strategies : tuple of Strategy
    """

    text: str
    strategies: tuple[Strategy, ...]

    def lines(self) -> list[Line]:
        out = TextBuilder()
        size = f"{counted(len(self.text), 'character')}, {counted(len(self.text.encode()), 'byte')}"
        out.add((visible(self.text, blanks=False), "strong"))
        out.add((size, "quiet"))
        for strategy in self.strategies:
            unknown = f", {strategy.unknown} unknown" if strategy.unknown else ""
            out.add()
            out.add(
                (strategy.name, "title"),
                f": {counted(len(strategy.tokens), 'token')} of a vocabulary of "
                f"{strategy.vocab_size:,}{unknown}",
            )
            _add_tokens(out, strategy)
            out.add("  ", (" ".join(map(str, strategy.ids)), "quiet"))
            if strategy.lost != "nothing":
                out.add("  decodes to: ", visible(strategy.decoded, blanks=False))
            out.add("  lost: ", (strategy.lost, "good" if strategy.lost == "nothing" else "wrong"))
        return out.lines


def _add_tokens(out: TextBuilder, strategy: Strategy) -> None:
    """A line of tokens in colours, unknown ones in that of errors."""
    spans = list(
        token_spans(
            [readable(token.data) for token in strategy.tokens],
            [token.group for token in strategy.tokens],
        )
    )
    for i, token in enumerate(strategy.tokens):
        if token.unknown:
            spans[2 * i] = spans[2 * i][0], "wrong"
    out.add("  ", *spans)


def tokenization(
    text: str, tokenizers: Mapping[str, Tokenizer] | Sequence[Tokenizer] | None = None
) -> Tokenization:
    """What several tokenizers make of one text, side by side.

    Parameters
    ----------
    text : str
        Lone surrogates become U+FFFD.
    tokenizers : mapping from name to tokenizer, or sequence of tokenizers, optional
        Tokenizers of any kind, `fastllm.WordTokenizer` and `fastllm.CharTokenizer` among them; by
        default one of each of the three strategies, with the vocabulary of a novel,
        `fastllm.explain.novel`.

    Returns
    -------
    Tokenization

    Raises
    ------
    TypeError
        If `text` is not a string, or something in `tokenizers` is not a tokenizer.
    KeyError
        If a token is not in a vocabulary that has no ``<|unk|>``.

    Examples
    --------
    >>> from fastllm import BPETokenizer
    >>> tokenizer = BPETokenizer.train("aaabdaaabac", 259, tie_break="first-seen")
    >>> print(tokenization("aaab", [tokenizer]))
    aaab
    4 characters, 4 bytes
    <BLANKLINE>
    byte pairs (gpt2): 1 token of a vocabulary of 259
      aaab
      258
      lost: nothing
    """
    text = arguments.check_text(text)
    if tokenizers is None:
        tokenizers = novel_tokenizers()
    if not isinstance(tokenizers, Mapping):
        tokenizers = _named(tokenizers)
    return Tokenization(
        text, tuple(_strategy(name, tokenizer, text) for name, tokenizer in tokenizers.items())
    )


def _named(tokenizers: Any) -> dict[str, Tokenizer]:
    """A name for each tokenizer of a sequence, numbered where two would have the same."""
    if isinstance(tokenizers, (str, bytes, Tokenizer)) or not isinstance(tokenizers, Sequence):
        raise TypeError(
            "tokenizers must be a mapping from name to tokenizer or a sequence of tokenizers, "
            f"not {type(tokenizers).__name__}"
        )
    named: dict[str, Tokenizer] = {}
    for tokenizer in tokenizers:
        name = _kind(tokenizer)
        alike = sum(other == name or other.startswith(f"{name} #") for other in named)
        named[f"{name} #{alike + 1}" if alike else name] = tokenizer
    return named


def _kind(tokenizer: object) -> str:
    if isinstance(tokenizer, BPETokenizer):
        return f"byte pairs ({visible(str(tokenizer.split_pattern.name or 'own pattern'))})"
    if isinstance(tokenizer, ModelTokenizer):
        return type(tokenizer).__name__.removesuffix("Tokenizer")
    if isinstance(tokenizer, StringTokenizer):
        return {"word": "words", "char": "characters"}.get(tokenizer._kind, tokenizer._kind)
    raise TypeError(f"tokenizers must hold tokenizers, not {type(tokenizer).__name__}")


def _strategy(name: str, tokenizer: Any, text: str) -> Strategy:
    _kind(tokenizer)
    if isinstance(tokenizer, ModelTokenizer):
        return _model_strategy(name, tokenizer, text)
    if isinstance(tokenizer, BPETokenizer):
        ids = tokenizer.encode_ordinary(text)
        parts = tokenizer.decode_tokens_bytes(ids)
        unknown = [False] * len(ids)
    else:
        ids = tokenizer.encode(text)
        pieces = tokenizer.tokenize(text)
        parts = [piece.encode() for piece in pieces]
        unknown = [piece not in tokenizer._vocab for piece in pieces]
    decoded = tokenizer.decode(ids)
    # Words stand apart although nothing between them is a token.
    apart = not isinstance(tokenizer, BPETokenizer) and b"".join(parts) != text.encode()
    numbers = range(len(parts)) if apart else groups(parts)
    tokens = tuple(map(Token, ids, parts, unknown, numbers))
    return Strategy(
        name=name,
        tokens=tokens,
        vocab_size=tokenizer.vocab_size,
        decoded=decoded,
        lost=loss(text, decoded, sum(unknown), _noun(tokenizer)),
        changes=tuple(_differences(text, decoded) if apart else _unknown_stretches(tokens)),
    )


def _model_strategy(name: str, tokenizer: ModelTokenizer, text: str) -> Strategy:
    """The same of a tokenizer of a subword model, whose tokens are text of their own."""
    ids = tokenizer.encode_ordinary(text)
    unknown = getattr(tokenizer._model, "unknown", None)
    if isinstance(unknown, str):
        unknown = tokenizer.vocabulary[unknown]
    parts = tokenizer.tokens_of(ids)
    tokens = tuple(
        Token(number, part.encode(), number == unknown, place)
        for place, (number, part) in enumerate(zip(ids, parts, strict=True))
    )
    decoded = tokenizer.decode(ids)
    return Strategy(
        name=name,
        tokens=tokens,
        vocab_size=tokenizer.vocab_size,
        decoded=decoded,
        lost=_loss_of_model(text, decoded, sum(token.unknown for token in tokens)),
        changes=tuple(_differences(text, decoded)),
    )


def _loss_of_model(text: str, decoded: str, unknown: int) -> str:
    """What decoding did not give back: a normalizer may have changed letters, too.

    >>> _loss_of_model("Größe!", "grosse!", 0), _loss_of_model("a  b", "a b", 0)
    ('the spelling', '1 blank')
    """
    letters, others = ("".join(each.split()) for each in (text, decoded))
    if unknown or letters == others:
        return loss(text, decoded, unknown, "piece")
    return "the spelling"


def _noun(tokenizer: Any) -> str:
    return "character" if getattr(tokenizer, "_kind", "") == "char" else "word"


def loss(passage: str, decoded: str, unknown: int, noun: str = "word") -> str:
    """What decoding did not give back, in words; `noun` is what unknown tokens are.

    >>> loss("so  it goes", "so <|unk|> goes", 1)
    '1 unknown word and 1 blank'
    """
    if decoded == passage:
        return "nothing"
    losses = [f"{unknown} unknown {noun}{'s' * (unknown > 1)}"] if unknown else []
    blanks = Counter(filter(str.isspace, passage)) - Counter(filter(str.isspace, decoded))
    if blanks:
        losses.append(f"{blanks.total()} blank{'s' * (blanks.total() > 1)}")
    return " and ".join(losses) or "the spelling of blanks"


def _unknown_stretches(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Stretches of known and of unknown tokens, which come back as ``<|unk|>``."""
    for unknown, run in groupby(tokens, key=lambda token: token.unknown):
        stretch = list(run)
        text = b"".join(token.data for token in stretch).decode(errors="replace")
        yield text, UNKNOWN * len(stretch) if unknown else text


def _differences(text: str, decoded: str) -> list[tuple[str, str]]:
    """Stretches of `text` with what stands for them in `decoded`.

    >>> _differences("so  it goes", "so <|unk|> goes")
    [('so ', 'so '), (' it', '<|unk|>'), (' goes', ' goes')]
    """
    before, after = (re.findall(rf"{re.escape(UNKNOWN)}|\w+|\W", t) for t in (text, decoded))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return [("".join(before[a:b]), "".join(after[c:d])) for _, a, b, c, d in matcher.get_opcodes()]
