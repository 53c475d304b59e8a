"""Attention as an operator of PyTorch: ``torch.ops.fastllm.scaled_dot_product_attention``.

What traces rather than computes needs more than a Python function: ``torch.compile`` and
``torch.export`` a name with a schema for their graphs, and the shapes of results of tensors that
hold no numbers (`_attend_fake`); ``torch.vmap`` a rule for a dimension more (`_attend_batched`).
Calls on plain tensors do not go through here: to dispatch costs more than a small call.

There are two operators: one makes its result, the other writes into `out`, as its schema says.
Logarithms of sums are returned always, empty if not asked for, since a schema has one type.
"""

# Some functions of PyTorch carry no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from fastllm.checks.attention import refuse_shapes
from fastllm.integrations.torch.direct import attend, check_dtypes
from fastllm.integrations.torch.tensors import check_class, check_no_gradients

_LIBRARY = torch.library.Library("fastllm", "FRAGMENT")
_NAME = "scaled_dot_product_attention"
_NAME_OUT = f"{_NAME}_out"
_SCHEMA = (
    "Tensor query, Tensor key, Tensor value, Tensor? attn_mask, float dropout_p, bool is_causal, "
    "float? scale, bool enable_gqa, bool return_lse, str causal_align, int[]? window, "
    "float softcap, Tensor? alibi_slopes, Tensor? sinks, Tensor? kv_lens, Tensor? cu_seqlens_q, "
    "Tensor? cu_seqlens_k"
)
_TENSORS = (
    *("query", "key", "value", "attn_mask", "alibi_slopes", "sinks", "kv_lens"),
    *("cu_seqlens_q", "cu_seqlens_k", "out"),
)


class OperatorArguments(NamedTuple):
    """The arguments of both operators, in the order of the schema."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    dropout_p: float
    is_causal: bool
    scale: float | None
    enable_gqa: bool
    return_lse: bool
    causal_align: str
    window: list[int] | None
    softcap: float
    alibi_slopes: Tensor | None
    sinks: Tensor | None
    kv_lens: Tensor | None
    cu_seqlens_q: Tensor | None
    cu_seqlens_k: Tensor | None


# --- On tensors with numbers, and on tensors without ---------------------------------------------


def _attend(*arguments: Any) -> tuple[Tensor, Tensor]:
    given = OperatorArguments(*arguments)
    context, lse = _attend_into(given, None)
    return context, _no_lse(given) if lse is None else lse


def _attend_out(*arguments: Any) -> Tensor:
    given, out = OperatorArguments(*arguments[:-1]), arguments[-1]
    _, lse = _attend_into(given, out)
    return _no_lse(given) if lse is None else lse


def _attend_into(given: OperatorArguments, out: Tensor | None) -> tuple[Tensor, Tensor | None]:
    keywords = given._asdict() | {"out": out}
    if given.window is not None:
        keywords["window"] = tuple(given.window)
    return attend(**keywords)


def _no_lse(given: OperatorArguments) -> Tensor:
    return given.query.new_empty(0, dtype=_sum_dtype(given.query))


def _sum_dtype(query: Tensor) -> torch.dtype:
    half_or_single = (torch.float32, torch.float16, torch.bfloat16)
    return torch.float32 if query.dtype in half_or_single else torch.float64


def _attend_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Results without numbers; what depends on numbers, and is wrong, is told when there are."""
    given = OperatorArguments(*arguments)
    query, key, value = given[:3]
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_no_gradients(name, tensor)
        if tensor.device != query.device:
            raise ValueError(f"{name} must be on the device of query, got {tensor.device}")
    check_dtypes(query.dtype, key.dtype, value.dtype)
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        refuse_shapes(query, key, value)
    rows = (*_lead(given), query.shape[-2])
    dtype = query.dtype if query.is_floating_point() else torch.float64
    context = query.new_empty((*rows, value.shape[-1]), dtype=dtype)
    if not given.return_lse:
        return context, _no_lse(given)
    return context, query.new_empty(rows, dtype=_sum_dtype(query))


def _lead(given: OperatorArguments) -> tuple[int, ...]:
    """The leading dimensions of the result."""
    shapes = [tensor.shape for tensor in given[:3]]
    if not given.enable_gqa:
        return tuple(torch.broadcast_shapes(*(shape[:-2] for shape in shapes)))
    return (*torch.broadcast_shapes(*(shape[:-3] for shape in shapes)), shapes[0][-3])


def _attend_out_fake(*arguments: Any) -> Tensor:
    return _attend_fake(*arguments[:-1])[1]


# --- On a batch of what the caller sees ----------------------------------------------------------


def _attend_batched(info: Any, in_dims: Any, *arguments: Any) -> Any:
    """The rule of ``torch.vmap``: its dimension becomes the first one, before the heads."""
    given, dims = OperatorArguments(*arguments), _of_each(in_dims)
    context, lse = _operator(_NAME)(*_with_batch_first(given, dims, info.batch_size))
    if _rank(given, dims) == 2:
        context, lse = context.squeeze(-3), lse.squeeze(-2) if given.return_lse else lse
    return (context, lse), (0, 0 if given.return_lse else None)


