"""How often each distinct word occurs in some texts: what training needs to know of them."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, Self

from fastllm.checks import tokenization as arguments
from fastllm.corpus.atomic_write import replacing
from fastllm.patterns.named import SplitPattern, pattern_of_steps, split_pattern
from fastllm.patterns.steps import Step

FORMAT = "fastllm-word-counts"
VERSION = 1
MOST = 2**63 - 1


class WordTable(Protocol):
    """What a backend counts words in."""

    @property
    def total(self) -> int:
        """Words, repetitions included."""

    @property
    def text_bytes(self) -> int:
        """Their bytes."""

    def __len__(self) -> int: ...

    def items(self) -> Iterable[tuple[bytes, int]]:
        """The distinct words and their counts."""


class WordCounts(Mapping[bytes, int]):
    """The distinct words of some texts, in the order of first appearance, each with its count.

    Texts can be counted in parts, on several machines: save each part's counts, load and merge
    them, train on the result. They do not change once made.

    Parameters
    ----------
    counts : mapping from bytes to int
    pattern : str or SplitPattern
        What cut the texts into words.
    special_tokens : iterable of str
        What was cut out of the texts before.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or out of range.

    Examples
    --------
    >>> one = WordCounts({b"low": 2, b" lower": 1})
    >>> two = one.merge(WordCounts({b"lowest": 2**40, b"low": 1}))
    >>> dict(two)
    {b'low': 3, b' lower': 1, b'lowest': 1099511627776}
    """

    def __init__(
        self,
        counts: Mapping[bytes, int],
        *,
        pattern: str | SplitPattern = "gpt2",
        special_tokens: Iterable[str] = (),
    ) -> None:
        if not isinstance(counts, Mapping):
            raise TypeError(
                f"counts must be a mapping from bytes to int, not {type(counts).__name__}"
            )
        text_bytes = 0
        for word, count in counts.items():
            if not isinstance(word, bytes):
                raise TypeError(f"counts holds {word!r}; every word must be bytes")
            if not word:
                raise ValueError("counts holds an empty word")
            if arguments.check_integer(count, f"the count of {word!r}", 1) > MOST:
                raise ValueError(f"the count of {word!r} must be at most {MOST}, not {count}")
            text_bytes += len(word) * count
        if text_bytes > MOST:  # a pair could occur that often
            raise ValueError(f"counts are of {text_bytes} bytes of text, more than {MOST}")
        self._counts: dict[bytes, int] | None = dict(counts)
        self._table: WordTable | None = None
        self._set_pattern(pattern, special_tokens)

    @classmethod
    def of_table(
        cls, table: WordTable, pattern: SplitPattern, special_tokens: Iterable[str]
    ) -> Self:
        """The counts in a backend's table, which must not change any more."""
        made = cls.__new__(cls)
        made._counts, made._table = None, table
        made._set_pattern(pattern, special_tokens)
        return made

    def _set_pattern(self, pattern: str | SplitPattern, special_tokens: Iterable[str]) -> None:
        self._pattern = split_pattern(pattern)
        self._special_tokens = arguments.check_special_tokens(special_tokens)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: counts, not the table."""
        return self.__dict__ | {"_counts": self._dict, "_table": None}

    @property
    def table(self) -> WordTable | None:
        """The backend's table, where the words were counted in one; else None."""
        return self._table

    @property
    def total(self) -> int:
        """How many words there are, repetitions included."""
        return sum(self._dict.values()) if self._table is None else self._table.total

    @property
    def text_bytes(self) -> int:
        """How many bytes these words have together."""
        if self._table is not None:
            return self._table.text_bytes
        return sum(len(word) * count for word, count in self._dict.items())

    @property
    def split_pattern(self) -> SplitPattern:
        """What cut the texts into words."""
        return self._pattern

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """What was cut out of the texts."""
        return self._special_tokens

    @property
    def _dict(self) -> dict[bytes, int]:
        if self._counts is None:
            assert self._table is not None
            self._counts = dict(self._table.items())
        return self._counts

    def __getitem__(self, word: bytes) -> int:
        return self._dict[word]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict) if self._table is None else len(self._table)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self):,} words, pattern {self._pattern}>"

    def merge(self, *others: "WordCounts") -> "WordCounts":
        """The counts of these texts and, behind them, of others.

        Raises
        ------
        ValueError
            If other texts were cut in another way.
        """
        counts = dict(self._dict)
        for other in others:
            check_word_counts(other, "others")
            if other._pattern != self._pattern:
                raise ValueError(
                    f"words cut by pattern {other._pattern} cannot be added to words cut by "
                    f"{self._pattern}"
                )
            if set(other._special_tokens) != set(self._special_tokens):
                raise ValueError(
                    f"the texts were cut at other special tokens: {other._special_tokens} and "
                    f"{self._special_tokens}"
                )
            for word, count in other._dict.items():
                counts[word] = counts.get(word, 0) + count
        return WordCounts(counts, pattern=self._pattern, special_tokens=self._special_tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the counts to a file, whole or not at all: a line of JSON, then words in base64.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from binascii import b2a_base64  # training would only load it

        head = {
            "format": FORMAT,
            "version": VERSION,
            "steps": self._pattern.steps,
            "normalization": self._pattern.normalization,
            "special_tokens": self._special_tokens,
            "words": len(self),
        }
        with replacing(path, "wb") as file:
            file.write(json.dumps(head).encode() + b"\n")
            file.writelines(
                b"%s %d\n" % (b2a_base64(word, newline=False), count)
                for word, count in self._dict.items()
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "WordCounts":
        """Read counts that `save` has written.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not such a file; the message says what is wrong with it.
        """
        from binascii import a2b_base64

        name = os.fspath(path)
        counts: dict[bytes, int] = {}
        with open(path, "rb") as file:
            head = _read_head(file.readline(), name)
            for number, line in enumerate(file, 2):
                try:
                    word, count = line.split()
                    counts[a2b_base64(word, strict_mode=True)] = int(count)
                except ValueError:  # of what is not base64, too
                    raise ValueError(f"{name}, line {number} is not a word and its count") from None
        if len(counts) != head["words"]:
            raise ValueError(f"{name} holds {len(counts)} words, not {head['words']} as it says")
        try:
            pattern = _pattern_of(head)
            return cls(counts, pattern=pattern, special_tokens=head["special_tokens"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from None


def check_word_counts(counts: object, name: str = "word_counts") -> WordCounts:
    """`counts`, which must be `WordCounts`."""
    if not isinstance(counts, WordCounts):
        raise TypeError(f"{name} must be WordCounts, not {type(counts).__name__}")
    return counts


def _pattern_of(head: dict[str, Any]) -> SplitPattern:
    """The split pattern of a file: steps that are not isolated are lists of their fields."""
    steps = (step if isinstance(step, str) else Step(*step) for step in head["steps"])
    return pattern_of_steps(tuple(steps), head["normalization"])


def _read_head(line: bytes, name: str) -> dict[str, Any]:
    try:
        head = json.loads(line)
    except ValueError:
        head = None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise ValueError(f'{name} does not hold word counts: no "format": "{FORMAT}" in line 1')
    if head.get("version") != VERSION:
        version = head.get("version")
        raise ValueError(f"{name} has version {version!r} of the format; this reads {VERSION}")
    for field in ("steps", "normalization", "special_tokens", "words"):
        if field not in head:
            raise ValueError(f"{name} has no {field!r} in line 1")
    return head
