"""minbpe's interface on fastllm's backends: ``from fastllm.compat import minbpe``.

Classes, methods, attributes, ids and files are those of Andrej Karpathy's minbpe. What was wrong
with it and is right here:

- Training and encoding scan all of the text once for each merge there; here they do not.
- When several pairs are most frequent, minbpe does not say which it merges. It is the one that
  comes first in the text as merged so far, and it is so here.
- Training crashes when nothing is left to merge. Here it ends early, with a warning.
- `load` leaves the compiled split pattern and `inverse_special_tokens` as they were, so that a
  `RegexTokenizer` goes on splitting by the pattern it was made with. Here it takes on all that the
  file says.
- `BasicTokenizer` reads the file of a `RegexTokenizer`, and does not split by its pattern. Here it
  refuses the file.
- `load` cuts blanks off the ends of the pattern and cannot read a special token that holds a
  blank. `save` writes lines that `load` cannot read if the pattern or a special token holds a line
  end, and writes in whatever encoding the system prefers. Here blanks are kept, line ends are
  refused, and files are UTF-8; they appear whole or not at all.
- Of two special tokens that begin at one place, minbpe takes the one registered first. Here it is
  the longest.
- A special token may be given the id of an ordinary one, and is lost in decoding. Here this is an
  error.
- Text between the matches of the split pattern is dropped; a pattern with groups keeps only what
  the groups hold. Here no text is lost.
- `GPT4Tokenizer` cannot decode its special tokens, and its `vocab` holds permuted bytes. Here it
  can, and they are the tokens' own.
- Wrong arguments are found by ``assert``, which ``python -O`` leaves out. Here they raise
  ValueError: for example for special text that is not allowed.

With ``verbose=True`` training prints no numbers of occurrences, and prints when it is done.
"""

import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fastllm import _backend
from fastllm.checks import tokenization as arguments
from fastllm.corpus.atomic_write import replacing
from fastllm.formats.minbpe import (
    read_id_pairs,
    read_sections,
    read_special_tokens,
    write_sections,
)
from fastllm.formats.text import as_text, naming
from fastllm.patterns.dialects import from_regex_package
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern, pattern_of_steps, split_pattern
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.vocabularies import published

__all__ = ["BasicTokenizer", "GPT4Tokenizer", "RegexTokenizer", "Tokenizer"]

GPT2_SPLIT_PATTERN = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)  # fmt: skip
GPT4_SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)

Ids = list[int]
Pair = tuple[int, int]
NOTHING: frozenset[str] = frozenset()


class _State(NamedTuple):
    """The attributes that a tokenizer was made of, cheap to compare."""

    pattern: str
    merges: dict[Pair, int]
    merge_count: int
    special_tokens: Mapping[str, int]
    special_count: int

    def is_(self, other: "_State | None") -> bool:
        """Whether these are the very same objects, and nothing was added to them."""
        return (
            other is not None
            and self.merges is other.merges
            and self.special_tokens is other.special_tokens
            and (self.pattern, self.merge_count, self.special_count)
            == (other.pattern, other.merge_count, other.special_count)
        )


