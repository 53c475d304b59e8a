"""Attention on tensors whose numbers are in memory: through NumPy, without copies."""

from __future__ import annotations

from typing import Any

import torch

from fastllm import _backend
from fastllm.api.threads import follow
from fastllm.checks.attention import Array, refuse_dtypes, refuse_out_dtype
from fastllm.integrations.torch.tensors import array_of, dtype_name, option_of

# Attention takes no more threads than PyTorch does.
follow(torch.get_num_threads)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | torch.Tensor | None,
    enable_gqa: bool,
    return_lse: bool,
    out: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The result, and the logarithms of the sums if they are asked for."""
    arrays = array_of("query", query), array_of("key", key), array_of("value", value)
    dtype = query.dtype
    check_dtypes(dtype, key.dtype, value.dtype)
    result = _backend.attention.scaled_dot_product_attention(
        *arrays,
        None if attn_mask is None else _mask(attn_mask),
        dropout_p,
        is_causal,
        option_of("scale", scale),
        enable_gqa,
        return_lse=return_lse,
        out=None if out is None else _out(out, dtype),
        **{name: option_of(name, option) for name, option in options.items()},
    )
    context, lse = result if return_lse else (result, None)
    if out is None:
        out = torch.from_numpy(context)
        if dtype is torch.bfloat16:
            out = out.view(torch.bfloat16)
    else:
        # What autograd has kept for a backward pass is no longer what it was.
        torch.autograd.graph.increment_version(out)
    return out, None if lse is None else torch.from_numpy(lse)


def check_dtypes(query: torch.dtype, key: torch.dtype, value: torch.dtype) -> None:
    """Refuse a mix with bfloat16 in PyTorch's words: NumPy knows it as uint16."""
    if not query is key is value and torch.bfloat16 in (query, key, value):
        refuse_dtypes(dtype_name(query), dtype_name(key), dtype_name(value))


def _mask(mask: torch.Tensor) -> Array:
    if not isinstance(mask, torch.Tensor):
        raise TypeError(f"attn_mask must be a torch.Tensor, got {type(mask).__name__}")
    array: Array = option_of("attn_mask", mask)
    return array


def _out(out: torch.Tensor, dtype: torch.dtype) -> Array:
    """The memory of `out`, for a result of queries of this dtype."""
    array = array_of("out", out)
    if out.is_neg() or any(s == 0 and n > 1 for n, s in zip(out.shape, out.stride(), strict=True)):
        raise ValueError(
            "out must have a number in memory for each of its elements, "
            "got a tensor that repeats or negates those of another"
        )
    if out.dtype is not dtype and torch.bfloat16 in (out.dtype, dtype):
        result = dtype if dtype.is_floating_point else torch.float64
        refuse_out_dtype(dtype_name(result), dtype_name(out.dtype))
    return array
