"""Attention on PyTorch tensors, in place of `torch.nn.functional.scaled_dot_product_attention`.

Tensors in the memory of the processor are NumPy arrays by another name: nothing is copied on the
way in or out. Inference only: there are no gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastllm import _backend

if TYPE_CHECKING:
    import torch

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
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
        As in PyTorch.
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
        If query, key, value, mask or out is not a tensor, or as the function on arrays does.
    ValueError
        If a tensor is on another device or sparse, or needs gradients (outside of
        ``torch.no_grad()``), or as the function on arrays does.
    """
    import torch

    result = _backend.attention.scaled_dot_product_attention(
        _array("query", query),
        _array("key", key),
        _array("value", value),
        None if attn_mask is None else _mask(attn_mask),
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        return_lse=return_lse,
        out=None if out is None else _array("out", out),
        **{name: _option(name, option) for name, option in options.items()},
    )
    context, lse = result if return_lse else (result, None)
    if out is None:
        out = torch.from_numpy(context)
        if query.dtype == torch.bfloat16:
            out = out.view(torch.bfloat16)
    return out if lse is None else (out, torch.from_numpy(lse))


def _array(name: str, tensor: torch.Tensor) -> Any:
    """The memory of a tensor; that of bfloat16 as its bits, which NumPy has no type for."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.device.type != "cpu" or tensor.layout != torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor on the processor (device cpu), "
            f"got {tensor.layout} on {tensor.device}"
        )
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} needs gradients, and fastllm computes inference: "
            f"call it under torch.no_grad(), or pass {name}.detach()"
        )
    tensor = tensor.detach().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    elif tensor.dtype == torch.uint16:
        raise TypeError(f"{name} must hold floating-point numbers, got {tensor.dtype}")
    return tensor.numpy()


def _mask(mask: torch.Tensor) -> Any:
    import torch

    if isinstance(mask, torch.Tensor) and mask.dtype == torch.bfloat16:
        mask = mask.float()
    return _array("attn_mask", mask)


def _option(name: str, option: Any) -> Any:
    import torch

    if not isinstance(option, torch.Tensor):
        return option
    return _array(name, option.float() if option.dtype == torch.bfloat16 else option)
