"""Tensors of PyTorch as NumPy arrays over the same memory; what has no such memory is refused."""

# Some functions of PyTorch carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch.autograd import forward_ad

from fastllm.checks.attention import Array

_PLAIN = {torch.Tensor, torch.nn.Parameter}
_HALF_AND_SINGLE = (torch.float16, torch.bfloat16, torch.float32)


def array_of(name: str, tensor: torch.Tensor) -> Array:
    """The memory of a tensor; that of bfloat16 as its bits, which NumPy has no type for."""
    if type(tensor) not in _PLAIN:
        check_class(name, tensor)
    if not tensor.is_cpu or tensor.layout is not torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor on the processor (device cpu), "
            f"got {tensor.layout} on {tensor.device}"
        )
    check_no_gradients(name, tensor)
    try:
        plain = tensor.detach() if tensor.requires_grad else tensor
        if plain.is_neg():
            plain = plain.resolve_neg()
        if plain.dtype is torch.bfloat16:
            plain = plain.view(torch.uint16)
        elif plain.dtype is torch.uint16:
            raise TypeError
        array: Array = plain.numpy()
    except (RuntimeError, TypeError) as error:
        _refuse_memory(name, tensor, error)
    # Where a storage was freed, views are said to be as far from address 0 as from its start.
    if tensor.data_ptr() == tensor.storage_offset() * array.itemsize and array.size:
        raise TypeError(f"{name} must be a torch.Tensor with numbers in memory, got one without")
    return array


def check_class(name: str, tensor: object, also: tuple[type, ...] = ()) -> None:
    """Refuse what is no tensor, and subclasses that are more than their memory, but for `also`."""
    if type(tensor) in (*_PLAIN, *also):
        return
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    kind = type(tensor)
    # By these a subclass gives its tensors another meaning.
    if not {_definer(kind, "__torch_function__"), _definer(kind, "__torch_dispatch__")} <= _PLAIN:
        raise TypeError(
            f"{name} must be a plain torch.Tensor, got {kind.__name__}, "
            "a subclass that is more than numbers in memory"
        )


def _definer(kind: type, method: str) -> type:
    """The class that a method comes from."""
    return next(base for base in kind.__mro__ if method in vars(base))


def check_no_gradients(name: str, tensor: torch.Tensor) -> None:
    """Refuse a tensor whose gradient or tangent would be lost."""
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} needs gradients, and fastllm computes inference: "
            f"call it under torch.no_grad(), or pass {name}.detach()"
        )
    if forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None:
        raise ValueError(
            f"{name} has a tangent (forward-mode gradient), and fastllm computes inference"
        )


def autocast(tensor: Any) -> Any:
    """The tensor as ``torch.autocast`` casts arguments of attention: all but float64 and no floats.

    >>> with torch.autocast("cpu", torch.bfloat16):
    ...     [autocast(torch.ones(1, dtype=dtype)).dtype for dtype in (torch.float32, torch.float64)]
    [torch.bfloat16, torch.float64]
    """
    if not isinstance(tensor, torch.Tensor) or not tensor.is_cpu:
        return tensor
    return tensor.to(autocast_dtype(tensor.dtype))


def autocast_dtype(dtype: torch.dtype) -> torch.dtype:
    """What ``torch.autocast`` makes of a dtype of an argument of attention, where it is on."""
    if dtype in _HALF_AND_SINGLE and torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return dtype


def dtype_name(dtype: torch.dtype) -> str:
    """The name that NumPy has for it, or would have.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def _refuse_memory(name: str, tensor: torch.Tensor, error: Exception) -> NoReturn:
    """Say what is wrong with a tensor that NumPy cannot have."""
    if isinstance(error, TypeError):
        raise TypeError(
            f"{name} must hold bfloat16, float16, float32 or float64 numbers or integers, "
            f"got dtype {dtype_name(tensor.dtype)}"
        ) from None
    kind = "a tensor"
    if tensor.is_nested:
        kind = "a NestedTensor"
    elif tensor._is_zerotensor():
        kind = "a ZeroTensor"
    raise TypeError(
        f"{name} must be a torch.Tensor with numbers in memory, got {kind} without: {error}"
    ) from None


def option_of(name: str, option: Any) -> Any:
    """An option as the function on arrays takes it, which knows no tensors."""
    if not isinstance(option, torch.Tensor):
        return option
    return array_of(name, option.float() if option.dtype is torch.bfloat16 else option)
