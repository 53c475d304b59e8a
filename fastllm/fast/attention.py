"""The attention of the reference, compiled: an engine with the same results.

The entry point: arguments that have been checked are laid out (`_attention/layout.py`), a plan
chooses the kernel (`_attention/plan.py`, which says what decides), and the kernel is run.
"""

import importlib.util
import math
from typing import Any

import numpy as np

from fastllm.api.attention import AttentionEngine, AttentionFunctions
from fastllm.checks.attention import Array, AttentionArguments, AttentionSteps
from fastllm.fast._attention import load_kernels
from fastllm.fast._attention import plan as plans
from fastllm.fast._attention.layout import (
    flat_input,
    flat_output,
    output_array,
    read_only,
    result_of,
    storage_dtype,
    with_element_strides,
)
from fastllm.fast._attention.params import ADDITIVE_MASK, BOOL_MASK, NO_MASK, NONFINITE, Inputs
from fastllm.fast._attention.runtime import thread_pool

if importlib.util.find_spec("numba") is None:
    raise ImportError(
        "the compiled attention needs numba, which is not installed "
        "(pip install numba); fastllm.reference.attention works without it"
    )

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

_NO_SLOTS = np.zeros(0, np.int64)
_NO_BOOL_MASK = read_only(np.zeros(1, np.uint8))
_NO_ADDITIVE_MASK = {size: read_only(np.zeros(1, f"f{size}")) for size in (4, 8)}


def softmax_along(scores: Array, axis: int) -> Array:
    """The softmax of `scores` along an axis, in their dtype."""
    rows = np.ascontiguousarray(np.moveaxis(scores, axis, -1))
    weights = np.empty(rows.shape, rows.dtype)
    if rows.size:
        length = rows.shape[-1]
        n_rows = rows.size // length
        rows_per_item = max(1, 65536 // length)
        _launch(
            "softmax_rows",
            (read_only(rows.reshape(-1)), weights.reshape(-1), n_rows, length, rows_per_item),
            n_items=math.ceil(n_rows / rows_per_item),
            # An exponential and its share of the memory traffic weigh about 16 FMAs.
            fmas=16 * rows.size,
        )
    return np.moveaxis(weights, -1, axis)


def attention_steps(x: Array, causal: bool) -> AttentionSteps:
    """Every intermediate of self-attention."""
    length, dim = x.shape
    steps = AttentionSteps(
        scores=np.empty((length, length), x.dtype),
        shifted=np.empty((length, length), x.dtype),
        exponentials=np.empty((length, length), x.dtype),
        row_sums=np.empty(length, x.dtype),
        weights=np.empty((length, length), x.dtype),
        context=np.empty((length, dim), x.dtype),
    )
    load_kernels().attention_steps(read_only(np.ascontiguousarray(x).view()), causal, *steps)
    return steps


def attend(arguments: AttentionArguments) -> tuple[Array, Array]:
    """Lay out checked arrays, whose shapes `AttentionArguments` gives, and call the kernels."""
    *lead, q_len, _ = arguments.query.shape
    out = output_array(arguments, (*lead, q_len, arguments.value.shape[-1]))
    # Logarithms take their time: none where there is no room for them.
    lse = np.empty((*lead, q_len) if arguments.return_lse else 0, arguments.sum_dtype)
    if 0 in (*lead, q_len):
        return result_of(arguments, out), lse
    arrays, mask_kind = _input_arrays(arguments)
    plan = plans.plan_call(arguments, arrays, mask_kind, out)
    inputs = _flat_inputs(arrays, mask_kind, lse.itemsize)
    results = flat_output(out), lse.reshape(-1)
    if plan.is_decode:
        partials = np.zeros(plan.partials_size, lse.dtype)
        shared = _launch(
            plan.kernel, (*inputs, partials, *plan.params), n_items=plan.n_items, fmas=plan.fmas
        )
        load_kernels().merge_splits(partials, *results, *plan.params, shared)
    else:
        shared = _launch(
            plan.kernel, (*inputs, *results, *plan.params), n_items=plan.n_items, fmas=plan.fmas
        )
    if shared[NONFINITE]:
        load_kernels().recompute_nonfinite_rows(*inputs, *results, *plan.params)
    return result_of(arguments, out), lse


def _input_arrays(arguments: AttentionArguments) -> tuple[list[Array], int]:
    """Query, key, value and, if there is one, mask, as kernels can read them; its kind."""
    arrays = [arguments.query, arguments.key, arguments.value]
    stored = storage_dtype(arguments.query.dtype)
    if stored != arguments.query.dtype:
        arrays = [array.view(stored) for array in arrays]
    mask_kind, mask = NO_MASK, arguments.mask
    if mask is not None:
        mask_kind = BOOL_MASK if mask.dtype == np.bool_ else ADDITIVE_MASK
        arrays.append(mask.view(np.uint8) if mask_kind == BOOL_MASK else mask)
    return [with_element_strides(array) for array in arrays], mask_kind


def _flat_inputs(arrays: list[Array], mask_kind: int, sum_size: int) -> Inputs:
    """The memory that the arrays span; what stands for a mask that is not given has one element."""
    query, key, value = [flat_input(array) for array in arrays[:3]]
    bool_mask, additive_mask = _NO_BOOL_MASK, _NO_ADDITIVE_MASK[sum_size]
    if mask_kind == BOOL_MASK:
        bool_mask = flat_input(arrays[3])
    elif mask_kind == ADDITIVE_MASK:
        additive_mask = flat_input(arrays[3])
    return Inputs(query, key, value, bool_mask, additive_mask)


def _launch(name: str, arguments: tuple[Any, ...], *, n_items: int, fmas: int) -> Array:
    """Run a kernel on as many threads as its work is worth; return what they share."""
    shared = np.zeros(2, np.int64)
    threads, slots = plans.number_of_threads(n_items, fmas), _NO_SLOTS
    if threads > 1:
        slots = thread_pool.worker_slots(threads - 1, fmas > plans.WAKE_FMAS)
    getattr(load_kernels(), name)(slots, *arguments, shared)
    if threads > 1:
        thread_pool.end_call()
    return shared


FUNCTIONS = AttentionFunctions(__name__, AttentionEngine(softmax_along, attention_steps, attend))
softmax = FUNCTIONS.softmax
self_attention = FUNCTIONS.self_attention
scaled_dot_product_attention = FUNCTIONS.scaled_dot_product_attention
