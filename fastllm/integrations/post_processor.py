"""What a tokenizer of Hugging Face's puts around a text, and where it says that tokens stand."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

Span = tuple[int, int]


@dataclass(frozen=True)
class Template:
    """What surrounds the ids of a text, and the type of each id."""

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    types_before: tuple[int, ...] = ()
    types_after: tuple[int, ...] = ()
    type_inside: int = 0

    @classmethod
    def seen(cls, ids: Sequence[int], types: Sequence[int], inside: Sequence[int]) -> "Template":
        """The template that made `ids` of the ids `inside`.

        Raises
        ------
        ValueError
            If it did something else than to put ids around them.

        Examples
        --------
        >>> template = Template.seen([1, 7, 8, 2], [0, 0, 0, 1], [7, 8])
        >>> template.before, template.after, template.types_after
        ((1,), (2,), (1,))
        """
        length = len(inside)
        starts = [
            start
            for start in range(len(ids) - length + 1)
            if list(ids[start : start + length]) == list(inside)
        ]
        if len(starts) != 1 or len(set(types[starts[0] : starts[0] + length])) != 1:
            raise ValueError("its post-processor does more than to put tokens around a text")
        start, end = starts[0], starts[0] + length
        return cls(
            tuple(ids[:start]),
            tuple(ids[end:]),
            tuple(types[:start]),
            tuple(types[end:]),
            types[start],
        )


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
    """A post-processor as it is now; another one when its settings have changed."""

    def __init__(self, processor: Any, probe: Callable[[], Any]) -> None:
        self.state = _state(processor)
        self.bare = self.full = Template()
        self.trimming = Trimming()
        if processor is None:
            return
        self.trimming = Trimming.of(json.loads(self.state or "null"))
        inside = probe()
        templates = []
        for add_special_tokens in (False, True):
            made = processor.process(inside, None, add_special_tokens)
            templates.append(Template.seen(made.ids, made.type_ids, inside.ids))
        self.bare, self.full = templates

    def is_still(self, processor: Any) -> bool:
        """Whether `processor` has the settings that this was made of."""
        return _state(processor) == self.state


def _state(processor: Any) -> bytes | None:
    """The settings of a post-processor."""
    return None if processor is None else bytes(processor.__getstate__())
