"""What a model wants around its texts: [CLS] before, [SEP] behind and between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastllm.api.record import Record
from fastllm.checks import tokenization as arguments


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
        Without `pair`, two texts follow each other.
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
        pair: str | Sequence[Part] = "$A $B",
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

    def apply(self, first: Sequence[int], second: Sequence[int] | None = None) -> list[int]:
        """The ids of one text, or of two, with those of the special tokens."""
        made: list[int] = []
        for part in self.single if second is None else self.pair:
            if not part.is_text:
                made += self.ids[part.name]
            elif part.name == "A":
                made += first
            elif second is not None:
                made += second
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

    def type_ids(self, first: int, second: int | None = None) -> list[int]:
        """The type of each of these ids, for texts of so many."""
        sizes = {"A": first, "B": second or 0}
        types: list[int] = []
        for part in self.single if second is None else self.pair:
            size = sizes[part.name] if part.is_text else len(self.ids[part.name])
            types += [part.type_id] * size
        return types

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
