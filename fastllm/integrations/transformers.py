"""fastllm inside Hugging Face's transformers: the same tokenizer, encoding and decoding by ours.

Needs transformers 5 or later (the extra ``transformers``).
"""

from typing import Any

from fastllm.integrations.transformers_attention import register
from fastllm.integrations.transformers_call import Call, lazy_encoding
from fastllm.integrations.transformers_engine import Engine

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
    vars(tokenizer).update(_wrapped=hf_tokenizer, _engine=Engine(hf_tokenizer))
    return tokenizer


class _Fast:
    """What is put before the class of the wrapped tokenizer."""

    _engine: Engine
    _wrapped: Any
    _tokenizer: Any

    def _current(self) -> Engine:
        """The engine, made anew if tokens were added."""
        if self._tokenizer.get_vocab_size(with_added_tokens=True) != self._engine.size:
            vars(self)["_engine"] = Engine(self)
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
        call = Call(self, self._current(), list(texts), options)
        if call.has_no_room or call.has_unknown_offsets:
            return left_alone()
        single = isinstance(text, str) and options.get("return_tensors") is None
        return lazy_encoding()(call.data(single), options.get("return_tensors"), left_alone)

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
