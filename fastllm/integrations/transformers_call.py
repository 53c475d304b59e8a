"""One call of a tokenizer of transformers: texts to ids, truncated, surrounded, padded."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

from fastllm.integrations.post_processor import Span, Template
from fastllm.integrations.transformers_engine import Engine, Ids


class Call:
    """One call: texts or pairs of texts to ids, truncated, surrounded, padded.

    Parameters
    ----------
    owner
        The tokenizer that is called.
    engine : Engine
    sides : list of list of str
        The texts; of pairs all the first and all the second ones.
    template : Template
        What is put around.
    options : mapping
        As `_encode_plus` gets them.
    """

    def __init__(
        self, owner: Any, engine: Engine, sides: list[list[str]], template: Template, options: Any
    ) -> None:
        self._owner = owner
        self._options = options
        self._engine = engine
        self._sides = sides
        self._template = template
        self._strategy = _value(options.get("truncation_strategy"))
        self._room: int | None = None
        if self._strategy != "do_not_truncate":
            self._room = options["max_length"] - template.added

    @property
    def has_no_room(self) -> bool:
        """Whether truncation leaves nothing of a text, or means the pair of one that has none."""
        if self._room is None:
            return False
        return self._room <= 0 or (self._strategy == "only_second" and len(self._sides) == 1)

    @property
    def has_unknown_offsets(self) -> bool:
        """Whether the call asks for offsets through a normalization: tokenizers has others."""
        if not self._options.get("return_offsets_mapping"):
            return False
        return not all(map(self._engine.has_offsets_of, chain.from_iterable(self._sides)))

    def data(self, single: bool) -> dict[str, Any] | None:
        """The entries of the result, for one text without a dimension for the batch.

        None if a text is too short to be truncated as is asked for.
        """
        encoded = [self._encode(texts) for texts in self._sides]
        kept = self._kept([[len(ids) for ids in ids_of_all] for ids_of_all, _ in encoded])
        if kept is None:
            return None
        columns = self._columns(
            [self._cut(ids, sizes) for (ids, _), sizes in zip(encoded, kept, strict=True)],
            [self._cut(spans, sizes) for (_, spans), sizes in zip(encoded, kept, strict=True)],
        )
        lengths = self._lengths([len(ids) for ids in columns["input_ids"].rows])
        data: dict[str, Any] = {
            name: self._padded(column, lengths) for name, column in columns.items()
        }
        if self._options.get("return_length"):
            data["length"] = lengths
        for ids in data["input_ids"]:
            self._owner._eventual_warn_about_too_long_sequence(
                ids, self._options.get("max_length"), self._options.get("verbose", True)
            )
        if single:
            return {
                name: rows[0] if isinstance(rows[0], list) else rows for name, rows in data.items()
            }
        return data

    def _encode(self, texts: list[str]) -> tuple[list[Ids], list[list[Span]]]:
        """The ids of each text, and where they stand if that is asked for."""
        if self._options.get("return_offsets_mapping"):
            return self._engine.encode_with_offsets(texts)
        return self._engine.encode(texts), []

    def _kept(self, sizes: list[list[int]]) -> list[list[int]] | None:
        """How many ids of each text are kept; None if there are too few to be left out."""
        if self._room is None:
            return sizes
        kept = [kept_of(each, self._room, self._strategy) for each in zip(*sizes, strict=True)]
        if None in kept:
            return None
        return [list(side) for side in zip(*filter(None, kept), strict=True)]

    def _cut(self, rows: list[list[Any]], sizes: list[int]) -> list[list[Any]]:
        """The rows, each with so many entries left."""
        if self._owner.truncation_side == "left":
            return [row[len(row) - size :] for row, size in zip(rows, sizes, strict=False)]
        return [row[:size] for row, size in zip(rows, sizes, strict=False)]

    def _columns(
        self, sides: list[list[Ids]], spans: list[list[list[Span]]]
    ) -> "dict[str, _Column]":
        """What the call asks of each text: the ids and all that goes with them, in order."""
        owner, options, template = self._owner, self._options, self._template

        def alike(values: Sequence[Any], outside: Any, filler: Any) -> _Column:
            """One value for all ids of a text, another for what surrounds it."""
            rows = [
                [[value] * len(ids) for ids in side]
                for value, side in zip(values, sides, strict=True)
            ]
            around = [[outside] * len(ids) for ids in template.around]
            return _Column.surrounded(rows, around, filler)

        columns = {"input_ids": _Column.surrounded(sides, template.around, owner.pad_token_id)}
        inside = [0] * len(sides)
        if self._wants("token_type_ids"):
            types = [
                [[kind] * len(ids) for ids in side]
                for kind, side in zip(template.types_inside, sides, strict=True)
            ]
            columns["token_type_ids"] = _Column.surrounded(
                types, template.types_around, owner.pad_token_type_id
            )
        if self._wants("attention_mask"):
            columns["attention_mask"] = alike([1] * len(sides), 1, 0)
        if options.get("return_special_tokens_mask"):
            columns["special_tokens_mask"] = alike(inside, 1, 1)
        if options.get("return_offsets_mapping"):
            around = [[(0, 0)] * len(ids) for ids in template.around]
            columns["offset_mapping"] = _Column.surrounded(spans, around, (0, 0))
        return columns

    def _wants(self, name: str) -> bool:
        chosen = self._options.get(f"return_{name}")
        return name in self._owner.model_input_names if chosen is None else bool(chosen)

    def _lengths(self, lengths: list[int]) -> list[int]:
        """How long each row becomes by padding."""
        strategy = _value(self._options.get("padding_strategy"))
        if strategy not in ("longest", "max_length"):
            return lengths
        length = max(lengths) if strategy == "longest" else self._options["max_length"]
        multiple = self._options.get("pad_to_multiple_of")
        if multiple:
            length = -(-length // multiple) * multiple
        return [max(length, each) for each in lengths]

    def _padded(self, column: "_Column", lengths: list[int]) -> list[list[Any]]:
        side = self._options.get("padding_side") or self._owner.padding_side
        padded = []
        for row, length in zip(column.rows, lengths, strict=True):
            fill = [column.filler] * (length - len(row))
            padded.append(fill + row if side == "left" else row + fill)
        return padded


class _Column(NamedTuple):
    """One entry of the result: a row for each text or pair, and what fills it up."""

    rows: list[list[Any]]
    filler: Any

    @classmethod
    def surrounded(
        cls, sides: list[list[list[Any]]], around: Sequence[Sequence[Any]], filler: Any
    ) -> "_Column":
        """Rows of what stands around texts, and of the texts between."""
        before, *behind = around
        rows = []
        for insides in zip(*sides, strict=True):
            row = [*before]
            for inside, after in zip(insides, behind, strict=True):
                row += inside
                row += after
            rows.append(row)
        return cls(rows, filler)


def kept_of(sizes: Sequence[int], room: int, strategy: str) -> Sequence[int] | None:
    """How many ids of a text, or of each of two, are left of so many; None if that cannot be.

    As tokenizers has it: what is longer is cut first, or only one of both.

    Examples
    --------
    >>> kept_of([3, 9], 10, "longest_first"), kept_of([8, 9], 10, "longest_first")
    ((3, 7), (5, 5))
    >>> kept_of([3, 9], 10, "only_second"), kept_of([2, 9], 9, "only_first")
    ((3, 7), None)
    """
    surplus = sum(sizes) - room
    if surplus <= 0:
        return sizes
    if len(sizes) == 1:
        return (sizes[0] - surplus,)
    first, second = sizes
    if strategy == "only_first":
        return (first - surplus, second) if first > surplus else None
    if strategy == "only_second":
        return (first, second - surplus) if second > surplus else None
    shorter = min(sizes)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter, longer = room // 2, room // 2 + room % 2
    return (shorter, longer) if first <= second else (longer, shorter)


@cache
def lazy_encoding() -> Any:
    """A `BatchEncoding` of data made here.

    What else there is to know is made by the wrapped tokenizer, when it is asked for.
    """
    from transformers import BatchEncoding

    base: Any = BatchEncoding

    class LazyEncoding(base):  # type: ignore[misc]
        def __init__(
            self, data: dict[str, Any], tensor_type: Any, make: Callable[[], Any], sequences: int
        ) -> None:
            self.__dict__["_make"] = make
            super().__init__(data, None, tensor_type=tensor_type, n_sequences=sequences)

        @property
        def _encodings(self) -> Any:
            if "_made" not in self.__dict__:
                self.__dict__["_made"] = self.__dict__["_make"]().encodings
            return self.__dict__["_made"]

        @_encodings.setter
        def _encodings(self, encodings: Any) -> None:
            if encodings is not None:
                self.__dict__["_made"] = encodings

        def __reduce__(self) -> tuple[Any, ...]:
            return BatchEncoding, (self.data, self.encodings)

    return LazyEncoding


def _value(strategy: Any) -> str:
    """The name of a strategy, given as such or as a member of an enumeration."""
    if strategy is None:
        return "do_not_truncate"
    return str(getattr(strategy, "value", strategy))
