"""What a model wants around its texts: [CLS] before, [SEP] behind and between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from fastllm.api.record import Record
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.checks.tokenization import IdArray

Span = tuple[int, int]
T = TypeVar("T")
# The ids of many texts, and where each text's begin and end.
Flat: TypeAlias = "tuple[IdArray, np.typing.NDArray[np.int64]]"


class Part(NamedTuple):
    """A part of a template: a special token, or the first ("A") or the second ("B") text."""

    name: str
    type_id: int = 0
    is_text: bool = False


class Template(Record):
    """What is put around the ids of one text, and of two.

    Parameters
    ----------
    single, pair : str
        Special tokens and ``$A`` and ``$B``, between blanks. ``:1`` behind one gives its type.
        Without `pair`, two texts follow each other, the second of type 1.
    ids : mapping from str to int or to several
        The ids of the special tokens.

    Raises
    ------
    ValueError
        If a token has no id, or a text stands there twice or not at all.

    Examples
    --------
    >>> ids = {"[CLS]": 101, "[SEP]": 102}
    >>> bert = Template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ids)
    >>> bert.apply([7, 8]), bert.apply([7], [8])
    ([101, 7, 8, 102], [101, 7, 102, 8, 102])
    >>> bert.type_ids(1, 1)
    [0, 0, 0, 1, 1]
    """

    single: tuple[Part, ...]
    pair: tuple[Part, ...]
    ids: dict[str, tuple[int, ...]]

    def __init__(
        self,
        single: str | Sequence[Part] = "$A",
        pair: str | Sequence[Part] = "$A $B:1",
        ids: Mapping[str, int | Sequence[int]] | None = None,
    ) -> None:
        self._set(
            single=_parts(single),
            pair=_parts(pair),
            ids={
                name: tuple(
                    arguments.check_id(number, f"the id of {name!r}")
                    for number in ([found] if isinstance(found, int) else found)
                )
                for name, found in (ids or {}).items()
            },
        )
        if [part.name for part in self.single if part.is_text] != ["A"]:
            raise ValueError("the template of one text must have it once, as $A, and no $B")
        if sorted(part.name for part in self.pair if part.is_text) != ["A", "B"]:
            raise ValueError("the template of two texts must have $A and $B, each once")
        for part in (*self.single, *self.pair):
            if not part.is_text and part.name not in self.ids:
                raise ValueError(f"the template has {part.name!r}, whose id is not given")

    def __hash__(self) -> int:
        return hash((self.single, self.pair))

    def texts_alone(self) -> Template:
        """The same without special tokens: texts in their order, with their types."""
        return Template(
            [part for part in self.single if part.is_text],
            [part for part in self.pair if part.is_text],
        )

    def apply(self, first: Sequence[int], second: Sequence[int] | None = None) -> list[int]:
        """The ids of one text, or of two, with those of the special tokens."""
        return [number for part in self.parts(first, second) for number in part]

    def parts(self, first: T, second: T | None = None) -> list[T | tuple[int, ...]]:
        """The same in parts: the ids of special tokens as a tuple, those of texts as they are."""
        found: list[T | tuple[int, ...]] = []
        for part in self.single if second is None else self.pair:
            if not part.is_text:
                found.append(self.ids[part.name])
            elif part.name == "A":
                found.append(first)
            elif second is not None:
                found.append(second)
        return found

    def apply_spans(self, first: list[Span], second: list[Span] | None = None) -> list[Span]:
        """Where the tokens of one text, or of two, stand; special tokens stand at (0, 0).

        >>> Template("<s> $A", "$A $B", {"<s>": 1}).apply_spans([(0, 2)])
        [(0, 0), (0, 2)]
        """
        made: list[Span] = []
        for part in self.single if second is None else self.pair:
            if not part.is_text:
                made += [(0, 0)] * len(self.ids[part.name])
            else:
                made += (first if part.name == "A" else second) or ()
        return made

    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before one text, and those behind it.

        >>> Template("[CLS] $A [SEP]", ids={"[CLS]": 101, "[SEP]": 102}).around()
        ((101,), (102,))
        """
        place = [part.is_text for part in self.single].index(True)
        before = [self.ids[part.name] for part in self.single[:place]]
        after = [self.ids[part.name] for part in self.single[place + 1 :]]
        return sum(before, ()), sum(after, ())

    def apply_to_batch(self, first: Flat, second: Flat | None = None) -> Flat:
        """The ids of many texts in one array and where each text's begin, as `apply` has them.

        >>> flat = np.array([7, 8, 9]), np.array([0, 2, 3])
        >>> ids, offsets = Template("<s> $A", "$A $B", {"<s>": 1}).apply_to_batch(flat)
        >>> ids.tolist(), offsets.tolist()
        ([1, 7, 8, 1, 9], [0, 3, 5])
        """
        texts = {"A": first} if second is None else {"A": first, "B": second}
        count = len(first[1]) - 1
        parts = self.single if second is None else self.pair
        sizes = [
            np.diff(texts[part.name][1])
            if part.is_text
            else np.full(count, len(self.ids[part.name]), dtype=np.int64)
            for part in parts
        ]
        offsets = np.concatenate([[0], np.cumsum(np.sum(sizes, axis=0))]).astype(np.int64)
        made = np.empty(int(offsets[-1]), dtype=np.uint32)
        places = offsets[:-1].copy()  # where the next part of each text begins
        for part, size in zip(parts, sizes, strict=True):
            total = int(size.sum())
            # Of each id its place in the part, and from there its place among all.
            inside = np.arange(total) - np.repeat(np.cumsum(size) - size, size)
            ids = texts[part.name][0] if part.is_text else np.tile(self.ids[part.name], count)
            made[np.repeat(places, size) + inside] = ids
            places += size
        return made, offsets

    def type_ids(self, first: int, second: int | None = None) -> list[int]:
        """The type of each of these ids, for texts of so many."""
        sizes = {"A": first, "B": second or 0}
        types: list[int] = []
        for part in self.single if second is None else self.pair:
            size = sizes[part.name] if part.is_text else len(self.ids[part.name])
            types += [part.type_id] * size
        return types

    def count(self, first: int, second: int | None = None) -> int:
        """How many ids there are for texts of so many."""
        return self.added(second is not None) + first + (second or 0)

    def added(self, is_pair: bool = False) -> int:
        """How many ids are added to those of the texts, if each stands there once."""
        parts = self.pair if is_pair else self.single
        return sum(len(self.ids[part.name]) for part in parts if not part.is_text)


def _parts(template: str | Sequence[Part]) -> tuple[Part, ...]:
    if not isinstance(template, str):
        return tuple(template)
    found = []
    for word in template.split():
        name, _, number = word.rpartition(":")
        if not (name and number.isdecimal()):
            name, number = word, "0"
        is_text = name in ("$A", "$B")
        found.append(Part(name[1:] if is_text else name, int(number), is_text))
    return tuple(found)
