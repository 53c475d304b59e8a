"""Attention on PyTorch tensors, in place of `torch.nn.functional.scaled_dot_product_attention`.

Tensors in the memory of the processor are NumPy arrays by another name: nothing is copied on the
way in or out. Inference only: there are no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.bias import CausalBias, CausalVariant

from fastllm.integrations.torch.direct import attend
from fastllm.integrations.torch.operator import attend_by_operator, is_traced
from fastllm.integrations.torch.tensors import autocast

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | torch.Tensor | None = None,
    enable_gqa: bool = False,
    *,
    return_lse: bool = False,
    out: torch.Tensor | None = None,
    **options: Any,
) -> Any:
    """Do what `fastllm.scaled_dot_product_attention` does, from tensors to tensors.

    Parameters
    ----------
    query, key, value : torch.Tensor, shapes (..., heads, length, head_dim)
        Tensors of float32, float64, float16 or bfloat16 in the memory of the processor, with any
        strides.
    attn_mask, dropout_p, is_causal, scale, enable_gqa
        As in PyTorch. The biases of ``torch.nn.attention.bias``, `causal_upper_left` and
        `causal_lower_right`, are masks of the size of the scores.
    return_lse : bool, default False
        Whether to return also the logarithm of the sum of each row's exponentials.
    out : torch.Tensor, optional
        Where to write the result.
    **options
        The other keyword arguments of `fastllm.scaled_dot_product_attention`, as tensors or not.

    Returns
    -------
    torch.Tensor
        The result, or with ``return_lse=True`` a pair of tensors.

    Raises
    ------
    TypeError
        If query, key, value, mask or out is not a tensor, if a tensor is of a subclass that is more
        than numbers in memory (such as MaskedTensor, NestedTensor or DTensor), or as the function
        on arrays does.
    ValueError
        If a tensor is on another device or sparse, or needs gradients (outside of
        ``torch.no_grad()``), or as the function on arrays does.
    """
    if isinstance(attn_mask, CausalBias):
        is_causal, options["causal_align"] = _causal_bias(attn_mask, query, key, is_causal, options)
        attn_mask = None
    if torch.is_autocast_enabled("cpu"):
        query, key, value, attn_mask = map(autocast, (query, key, value, attn_mask))
    attend_here = attend_by_operator if is_traced(query, key, value) else attend
    context, lse = attend_here(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        return_lse,
        out,
        **options,
    )
    return (context, lse) if return_lse else context


def _causal_bias(
    bias: CausalBias,
    query: torch.Tensor,
    key: torch.Tensor,
    is_causal: bool,
    options: dict[str, Any],
) -> tuple[bool, str]:
    """What `is_causal` and `causal_align` are for a bias of PyTorch, which holds no numbers."""
    if is_causal or "causal_align" in options:
        raise ValueError(
            "is_causal and causal_align must not be given where attn_mask is a CausalBias, "
            "which says both"
        )
    shape, of_bias = (query.shape[-2], key.shape[-2]), (bias.seq_len_q, bias.seq_len_kv)
    if shape != of_bias:
        raise ValueError(
            f"attn_mask must be a CausalBias of (q_len, kv_len) = {shape}, got one of {of_bias}"
        )
    lower_right = bias.variant is CausalVariant.LOWER_RIGHT
    return True, "bottom-right" if lower_right else "top-left"
