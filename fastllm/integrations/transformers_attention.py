"""Attention of Hugging Face transformers: ``attn_implementation="fastllm"``, once registered."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from fastllm.integrations.transformers_models import kinds_of_layers, watch_models

if TYPE_CHECKING:
    import torch

__all__ = ["register"]


def register(name: str = "fastllm") -> None:
    """Make fastllm an attention implementation of transformers, for inference on the processor.

    Parameters
    ----------
    name : str, default "fastllm"
        What models are to call it: ``from_pretrained(..., attn_implementation=name)``, or
        ``model.set_attn_implementation(name)``.

    Raises
    ------
    ImportError
        If transformers is not installed.

    Notes
    -----
    A model that would not call it, or would not get the same result from it, is refused when it is
    loaded or told to use it, by a ValueError or NotImplementedError that names the model's class
    and says why. For that three methods of ``transformers.PreTrainedModel`` are wrapped:
    `get_correct_attn_implementation`, `post_init` and `set_attn_implementation`. Other
    implementations pass through them as before.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, attention_forward)
    AttentionMaskInterface.register(name, attention_mask)
    watch_models(name, frozenset(signature(attention_forward).parameters) | KNOWN)


def attention_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    *,
    allow_is_causal_skip: bool = True,
    allow_is_bidirectional_skip: bool = False,
    config: Any = None,
    **kwargs: Any,
) -> torch.Tensor | None:
    """Make the masks of "sdpa": boolean, and none at all where each layer knows as much.

    Without a mask a layer that is causal sees the past, its last query at the last key, and any
    other sees everything. So a mask is left out only where all layers of a model are of one kind.
    It is there for the first call on a static cache, whose last keys are still empty.
    """
    from transformers.masking_utils import sdpa_mask

    kinds = kinds_of_layers(config)
    mask: torch.Tensor | None = sdpa_mask(
        batch_size,
        q_length,
        kv_length,
        allow_is_causal_skip=allow_is_causal_skip
        and (q_length == 1 or (q_length == kv_length and kinds == {True})),
        allow_is_bidirectional_skip=allow_is_bidirectional_skip and kinds == {False},
        config=config,
        **kwargs,
    )
    return mask