def _attend_out_batched(info: Any, in_dims: Any, *arguments: Any) -> Any:
    given, dims = OperatorArguments(*arguments[:-1]), _of_each(in_dims[:-1])
    if in_dims[-1] is None:
        raise ValueError("out must have the dimension of torch.vmap if any argument has it")
    out, without_heads = arguments[-1].movedim(in_dims[-1], 0), _rank(given, dims) == 2
    if without_heads:
        out = out.unsqueeze(-3)
    lse = _operator(_NAME_OUT)(*_with_batch_first(given, dims, info.batch_size), out)
    if without_heads and given.return_lse:
        lse = lse.squeeze(-2)
    return lse, 0 if given.return_lse else None


def _operator(name: str) -> Any:
    return getattr(torch.ops.fastllm, name)


def _of_each(in_dims: Any) -> Any:
    """Which dimension of each argument is the one of ``torch.vmap``, or None, by name."""
    return OperatorArguments(*in_dims)


def _rank(given: OperatorArguments, dims: Any) -> int:
    """How many dimensions the caller sees in the result."""
    seen = zip(given[:3], dims[:3], strict=True)
    return max(int(tensor.ndim) - (dim is not None) for tensor, dim in seen)


def _with_batch_first(given: OperatorArguments, dims: Any, batch_size: int) -> OperatorArguments:
    """The arguments with the dimension of ``torch.vmap`` in front, one of heads being added.

    What does not have that dimension stays, and is broadcast; but for the query, which says how
    many results there are.
    """
    if dims.cu_seqlens_q is not None or dims.cu_seqlens_k is not None:
        raise ValueError("cu_seqlens_q and cu_seqlens_k must be the same for all of torch.vmap")
    rank = max(3, _rank(given, dims))
    query = given.query
    if dims.query is None:
        query, dims = query.expand(batch_size, *query.shape), dims._replace(query=0)
    given = given._replace(query=query)
    ranks = dict.fromkeys(("query", "key", "value", "attn_mask"), rank)
    ranks |= {"alibi_slopes": rank - 2, "sinks": rank - 2, "kv_lens": rank - 3}
    moved: dict[str, Any] = {
        name: _batch_first(getattr(given, name), getattr(dims, name), seen)
        for name, seen in ranks.items()
    }
    return given._replace(**moved)


def _batch_first(tensor: Tensor | None, dim: int | None, rank: int) -> Tensor | None:
    """The tensor with `dim` in front of `rank` others, as many as the caller may see."""
    if tensor is None or dim is None:
        return tensor
    tensor = tensor.movedim(dim, 0)
    ones = rank + 1 - tensor.ndim
    return tensor.reshape(tensor.shape[0], *[1] * ones, *tensor.shape[1:])


# --- The operators -------------------------------------------------------------------------------


def _register(name: str, schema: str, attend: Any, fake: Any, batched: Any) -> None:
    _LIBRARY.define(f"{name}({schema}", tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, attend, "CPU")
    torch.library.register_fake(f"fastllm::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"fastllm::{name}", batched, lib=_LIBRARY)


_register(_NAME, f"{_SCHEMA}) -> (Tensor, Tensor)", _attend, _attend_fake, _attend_batched)
_register(
    _NAME_OUT,
    f"{_SCHEMA}, Tensor(a!) out) -> Tensor",
    _attend_out,
    _attend_out_fake,
    _attend_out_batched,
)


# --- When to call them, and how ------------------------------------------------------------------


def is_traced(*tensors: Tensor) -> bool:
    """Whether a call is written down or transformed rather than computed."""
    return bool(
        torch.compiler.is_dynamo_compiling()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or all(isinstance(x, FakeTensor) or getattr(x, "is_meta", False) for x in tensors)
    )


def attend_by_operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | Tensor | None,
    enable_gqa: bool,
    return_lse: bool,
    out: Tensor | None,
    *,
    causal_align: str = "top-left",
    window: tuple[int, int] | None = None,
    softcap: float | Tensor = 0.0,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lens: Any = None,
    cu_seqlens_q: Any = None,
    cu_seqlens_k: Any = None,
) -> tuple[Tensor, Tensor | None]:
    """`fastllm.integrations.torch.direct.attend`, for what traces."""
    given = OperatorArguments(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        None if scale is None else float(scale),
        enable_gqa,
        return_lse,
        causal_align,
        None if window is None else list(window),
        float(softcap),
        *map(_tensor, (alibi_slopes, sinks, kv_lens, cu_seqlens_q, cu_seqlens_k)),
    )
    tensors = given._asdict() | {"out": out}
    for name in _TENSORS:
        if tensors[name] is not None:
            check_class(name, tensors[name], also=(FakeTensor, FunctionalTensor))
            check_no_gradients(name, tensors[name])
    if out is None:
        context, lse = _operator(_NAME)(*given)
        return context, lse if return_lse else None
    lse = _operator(_NAME_OUT)(*given, out)
    return out, lse if return_lse else None


def _tensor(option: Any) -> Any:
    return option if option is None or isinstance(option, Tensor) else torch.as_tensor(option)
