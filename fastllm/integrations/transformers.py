"""fastllm inside Hugging Face's transformers: the same tokenizer, encoding and decoding by ours.

Needs transformers 5 or later (the extra ``transformers``).
"""

import warnings
from collections.abc import Callable
from typing import Any

from fastllm.integrations.transformers_attention import register
from fastllm.integrations.transformers_call import Call, lazy_encoding
from fastllm.integrations.transformers_engine import Engine, engine_of, settings

__all__ = ["fast_tokenizer", "register"]

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


def fast_tokenizer(hf_tokenizer: Any) -> Any:
    """A tokenizer of transformers that encodes and decodes by fastllm.

    Parameters
    ----------
    hf_tokenizer : PreTrainedTokenizerFast
        A tokenizer of byte-level BPE (GPT-2, Llama 3, Qwen, DeepSeek, SmolLM), of BPE over
        characters (Llama 2, Mistral, Gemma), of WordPiece (BERT and most models of embeddings) or
        Unigram (T5, XLM-R, ALBERT).

    Returns
    -------
    PreTrainedTokenizerFast
        An object of a class derived from the tokenizer's own, with the same attributes and methods:
        padding, truncation, attention masks, offsets, special tokens, chat templates, saving. Ids
        are the same. Texts split into words, overflowing tokens and special tokens that are to be
        split are left to the wrapped tokenizer, and so is what a `BatchEncoding` tells beyond its
        data (`word_ids`, `char_to_token`), when it is asked for.

    Raises
    ------
    TypeError
        If it is not a tokenizer of the tokenizers library; the message says what its ids come from.
    ValueError
        If it does something that is not done here; the message names it.

    Warns
    -----
    UserWarning
        Once, if the tokenizer is changed into one that is not done here: it then goes on by itself,
        more slowly, until it is changed back.

    Notes
    -----
    What is changed later is noticed: tokens added, a token made special, another normalizer,
    pre-tokenizer, decoder or post-processor, `dropout` and the other parameters of the model. Both
    objects share the tokenizer of the tokenizers library inside. The class of the result does what
    the wrapped one does: `from_pretrained` and `train_new_from_iterator` make tokenizers that use
    fastllm too.
    """
    from transformers import PreTrainedTokenizerFast

    if not isinstance(hf_tokenizer, PreTrainedTokenizerFast):
        kind = type(hf_tokenizer).__name__
        raise TypeError(
            "hf_tokenizer must be a PreTrainedTokenizerFast, one that the tokenizers library "
            f"backs, not {kind}{_why_slow(hf_tokenizer)}"
        )
    if isinstance(hf_tokenizer, _Fast):
        return hf_tokenizer
    engine = engine_of(hf_tokenizer)
    tokenizer = _derived(type(hf_tokenizer), vars(hf_tokenizer))
    vars(tokenizer)["_engine"] = engine
    return tokenizer


def _why_slow(hf_tokenizer: Any) -> str:
    """What the ids of a tokenizer without the tokenizers library behind it come from."""
    from transformers import PythonBackend, SentencePieceBackend

    if not isinstance(hf_tokenizer, PythonBackend):
        return ""
    of_whom = "transformers makes none of the tokenizers library of it"
    if isinstance(hf_tokenizer, SentencePieceBackend):
        return (
            f": its ids come from a SentencePiece model and Python code around it, and {of_whom}; "
            "fastllm.load_tokenizer reads the .model alone"
        )
    return f": its ids come from Python code of its class, and {of_whom}"


def _derived(kind: type[Any], attributes: dict[str, Any]) -> Any:
    """A tokenizer with these attributes, of a class derived from `kind`."""
    # The same name: save_pretrained writes it, and from_pretrained looks for it.
    derived: Any = type(
        kind.__name__, (_Fast, kind), {"__module__": kind.__module__, "_wrapped_kind": kind}
    )
    tokenizer = object.__new__(derived)
    vars(tokenizer).update(attributes)
    return tokenizer


class _Fast:
    """What is put before the class of the wrapped tokenizer."""

    _wrapped_kind: type[Any]
    _tokenizer: Any
    clean_up_tokenization: Callable[[str], str]

    def _current(self) -> Engine | None:
        """The engine, made anew if the tokenizer was changed; None if none can be made of it."""
        engine: Engine | None = vars(self).get("_engine")
        if engine is not None and engine.is_of(self._tokenizer):
            return engine
        now = settings(self._tokenizer)
        if vars(self).get("_refused") == now:
            return None
        try:
            engine = vars(self)["_engine"] = engine_of(self)
        except ValueError as error:
            vars(self)["_refused"] = now
            warnings.warn(
                f"the tokenizers library does this tokenizer's work from here on, more slowly: "
                f"{error}",
                stacklevel=4,
            )
            return None
        return engine

    def _encode_plus(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        def left_alone() -> Any:
            found: Any = super(_Fast, self)._encode_plus(  # type: ignore[misc]
                text, text_pair, **options
            )
            return found

        if options.get("split_special_tokens") is None:
            options["split_special_tokens"] = getattr(self, "split_special_tokens", False)
        sides = _sides(text, text_pair)
        if (
            sides is None
            or any(options.get(name) for name in LEFT_ALONE)
            or not options.keys() <= KNOWN
        ):
            return left_alone()
        engine = self._current()
        if engine is None:
            return left_alone()
        template = engine.template(
            self._tokenizer, options.get("add_special_tokens", True), len(sides) == 2
        )
        if template is None:
            return left_alone()
        call = Call(self, engine, sides, template, options)
        if call.has_no_room or call.has_unknown_offsets:
            return left_alone()
        tensors = options.get("return_tensors")
        data = call.data(single=isinstance(text, str) and tensors is None)
        if data is None:
            return left_alone()
        return lazy_encoding()(data, tensors, left_alone, len(sides))

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
        is_left_alone = kwargs or (clean_up and _is_bpe(self._tokenizer))
        if engine is None or is_left_alone or not _are_ids(ids):
            found: str = super()._decode(  # type: ignore[misc]
                token_ids, skip_special_tokens, clean_up_tokenization_spaces, **kwargs
            )
            return found
        text = engine.decode(ids, skip_special_tokens)
        return self.clean_up_tokenization(text) if clean_up else text

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = {name: value for name, value in vars(self).items() if name not in _OWN}
        return _derived, (self._wrapped_kind, attributes)


_OWN = ("_engine", "_refused")


def _is_bpe(backend: Any) -> bool:
    """Whether transformers cleans up no decoded texts of this tokenizer, and says so."""
    return type(backend.model).__name__ == "BPE"


def _sides(text: Any, pair: Any) -> list[list[str]] | None:
    """The texts of a call, of pairs all the first and all the second; None for all else."""
    if isinstance(text, str):
        sides = [[text], [pair]] if pair else [[text]]
    elif not isinstance(text, (list, tuple)) or not text or isinstance(pair, str):
        return None
    elif pair is not None:
        sides = [list(text), list(pair)] if isinstance(pair, (list, tuple)) else [[None]]
    elif all(isinstance(each, (list, tuple)) and len(each) == 2 for each in text):
        sides = [[first for first, _ in text], [second for _, second in text]]
    else:
        sides = [list(text)]
    if len({len(side) for side in sides}) != 1:
        return None
    return sides if all(isinstance(each, str) for side in sides for each in side) else None


def _are_ids(ids: object) -> bool:
    """Whether `ids` is a list of what may be ids; the wrapped tokenizer says what is not."""
    if not isinstance(ids, list) or not set(map(type, ids)) <= {int}:
        return False
    return min(ids, default=0) >= 0 and max(ids, default=0) < 1 << 32
