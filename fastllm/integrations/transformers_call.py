"""One call of a tokenizer of transformers: texts to ids, truncated, surrounded, padded."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from fastllm.integrations.post_processor import Span
from fastllm.integrations.transformers_engine import Engine, Ids
from fastllm.patterns.normalization import is_normalized


class Call:
    """One call: texts to ids, truncated, surrounded, padded."""

    def __init__(self, owner: Any, engine: Engine, texts: list[str], options: Any) -> None:
        self._owner = owner
        self._options = options
        self._texts = texts
        self._engine = engine
        add = options.get("add_special_tokens", True)
        self._template = engine.template(owner.backend_tokenizer, add)
        self._room: int | None = None
        if _value(options.get("truncation_strategy")) != "do_not_truncate":
            around = len(self._template.before) + len(self._template.after)
            self._room = options["max_length"] - around

    @property
    def has_no_room(self) -> bool:
        """Whether truncation leaves nothing of a text, or means its pair."""
        strategy = _value(self._options.get("truncation_strategy"))
        return strategy == "only_second" or (self._room is not None and self._room <= 0)

    @property
    def has_unknown_offsets(self) -> bool:
        """Whether the call asks for offsets through a normalization: tokenizers has others."""
        form = self._engine.tokenizer.split_pattern.normalization
        if form is None or not self._options.get("return_offsets_mapping"):
            return False
        return not all(is_normalized(form, text) for text in self._texts)

    def data(self, single: bool) -> dict[str, Any]:
        """The entries of the result, for one text without a dimension for the batch."""
        inside, spans = self._encode()
        columns = self._columns(inside, spans)
        around = len(self._template.before) + len(self._template.after)
        lengths = self._lengths([len(ids) + around for ids in inside])
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

    def _columns(self, inside: list[Ids], spans: list[list[Span]] | None) -> "dict[str, _Column]":
        """What the call asks of each text: the ids and all that goes with them, in order."""
        owner, options, template = self._owner, self._options, self._template

        def alike(value: Any, outside: Any, filler: Any) -> _Column:
            """One value for all ids of a text, another for what surrounds it."""
            rows = [[value] * len(ids) for ids in inside]
            before, after = (outside,) * len(template.before), (outside,) * len(template.after)
            return _Column(rows, before, after, filler)

        before, after = template.before, template.after
        columns = {"input_ids": _Column(inside, before, after, owner.pad_token_id)}
        if self._wants("token_type_ids"):
            types = alike(template.type_inside, 0, owner.pad_token_type_id)
            columns["token_type_ids"] = types._replace(
                before=template.types_before, after=template.types_after
            )
        if self._wants("attention_mask"):
            columns["attention_mask"] = alike(1, 1, 0)
        if options.get("return_special_tokens_mask"):
            columns["special_tokens_mask"] = alike(0, 1, 1)
        if spans is not None:
            columns["offset_mapping"] = alike(0, (0, 0), (0, 0))._replace(rows=spans)
        return columns

    def _wants(self, name: str) -> bool:
        chosen = self._options.get(f"return_{name}")
        return name in self._owner.model_input_names if chosen is None else bool(chosen)

    def _encode(self) -> tuple[list[Ids], list[list[Span]] | None]:
        """The ids of each text, truncated, and where they stand if that is asked for."""
        spans: list[list[Span]] | None = None
        if self._options.get("return_offsets_mapping"):
            ids, spans = self._engine.encode_with_offsets(self._texts)
            spans = [self._truncated(row) for row in spans]
        else:
            ids = self._engine.encode(self._texts)
        return [self._truncated(row) for row in ids], spans

    def _truncated(self, row: list[Any]) -> list[Any]:
        if self._room is None or len(row) <= self._room:
            return row
        if self._owner.truncation_side == "left":
            return row[len(row) - self._room :]
        return row[: self._room]

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
            whole = [*column.before, *row, *column.after]
            fill = [column.filler] * (length - len(whole))
            padded.append(fill + whole if side == "left" else whole + fill)
        return padded


class _Column(NamedTuple):
    """One entry of the result: a row for each text, what surrounds each, what fills it up."""

    rows: list[Any]
    before: Sequence[Any]
    after: Sequence[Any]
    filler: Any


@cache
def lazy_encoding() -> Any:
    """A `BatchEncoding` of data made here.

    What else there is to know is made by the wrapped tokenizer, when it is asked for.
    """
    from transformers import BatchEncoding

    base: Any = BatchEncoding

    class LazyEncoding(base):  # type: ignore[misc]
        def __init__(self, data: dict[str, Any], tensor_type: Any, make: Callable[[], Any]) -> None:
            self.__dict__["_make"] = make
            super().__init__(data, None, tensor_type=tensor_type, n_sequences=1)

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