class Tokenizer:
    """What the three tokenizers share.

    Attributes
    ----------
    merges : dict from (int, int) to int
        The id that each pair of ids becomes, in the order learned.
    vocab : dict from int to bytes
        The bytes of each id.
    pattern : str
        The regular expression that text is split by; empty where it is not split.
    special_tokens : dict from str to int
    """

    def __init__(self) -> None:
        self.merges: dict[Pair, int] = {}
        self.pattern = ""
        self.special_tokens: dict[str, int] = {}
        self.vocab = self._build_vocab()
        self._made: BPETokenizer | None = None
        self._made_of: _State | None = None

    def train(self, text: str, vocab_size: int, verbose: bool = False) -> None:
        """Learn merges until there are `vocab_size` tokens; the 256 bytes are the first.

        Parameters
        ----------
        text : str
        vocab_size : int
        verbose : bool
            Print the merges.

        Raises
        ------
        TypeError, ValueError
            If `text` is not a string, or `vocab_size` less than 256.

        Warns
        -----
        UserWarning
            If nothing is left to merge.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        size = arguments.check_integer(vocab_size, "vocab_size", 256)
        learned = _backend.bpe.train(
            text, size, pattern=self._split_pattern(), tie_break="first-seen"
        )
        number_of = {bytes([byte]): byte for byte in range(256)}
        merges: dict[Pair, int] = {}
        for number, (left, right) in enumerate(learned, 256):
            merges[number_of[left], number_of[right]] = number
            number_of[left + right] = number
        self.merges = merges
        self.vocab = {number: token for token, number in number_of.items()}
        if verbose:
            for (left, right), number in self.merges.items():
                print(
                    f"merge {number - 255}/{size - 256}: ({left}, {right}) -> {number} "
                    f"({self.vocab[number]!r})"
                )

    def encode(self, text: str) -> Ids:
        """The ids of `text`."""
        return self._tokenizer().encode_ordinary(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` stand for, U+FFFD where it is not UTF-8; a KeyError at others."""
        return self._tokenizer().decode(ids)

    def save(self, file_prefix: str | os.PathLike[str]) -> None:
        """Write ``file_prefix.model``, which `load` reads, and ``file_prefix.vocab``, to look at.

        Raises
        ------
        OSError
            If a file cannot be written.
        ValueError
            If the pattern or a special token holds a line end, which the format cannot hold.
        """
        for what in (self.pattern, *self.special_tokens):
            if len(f"{what}.".splitlines()) > 1:
                raise ValueError(f"a .model file cannot hold {what!r}: it has a line end")
        prefix = os.fspath(file_prefix)
        write_sections(f"{prefix}.model", self.pattern, self.special_tokens, self.merges)
        self._write_vocab(f"{prefix}.vocab")

    def _write_vocab(self, path: str | os.PathLike[str]) -> None:
        pair_of = {number: pair for pair, number in self.merges.items()}
        with replacing(path) as file:
            for number, token in self.vocab.items():
                parts = "".join(f"[{_shown(self.vocab[part])}]" for part in pair_of.get(number, ()))
                file.write(f"{parts}{' -> ' if parts else ''}[{_shown(token)}] {number}\n")

    def load(self, model_file: str | os.PathLike[str]) -> None:
        """Become what a .model file says.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a file; the message says which line is wrong.
        """
        path = Path(model_file)
        if path.suffix != ".model":
            raise ValueError(f"model_file must end in .model, not {os.fspath(model_file)!r}")
        with naming(path):
            pattern, special_tokens, merges = _read_model(path.read_bytes())
            self._check_pattern(pattern)
        self.pattern, self.special_tokens, self.merges = pattern, special_tokens, merges
        self.vocab = self._build_vocab()

    def _check_pattern(self, pattern: str) -> None:
        """Refuse a pattern that a file says."""
        _split_pattern_of(pattern)

    def _build_vocab(self) -> dict[int, bytes]:
        """The bytes of each id, as they follow from the merges; special tokens last."""
        vocab = {byte: bytes([byte]) for byte in range(256)}
        for (left, right), number in self.merges.items():
            vocab[number] = vocab[left] + vocab[right]
        return vocab | {number: text.encode() for text, number in self.special_tokens.items()}

    def _split_pattern(self) -> SplitPattern:
        return _split_pattern_of(self.pattern)

    def _tokenizer(self) -> BPETokenizer:
        """A tokenizer of ours that does the work, made again if an attribute has changed."""
        made_of = _State(
            self.pattern,
            self.merges,
            len(self.merges),
            self.special_tokens,
            len(self.special_tokens),
        )
        if self._made is None or not made_of.is_(self._made_of):
            self._made, self._made_of = self._make(), made_of
        return self._made

    def _make(self) -> BPETokenizer:
        tokens = {byte: bytes([byte]) for byte in range(256)}
        merges = []
        for (left, right), number in self.merges.items():
            tokens[number] = tokens[left] + tokens[right]
            merges.append((tokens[left], tokens[right]))
        return BPETokenizer(
            {token: number for number, token in tokens.items()},
            pattern=self._split_pattern(),
            merges=merges,
            special_tokens=self.special_tokens,
        )


