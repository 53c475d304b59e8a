"""What a tokenizer of Hugging Face's puts around a text, and where it says that tokens stand."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

Span = tuple[int, int]
PROBES = ("probe a text", "of another")


@dataclass(frozen=True)
class Template:
    """What surrounds the ids of a text, or of two, and the type of each id.

    Attributes
    ----------
    around : tuple of tuple of int
        The ids before the first text, before the second if there is one, and behind.
    types_around : tuple of tuple of int
        Their types.
    types_inside : tuple of int
        The type of each text.
    """

    around: tuple[tuple[int, ...], ...] = ((), ())
    types_around: tuple[tuple[int, ...], ...] = ((), ())
    types_inside: tuple[int, ...] = (0,)

    @classmethod
    def seen(
        cls, ids: Sequence[int], types: Sequence[int], insides: Sequence[Sequence[int]]
    ) -> "Template":
        """The template that made `ids` of the ids of texts, in their order.

        Raises
        ------
        ValueError
            If it did something else than to put ids around them.

        Examples
        --------
        >>> template = Template.seen([1, 7, 8, 2], [0, 0, 0, 1], [[7, 8]])
        >>> template.around, template.types_around
        (((1,), (2,)), ((0,), (1,)))
        >>> Template.seen([1, 7, 8, 2, 9, 2], [0, 0, 0, 0, 1, 1], [[7, 8], [9]]).around
        ((1,), (2,), (2,))
        """
        found = list(_placements(list(ids), [list(each) for each in insides], 0))
        if len(found) != 1:
            raise ValueError("its post-processor does more than to put tokens around a text")
        around, types_around, types_inside = [], [], []
        done = 0
        for start, inside in zip(found[0], insides, strict=True):
            around.append(tuple(ids[done:start]))
            types_around.append(tuple(types[done:start]))
            done = start + len(inside)
            if len(set(types[start:done])) != 1:
                raise ValueError("its post-processor gives the tokens of a text different types")
            types_inside.append(types[start])
        around.append(tuple(ids[done:]))
        types_around.append(tuple(types[done:]))
        return cls(tuple(around), tuple(types_around), tuple(types_inside))

    @property
    def added(self) -> int:
        """How many ids are added to those of the texts."""
        return sum(map(len, self.around))


def _placements(ids: list[int], insides: list[list[int]], begin: int) -> Iterator[list[int]]:
    """All ways in which the texts may stand in `ids`, one behind the other: where each starts."""
    if not insides:
        yield []
        return
    length = len(insides[0])
    for start in range(begin, len(ids) - length + 1):
        if ids[start : start + length] == insides[0]:
            for others in _placements(ids, insides[1:], start + length):
                yield [start, *others]


@dataclass(frozen=True)
class Trimming:
    """Whether blanks at the ends of tokens are outside of them, but for one at the beginning."""

    trim_offsets: bool = False
    add_prefix_space: bool = False

    @classmethod
    def of(cls, processor: dict[str, Any] | None) -> "Trimming":
        """What a post-processor does, given as in tokenizer.json.

        >>> Trimming.of({"type": "Sequence", "processors": [{"type": "ByteLevel"}]})
        Trimming(trim_offsets=True, add_prefix_space=True)
        """
        if processor is None:
            return cls()
        if processor["type"] == "Sequence":
            found = [cls.of(member) for member in processor["processors"]]
            return next((trimming for trimming in found if trimming.trim_offsets), cls())
        if processor["type"] in ("ByteLevel", "RobertaProcessing"):
            return cls(processor.get("trim_offsets", True), processor.get("add_prefix_space", True))
        return cls()

    def trim(self, spans: list[Span], tokens: Sequence[str]) -> list[Span]:
        """The spans without the blanks at the ends of the tokens.

        >>> Trimming(True, False).trim([(0, 1), (1, 4)], ["a", " b "])
        [(0, 1), (2, 3)]
        """
        return [
            self._trim(place, span, token)
            for place, (span, token) in enumerate(zip(spans, tokens, strict=True))
        ]

    def _trim(self, place: int, span: Span, token: str) -> Span:
        start, end = span
        leading = _count_blanks(token)
        trailing = _count_blanks(token[::-1])
        if leading == 1 and self.add_prefix_space and (place == 0 or start == 0):
            leading = 0  # the one blank that was added, though there may be one of the text's own
        start = min(start + leading, end)
        if trailing and end >= trailing:
            end = max(end - trailing, start)
        return start, end


def _count_blanks(token: str) -> int:
    return sum(1 for _ in takewhile(str.isspace, token))


class PostProcessor:
    """A post-processor as it is now; another one when its settings have changed.

    Parameters
    ----------
    processor
        That of a tokenizer of the tokenizers library, or None.
    copy : callable
        Makes a copy of that tokenizer, without truncation and padding, to see what it puts around
        texts.
    """

    def __init__(self, processor: Any, copy: Callable[[], Any]) -> None:
        self.state = _state(processor)
        self.trimming = Trimming.of(json.loads(self.state or "null"))
        apart = copy()
        apart.post_processor = None
        insides = [apart.encode(text).ids for text in PROBES]
        if not all(insides):
            raise ValueError(f"it has no tokens for {PROBES[0]!r}")
        apart.post_processor = processor
        self._templates: dict[tuple[bool, bool], Template | None] = {}
        for add_special_tokens in (False, True):
            made = apart.encode(PROBES[0], add_special_tokens=add_special_tokens)
            template = Template.seen(made.ids, made.type_ids, insides[:1])
            self._templates[add_special_tokens, False] = template
            made = apart.encode(*PROBES, add_special_tokens=add_special_tokens)
            try:
                pair = Template.seen(made.ids, made.type_ids, insides)
            except ValueError:
                pair = None
            self._templates[add_special_tokens, True] = pair

    def template(self, add_special_tokens: bool, is_pair: bool) -> Template | None:
        """What surrounds a text, or two; None for two of which it is not known."""
        return self._templates[add_special_tokens, is_pair]

    def is_still(self, processor: Any) -> bool:
        """Whether `processor` has the settings that this was made of."""
        return _state(processor) == self.state


def _state(processor: Any) -> bytes | None:
    """The settings of a post-processor."""
    return None if processor is None else bytes(processor.__getstate__())
