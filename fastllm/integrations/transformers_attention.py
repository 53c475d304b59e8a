"""Attention of Hugging Face transformers: ``attn_implementation="fastllm"``, once registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(name, attention_forward)
    # The masks of "sdpa": boolean, and none at all where the causal flag says the same.
    AttentionMaskInterface.register(name, sdpa_mask)


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend as transformers asks its implementations to.

    Parameters
    ----------
    module : torch.nn.Module
        The attention layer, which says whether it is causal.
    query, key, value : torch.Tensor, shapes (batch, heads, length, head_dim)
        Keys and values may have fewer heads, shared by groups.
    attention_mask : torch.Tensor or None, shape (batch, 1, q_len, kv_len)
        True, or a number to add, where a query may attend.
    dropout, scaling, is_causal, softcap
        As the layer wants them; None is the default of the layer.
    s_aux : torch.Tensor, shape (heads,), optional
        Attention sinks.
    position_bias : torch.Tensor, optional
        Numbers to add to the scores.
    **kwargs
        What other implementations need.

    Returns
    -------
    (torch.Tensor, None)
        The result, shape (batch, q_len, heads, value_dim); weights are not kept.

    Raises
    ------
    TypeError, ValueError, NotImplementedError
        As `fastllm.integrations.torch.scaled_dot_product_attention`.
    """
    import torch

    from fastllm.integrations.torch import scaled_dot_product_attention
    from fastllm.integrations.torch.tensors import autocast_dtype

    batch, heads, q_len = query.shape[:3]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # One query is the last position, which sees every key; a mask says the rest.
    causal = bool(causal) and q_len > 1 and attention_mask is None
    window = None
    if position_bias is not None:
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            position_bias = position_bias.masked_fill(~attention_mask, float("-inf"))
        elif attention_mask is not None:
            position_bias = position_bias + attention_mask
        attention_mask = position_bias
        if causal:
            # Written as a window, since the flag and a mask exclude each other.
            causal, window = False, (-1, 0)
    # Laid out as the layer wants to read it on, so that nothing is transposed afterwards.
    dtype = autocast_dtype(query.dtype)
    out = query.new_empty(batch, q_len, heads, value.shape[-1], dtype=dtype)
    scaled_dot_product_attention(
        query,
        key,
        value,
        attention_mask,
        dropout,
        causal,
        scaling,
        enable_gqa=True,
        window=window,
        softcap=softcap or 0.0,
        sinks=s_aux,
        out=out.transpose(1, 2),
    )
    return out, None