class BasicTokenizer(Tokenizer):
    """Byte-pair encoding of the whole text, not split.

    Examples
    --------
    >>> tokenizer = BasicTokenizer()
    >>> tokenizer.train("aaabdaaabac", 256 + 3)
    >>> tokenizer.encode("aaabdaaabac")
    [258, 100, 258, 97, 99]
    >>> tokenizer.decode([258, 100, 258, 97, 99])
    'aaabdaaabac'
    """

    def _check_pattern(self, pattern: str) -> None:
        if pattern:
            raise ValueError(
                "this model splits text by a pattern: RegexTokenizer reads it, BasicTokenizer "
                "does not split"
            )


class RegexTokenizer(Tokenizer):
    """Byte-pair encoding of text that is split by a regular expression first.

    Parameters
    ----------
    pattern : str, optional
        In the syntax of the `regex` package. The default is GPT-4's.

    Examples
    --------
    >>> tokenizer = RegexTokenizer()
    >>> tokenizer.train("low lower lowest", 256 + 2)
    >>> tokenizer.register_special_tokens({"<|endoftext|>": 258})
    >>> tokenizer.encode("low<|endoftext|>", allowed_special="all")
    [257, 258]
    >>> tokenizer.merges
    {(108, 111): 256, (256, 119): 257}
    """

    def __init__(self, pattern: str | None = None) -> None:
        super().__init__()
        self.pattern = GPT4_SPLIT_PATTERN if pattern is None else pattern
        _split_pattern_of(self.pattern)
        self.inverse_special_tokens: dict[int, str] = {}

    def register_special_tokens(self, special_tokens: dict[str, int]) -> None:
        """Take these special tokens instead of those there are.

        Parameters
        ----------
        special_tokens : dict from str to int

        Raises
        ------
        TypeError, ValueError
            If an id is not one, or belongs to an ordinary token.
        """
        arguments.check_special_tokens(special_tokens)
        before = self.special_tokens
        self.special_tokens = special_tokens
        try:
            self._tokenizer()
        except (TypeError, ValueError):
            self.special_tokens = before
            raise
        self.inverse_special_tokens = {number: text for text, number in special_tokens.items()}

    def load(self, model_file: str | os.PathLike[str]) -> None:
        super().load(model_file)
        self.inverse_special_tokens = {number: text for text, number in self.special_tokens.items()}

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        return self._tokenizer().encode_ordinary(text)

    def encode(self, text: str, allowed_special: str | Collection[str] = "none_raise") -> Ids:
        """The ids of `text`.

        Parameters
        ----------
        text : str
        allowed_special : "all", "none", "none_raise" or set of str
            Special tokens that become their id. The others are ordinary text, or with
            ``"none_raise"`` an error.

        Raises
        ------
        ValueError
            If a special token stands in `text` and none may, or for another `allowed_special`.
        """
        if isinstance(allowed_special, str):
            if allowed_special not in ("all", "none", "none_raise"):
                raise ValueError(
                    'allowed_special must be "all", "none", "none_raise" or a set of str, not '
                    f"{allowed_special!r}"
                )
            if allowed_special == "none_raise":
                return self._tokenizer().encode(text)
            allowed = frozenset(self.special_tokens) if allowed_special == "all" else NOTHING
        elif isinstance(allowed_special, (set, frozenset)):
            allowed = frozenset(allowed_special)
        else:
            raise ValueError(
                'allowed_special must be "all", "none", "none_raise" or a set of str, not '
                f"a {type(allowed_special).__name__}"
            )
        return self._tokenizer().encode(text, allowed_special=allowed, disallowed_special=NOTHING)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that `ids` stand for, U+FFFD where it is not UTF-8.

        Raises
        ------
        ValueError
            If an id stands for nothing.
        """
        numbers = arguments.check_ids(ids)
        try:
            return super().decode(numbers)
        except KeyError:
            known = self._tokenizer().vocab.values()
            unknown = next(number for number in numbers if number not in set(known))
            raise ValueError(f"invalid token id: {unknown}") from None


class GPT4Tokenizer(RegexTokenizer):
    """GPT-4's tokenizer, cl100k_base. Where its ranks are found, `fastllm.get_encoding` says.

    Attributes
    ----------
    byte_shuffle, inverse_byte_shuffle : dict from int to int
        The id of each byte, and back: the ids of bytes are not their values.
    """

    def __init__(self) -> None:
        self._published = published.get_encoding("cl100k_base")
        super().__init__(GPT4_SPLIT_PATTERN)
        ranks = self._published.mergeable_ranks
        self.merges = {
            (ranks[left], ranks[right]): ranks[left + right]
            for left, right in self._published.merges
        }
        self.vocab = {number: token for token, number in ranks.items()}
        self.byte_shuffle = {byte: ranks[bytes([byte])] for byte in range(256)}
        self.inverse_byte_shuffle = {number: byte for byte, number in self.byte_shuffle.items()}
        self.register_special_tokens(self._published.special_tokens)

    def _make(self) -> BPETokenizer:
        if self.special_tokens == self._published.special_tokens:
            return self._published
        return BPETokenizer(
            self._published.mergeable_ranks, pattern="cl100k", special_tokens=self.special_tokens
        )

    def train(self, text: str, vocab_size: int, verbose: bool = False) -> None:
        """Not for a tokenizer that is trained already."""
        raise NotImplementedError("GPT4Tokenizer is trained already.")

    def save(self, file_prefix: str | os.PathLike[str]) -> None:
        """Not possible: the format numbers bytes by their value."""
        raise NotImplementedError("GPT4Tokenizer cannot be saved.")

    def load(self, model_file: str | os.PathLike[str]) -> None:
        """Not possible: the format numbers bytes by their value."""
        raise NotImplementedError("GPT4Tokenizer cannot be loaded.")

    def save_vocab(self, vocab_file: str | os.PathLike[str]) -> None:
        """Write what each token is made of, to look at."""
        self._write_vocab(vocab_file)


def _split_pattern_of(pattern: str) -> SplitPattern:
    """How text is split by a pattern of minbpe's; the empty one does not split."""
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {type(pattern).__name__}")
    if not pattern:
        return split_pattern(WHOLE_TEXT)
    found = pattern_of_steps((from_regex_package(pattern),))
    try:
        found.check()  # now, so that a bad pattern fails here
    except ValueError as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    return found


def _shown(token: bytes) -> str:
    """A token for people to read: what is not UTF-8 as U+FFFD, control characters escaped.

    >>> _shown(b"a\\nb\\xff")
    'a\\\\u000ab\ufffd'
    """
    return "".join(
        f"\\u{ord(character):04x}" if unicodedata.category(character)[0] == "C" else character
        for character in token.decode("utf-8", "replace")
    )


def _read_model(data: bytes) -> tuple[str, dict[str, int], dict[Pair, int]]:
    """The pattern, special tokens and merges in a .model file."""
    sections = read_sections(as_text(data).replace("\r\n", "\n"))
    merges: dict[Pair, int] = {}
    for place, left, right in read_id_pairs(sections):
        if (left, right) in merges:
            raise ValueError(f"line {place} merges {left} and {right} again")
        merges[left, right] = 256 + len(merges)
    return sections.pattern, read_special_tokens(sections.special_tokens), merges
