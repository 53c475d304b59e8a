"""fastllm inside Hugging Face's transformers: the same tokenizer, encoding and decoding by ours.

Needs transformers 5 or later (the extra ``transformers``).
"""

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from fastllm.formats.byte_level import to_bytes
from fastllm.formats.tokenizer_json import read_tokenizer_json
from fastllm.integrations.post_processor import PostProcessor, Span, Template
from fastllm.integrations.transformers_attention import register
from fastllm.tokenizers.bpe import BPETokenizer

__all__ = ["fast_tokenizer", "register"]

Ids = list[int]
# With one of these the call is left to the wrapped tokenizer: what it does then is not encoding.
LEFT_ALONE = (
    *("stride", "is_split_into_words", "return_overflowing_tokens", "sanitize_control_tokens"),
    "split_special_tokens",
)
KNOWN = frozenset(
    (
        *("add_special_tokens", "padding_strategy", "truncation_strategy", "max_length"),
        *("pad_to_multiple_of", "padding_side", "return_tensors", "return_token_type_ids"),
        *("return_attention_mask", "return_special_tokens_mask", "return_offsets_mapping"),
        *("return_length", "verbose", *LEFT_ALONE),
    )
)
PROBE = "probe a text"


def fast_tokenizer(hf_tokenizer: Any) -> Any:
    """A tokenizer of transformers that encodes and decodes by fastllm.

    Parameters
    ----------
    hf_tokenizer : PreTrainedTokenizerFast
        A tokenizer that does byte-level BPE, as those of GPT-2, Llama 3, Qwen, DeepSeek, SmolLM do.

    Returns
    -------
    PreTrainedTokenizerFast
        An object of a class derived from the tokenizer's own, with the same attributes and methods:
        padding, truncation, attention masks, offsets, special tokens, chat templates, saving. Ids
        are the same. Pairs of texts, texts split into words, overflowing tokens and special tokens
        that are to be split are left to the wrapped tokenizer, and so is what a `BatchEncoding`
        tells beyond its data (`word_ids`, `char_to_token`), when it is asked for.

    Raises
    ------
    TypeError
        If it is not a tokenizer of the tokenizers library.
    ValueError
        If it does something that is not byte-level BPE; the message names it.

    Notes
    -----
    Tokens added later, and another post-processor, are noticed. The wrapped object itself is not
    changed, but both share the tokenizer of the tokenizers library inside.
    """
    from transformers import PreTrainedTokenizerFast

    if not isinstance(hf_tokenizer, PreTrainedTokenizerFast):
        raise TypeError(
            "hf_tokenizer must be a PreTrainedTokenizerFast, one that the tokenizers library "
            f"backs, not {type(hf_tokenizer).__name__}"
        )
    if isinstance(hf_tokenizer, _Fast):
        return hf_tokenizer
    kind = type(hf_tokenizer)
    # The same name: save_pretrained writes it, and from_pretrained looks for it.
    derived: Any = type(kind.__name__, (_Fast, kind), {"__module__": kind.__module__})
    tokenizer = object.__new__(derived)
    vars(tokenizer).update(vars(hf_tokenizer))
    vars(tokenizer).update(_wrapped=hf_tokenizer, _engine=_Engine(hf_tokenizer))
    return tokenizer


class _Engine:
    """What is made of a tokenizer of the tokenizers library; stale when tokens are added to it."""

    def __init__(self, hf_tokenizer: Any) -> None:
        backend = hf_tokenizer.backend_tokenizer
        self.size = backend.get_vocab_size(with_added_tokens=True)
        content = json.loads(backend.to_str())
        name = type(hf_tokenizer).__name__
        try:
            self.tokenizer = _byte_level_bpe(content)
            self._probe = _probe(backend)
            self.processor = PostProcessor(backend.post_processor, self._probe)
        except ValueError as error:
            raise ValueError(
                f"hf_tokenizer must do byte-level BPE; this {name} does not: {error}"
            ) from None
        whole = self.tokenizer.added_tokens | self.tokenizer.special_tokens
        self._text_of = {number: text for text, number in whole.items()}
        # The decoder reads all tokens as byte-level characters that it can read so.
        self.bytes_of = {
            number: token for token, number in self.tokenizer.mergeable_ranks.items()
        } | {number: to_bytes(text) or text.encode() for text, number in whole.items()}
        self.special_ids = frozenset(self.tokenizer.special_tokens.values())
        self.decodes = content.get("decoder") is not None

    def template(self, backend: Any, add_special_tokens: bool) -> Template:
        """What surrounds a text now."""
        if not self.processor.is_still(backend.post_processor):
            self.processor = PostProcessor(backend.post_processor, self._probe)
        return self.processor.full if add_special_tokens else self.processor.bare

    def encode(self, texts: list[str]) -> list[Ids]:
        """The ids of each text, without what surrounds it."""
        return self.tokenizer.encode_batch(texts, allowed_special="all", disallowed_special=())

    def encode_with_offsets(self, texts: list[str]) -> tuple[list[Ids], list[list[Span]]]:
        """The same, and where the tokens stand."""
        found = [
            self.tokenizer.encode_with_offsets(text, allowed_special="all", disallowed_special=())
            for text in texts
        ]
        if not self.processor.trimming.trim_offsets:
            return [ids for ids, _ in found], [spans for _, spans in found]
        return [ids for ids, _ in found], [
            self.processor.trimming.trim(spans, [self._shown(number) for number in ids])
            for ids, spans in found
        ]

    def _shown(self, number: int) -> str:
        """A token with its blanks, as `str.isspace` knows them.

        In the characters that tokenizer.json writes a space is one, but a line end is not; tokens
        that are taken whole are written as they are.
        """
        if number in self._text_of:
            return self._text_of[number]
        return "".join(" " if byte == 0x20 else "." for byte in self.bytes_of[number])

    def decode(self, ids: Iterable[int], skip_special_tokens: bool) -> str:
        """The text of ids; those that stand for nothing are left out."""
        if skip_special_tokens:
            ids = (number for number in ids if number not in self.special_ids)
        bytes_of = self.bytes_of
        return b"".join([bytes_of.get(number, b"") for number in ids]).decode("utf-8", "replace")