# What models pass on to every layer, and what says the same to this function.
_SAID_ELSEWHERE = {
    "position_ids": "queries and keys are rotated already, and the mask knows packed sequences",
    "position_embeddings": "queries and keys are rotated already",
    "cache": "keys and values come from it",
    "cache_position": "the mask is made from it",
    "past_key_values": "keys and values come from it",
    "use_cache": "keys and values come from it",
    "layer_idx": "keys and values come from the cache of the layer",
    "deterministic": "results are always the same",
    "logits_to_keep": "for the output of a model",
    "num_items_in_batch": "for the loss of a model",
    "output_hidden_states": "for the output of a model",
    "output_router_logits": "for the output of a model",
    "return_dict": "for the output of a model",
}
# Where packed sequences begin, if there is no mask that says so.
_PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")
KNOWN = frozenset((*_SAID_ELSEWHERE, *_PACKED))


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    sinks: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    output_attentions: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks its implementations to.

    Parameters
    ----------
    module : torch.nn.Module
        The attention layer, which says whether it is causal.
    query, key, value : torch.Tensor, shapes (batch, heads, length, head_dim)
        Keys and values may have fewer heads, shared by groups. A batch of 1 serves every other.
    attention_mask : torch.Tensor or None, shape (batch, 1, q_len, kv_len)
        True, or a number to add, where a query may attend. Without a mask the last query of a
        causal layer is at the last key.
    dropout, scaling, is_causal, softcap
        As the layer wants them; None is the default of the layer.
    sliding_window : int, optional
        How many keys a query sees, its own included, where there is no mask: one has it in it.
    s_aux, sinks : torch.Tensor, shape (heads,) or (batch, heads, q_len, 1), optional
        Attention sinks, of which there is one name at a time.
    position_bias : torch.Tensor, optional
        Numbers to add to the scores.
    output_attentions : bool, optional
        Warns if true: weights are not kept.
    **kwargs
        What other implementations need, as far as its meaning is known.

    Returns
    -------
    (torch.Tensor, None)
        The result, shape (batch, q_len, heads, value_dim); weights are not kept.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `fastllm.integrations.torch.scaled_dot_product_attention`; NotImplementedError also if an
        argument has a meaning that is not known here.
    """
    from fastllm.integrations.torch import scaled_dot_product_attention
    from fastllm.integrations.torch.tensors import autocast_dtype

    if output_attentions:
        _warn_of_weights()
    options = _packed_sequences(kwargs, attention_mask)
    _refuse_unknown(module, kwargs)
    if s_aux is not None and sinks is not None:
        raise ValueError(f"{_name(module)} passes s_aux and sinks, which are one thing: pass one")

    q_len, kv_len = query.shape[2], key.shape[2]
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    window = None
    if attention_mask is None:
        window = _window(module, sliding_window, causal, q_len, kv_len)
    # One query is the last position, which sees every key; a mask says the rest.
    causal = causal and q_len > 1 and attention_mask is None
    if position_bias is not None:
        attention_mask = _biased_mask(position_bias, attention_mask)
        if causal and window is None:
            # Written as a window, since the flag and a mask exclude each other.
            window = (-1, 0)
        causal = False
    sinks = s_aux if sinks is None else sinks
    sink_per_query = sinks is not None and sinks.ndim == 4
    # Laid out as the layer wants to read it on, so that nothing is transposed afterwards.
    batch = max(part.shape[0] for part in (query, key, value))
    dtype = autocast_dtype(query.dtype)
    out = query.new_empty(batch, q_len, query.shape[1], value.shape[-1], dtype=dtype)
    result = scaled_dot_product_attention(
        query,
        key,
        value,
        attention_mask,
        dropout,
        causal,
        scaling,
        enable_gqa=True,
        causal_align="bottom-right",
        window=window,
        softcap=softcap or 0.0,
        sinks=None if sink_per_query else sinks,
        return_lse=sink_per_query,
        out=out.transpose(1, 2),
        **options,
    )
    if sink_per_query and sinks is not None:
        # What a sink adds to the sum of a row makes all its weights smaller by one factor.
        out.mul_((result[1].unsqueeze(-1) - sinks).sigmoid().transpose(1, 2))
    return out, None


def _name(module: torch.nn.Module) -> str:
    return type(module).__name__


def _warn_of_weights() -> None:
    from transformers.utils import logging

    logging.get_logger(__name__).warning_once(
        "fastllm attention does not support `output_attentions=True`: the attention weights are "
        "not kept, and the outputs have None in their place. Set the attention to `eager` if you "
        "want them."
    )


def _packed_sequences(
    kwargs: dict[str, Any], attention_mask: torch.Tensor | None
) -> dict[str, torch.Tensor]:
    """Take what says where packed sequences begin out of the keywords; a mask says it, too."""
    packed = {name: kwargs.pop(name, None) for name in _PACKED}
    if attention_mask is not None:
        return {}
    if packed["cu_seq_lens_q"] is None or packed["cu_seq_lens_k"] is None:
        kwargs.update(packed)  # half of it says nothing: to be refused
        return {}
    return {"cu_seqlens_q": packed["cu_seq_lens_q"], "cu_seqlens_k": packed["cu_seq_lens_k"]}


def _refuse_unknown(module: torch.nn.Module, kwargs: dict[str, Any]) -> None:
    for name, value in kwargs.items():
        if name not in _SAID_ELSEWHERE and value is not None and value is not False:
            raise NotImplementedError(
                f"{_name(module)} passes {name}= to its attention, which fastllm does not know "
                'how to apply: load the model with attn_implementation="sdpa" or "eager"'
            )


def _window(
    module: torch.nn.Module, sliding_window: int | None, causal: bool, q_len: int, kv_len: int
) -> tuple[int, int] | None:
    """The window of a layer without a mask: `sliding_window` keys up to that of the query."""
    if sliding_window is None or sliding_window >= kv_len:
        return None
    if not causal:
        raise NotImplementedError(
            f"{_name(module)} passes sliding_window={sliding_window} for {kv_len} keys without "
            "a mask and is not causal: on which side of the query the window lies is in the mask"
        )
    return sliding_window - 1, 0


def _biased_mask(position_bias: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    import torch

    if attention_mask is None:
        return position_bias
    if attention_mask.dtype == torch.bool:
        return position_bias.masked_fill(~attention_mask, float("-inf"))
    return position_bias + attention_mask