def _byte_level_bpe(content: dict[str, Any]) -> BPETokenizer:
    # Both are set anew by each call; what a file says counts for nothing.
    content = content | {"truncation": None, "padding": None}
    found = read_tokenizer_json(content, ignore_post_processor=True)
    found.take_out_special_tokens()
    return BPETokenizer(**vars(found), missing_bytes="drop")


def _probe(backend: Any) -> Callable[[], Any]:
    """What makes an encoding to see what a post-processor puts around it."""

    def encode() -> Any:
        from tokenizers import Tokenizer

        apart = Tokenizer.from_str(backend.to_str())
        apart.no_truncation()
        apart.no_padding()
        found = apart.encode(PROBE, add_special_tokens=False)
        if not found.ids:
            raise ValueError(f"it has no tokens for {PROBE!r}")
        return found

    return encode


class _Fast:
    """What is put before the class of the wrapped tokenizer."""

    _engine: _Engine
    _wrapped: Any
    _tokenizer: Any

    def _current(self) -> _Engine:
        """The engine, made anew if tokens were added."""
        if self._tokenizer.get_vocab_size(with_added_tokens=True) != self._engine.size:
            vars(self)["_engine"] = _Engine(self)
        return self._engine

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        def left_alone() -> Any:
            found: Any = super(_Fast, self)._encode_plus(  # type: ignore[misc]
                text, text_pair, **options
            )
            return found

        texts = [text] if isinstance(text, str) else text
        if options.get("split_special_tokens") is None:
            options["split_special_tokens"] = getattr(self, "split_special_tokens", False)
        if (
            text_pair is not None
            or not isinstance(texts, (list, tuple))
            or not texts
            or not all(isinstance(each, str) for each in texts)
            or any(options.get(name) for name in LEFT_ALONE)
            or not options.keys() <= KNOWN
        ):
            return left_alone()
        call = _Call(self, self._current(), list(texts), options)
        if call.has_no_room or call.has_unknown_offsets:
            return left_alone()
        single = isinstance(text, str) and options.get("return_tensors") is None
        return _lazy_encoding()(call.data(single), options.get("return_tensors"), left_alone)

    def _decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **kwargs: Any,
    ) -> str:
        engine = self._current()
        clean_up = clean_up_tokenization_spaces
        if clean_up is None:
            clean_up = getattr(self, "clean_up_tokenization_spaces", False)
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        ids = [ids] if isinstance(ids, int) else ids
        if clean_up or kwargs or not engine.decodes or not isinstance(ids, list):
            found: str = super()._decode(  # type: ignore[misc]
                token_ids, skip_special_tokens, clean_up_tokenization_spaces, **kwargs
            )
            return found
        return engine.decode(ids, skip_special_tokens)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._wrapped, {k: v for k, v in vars(self).items() if k not in _OWN})


_OWN = ("_engine", "_wrapped", "_tokenizer")


def _restore(wrapped: Any, attributes: dict[str, Any]) -> Any:
    """Unpickle: what is made of the tokenizer is made again."""
    tokenizer = fast_tokenizer(wrapped)
    vars(tokenizer).update(attributes)
    return tokenizer


class _Call:
    """One call: texts to ids, truncated, surrounded, padded."""

    def __init__(self, owner: Any, engine: _Engine, texts: list[str], options: Any) -> None:
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
        """Whether offsets are wanted through a normalization, which tokenizers places otherwise."""
        form = self._engine.tokenizer.split_pattern.normalization
        if form is None or not self._options.get("return_offsets_mapping"):
            return False
        return not all(unicodedata.is_normalized(form, text) for text in self._texts)

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
        """What is wanted of each text: the ids and all that goes with them, in order."""
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
        """The ids of each text, truncated, and where they stand if that is wanted."""
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
        wanted = max(lengths) if strategy == "longest" else self._options["max_length"]
        multiple = self._options.get("pad_to_multiple_of")
        if multiple:
            wanted = -(-wanted // multiple) * multiple
        return [max(length, wanted) for length in lengths]

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
def _lazy_encoding() -> Any:
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
