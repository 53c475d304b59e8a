"""The attention of the reference, compiled: an engine with the same results.

The entry point: arguments that have been checked are laid out (`_attention/layout.py`), a plan
chooses the kernel (`_attention/plan.py`, which says what decides), and the kernel is run.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastllm.api.attention import (
    AttentionEngine,
    AttentionFunctions,
    PreparedCall,
    PreparedQueries,
    PreparedSoftmax,
)
from fastllm.checks.attention import Array, AttentionArguments, AttentionSteps, like_lengths
from fastllm.fast._attention import load_kernels
from fastllm.fast._attention import plan as plans
from fastllm.fast._attention.layout import (
    Start,
    begins_at_its_start,
    flat_input,
    flat_output,
    output_array,
    result_of,
    start_of,
    storage_dtype,
    with_element_strides,
)
from fastllm.fast._attention.params import (
    ADDITIVE_MASK,
    ANY_LARGE,
    BOOL_MASK,
    FIRST_GROUP,
    LARGE,
    NEXT_ITEM,
    NO_MASK,
    NONFINITE,
    Inputs,
    KernelParams,
)
from fastllm.fast._attention.runtime import thread_pool

if importlib.util.find_spec("numba") is None:
    raise ImportError(
        "the compiled attention needs numba, which is not installed (pip install numba, which has "
        "no wheels for musl and some processors); fastllm.reference.attention works without it"
    )

__all__ = ["softmax", "self_attention", "scaled_dot_product_attention"]  # noqa: RUF022

_NO_SLOTS = np.zeros(0, np.int64)
_NO_BOOL_MASK = np.zeros(1, np.uint8)
_NO_ADDITIVE_MASK = {size: np.zeros(1, f"f{size}") for size in (4, 8)}
# For each score: an exponential and its share of the memory traffic.
_SOFTMAX_FMAS = 16
# Up to so many FMAs, running all groups again takes no longer than planning for some of them.
_AGAIN_FMAS = 20_000_000
_NO_LSE = {size: np.empty(0, f"f{size}") for size in (4, 8)}


def softmax_along(scores: Array, axis: int) -> Array:
    """The softmax of `scores` along an axis, in their dtype."""
    # The order of the other axes does not matter, and `np.moveaxis` takes longer than a small call.
    rows = np.ascontiguousarray(scores.swapaxes(axis, -1))
    weights = np.empty(rows.shape, rows.dtype)
    if rows.size:
        length = rows.shape[-1]
        n_rows, rows_per_item = rows.size // length, _rows_per_item(length)
        _launch(
            "softmax_rows",
            (flat_input(rows), weights.reshape(-1), n_rows, length, rows_per_item),
            np.zeros(FIRST_GROUP, np.int64),
            n_items=math.ceil(n_rows / rows_per_item),
            fmas=_SOFTMAX_FMAS * rows.size,
        )
    return weights.swapaxes(axis, -1)


def _rows_per_item(length: int) -> int:
    return max(1, 65536 // length)


_entries: dict[tuple[str, np.dtype[Any]], Callable[..., None]] = {}


def _entry(name: str, dtype: np.dtype[Any], *arguments: Any) -> Callable[..., None]:
    """How a kernel is called that is given arrays of this dtype; see `jit.entry`."""
    entry = _entries.get((name, dtype))
    if entry is None:
        # All that this call might do has been done.
        kernels, shared = load_kernels(), np.full(FIRST_GROUP, 2**40)
        entry = kernels.entry_for(getattr(kernels, name), _NO_SLOTS, *arguments, shared)
        _entries[name, dtype] = entry
    return entry


def prepare_softmax(x: Array, axis: int) -> PreparedSoftmax | None:
    """The softmax of a small array along its last axis, to be made again; `x` is contiguous."""
    if not x.size or _SOFTMAX_FMAS * x.size > plans.SERIAL_FMAS or axis != x.ndim - 1:
        return None
    shape, dtype, length = x.shape, x.dtype, x.shape[-1]
    n_rows, rows_per_item = x.size // length, _rows_per_item(length)
    kernel = _entry("softmax_rows", dtype, x.ravel(), x.ravel(), n_rows, length, rows_per_item)

    def weights_of(x: Array) -> Array:
        weights, shared = np.empty(shape, dtype), np.zeros(FIRST_GROUP, np.int64)
        kernel(_NO_SLOTS, x.ravel(), weights.ravel(), n_rows, length, rows_per_item, shared)
        return weights

    return weights_of


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
    load_kernels().attention_steps(np.require(x, requirements=["C", "A", "W"]), causal, *steps)
    return steps


def attend(arguments: AttentionArguments) -> tuple[Array, Array]:
    """Lay out checked arrays, whose shapes `AttentionArguments` gives, and call the kernels."""
    *lead, q_len, _ = arguments.query.shape
    out = output_array(arguments, (*lead, q_len, arguments.value.shape[-1]))
    # Logarithms take their time: none where there is no room for them.
    lse = np.empty((*lead, q_len) if arguments.return_lse else 0, arguments.sum_dtype)
    if arguments.q_lens is not None:
        # What lies behind the queries of a sequence, which kernels do not write.
        out[...], lse[...] = 0, -np.inf
    if 0 in (*lead, q_len):
        return result_of(arguments, out), lse
    arrays, mask_kind = _input_arrays(arguments)
    plan = plans.plan_call(arguments, arrays, mask_kind, out)
    inputs = _flat_inputs(arrays, mask_kind, lse.itemsize)
    _run(plan, inputs, flat_output(out), lse.reshape(-1))
    return result_of(arguments, out), lse


def _run(plan: plans.Plan, inputs: Inputs, out: Array, lse: Array) -> None:
    """Run the kernels of a plan, into flat `out` and `lse`."""
    shared = _run_once(plan, inputs, out, lse)
    if shared[NONFINITE]:
        _run_marked(plan, plan.params, shared, inputs, out, lse)


def _run_once(plan: plans.Plan, inputs: Inputs, out: Array, lse: Array) -> Array:
    """Run the kernel of a plan; return what its threads shared."""
    results: tuple[Array, ...] = out, lse
    if plan.is_decode:
        partials = np.zeros(plan.partials_size, lse.dtype)
        results = (partials, *results) if plan.kernel == "decode_attention" else (partials,)
    shared = _launch_plan(plan, (*inputs, *results))
    if plan.partials_size:
        load_kernels().merge_splits(partials, out, lse, *plan.params, shared)
    return shared


def _run_again(plan: plans.Plan, groups: Array, inputs: Inputs, out: Array, lse: Array) -> None:
    """Compute KV head groups again whose results are not finite or not complete.

    `kernels/nonfinite.py` says how.
    """
    again, adding = plans.nonfinite_plans(plan, groups, lse.itemsize)
    if not lse.size:
        lse = np.empty(plans.lse_size(plan), lse.dtype)
    shared = _run_once(again, inputs, out, lse)
    _launch_plan(adding, (*inputs, out, lse), shared)
    if shared[ANY_LARGE]:
        _run_rows(adding, shared, inputs, out, lse)


def _run_rows(plan: plans.Plan, shared: Array, inputs: Inputs, out: Array, lse: Array) -> None:
    """Compute the rows of groups with large numbers that are not finite one number at a time."""
    large = np.flatnonzero(shared[FIRST_GROUP:] & LARGE)
    _launch_plan(plans.rows_plan(plan, large), (*inputs, out, lse))


def _run_marked(
    plan: plans.Plan, params: KernelParams, shared: Array, inputs: Inputs, out: Array, lse: Array
) -> None:
    """Run again what a kernel with these params has marked in `shared`."""
    groups = np.flatnonzero(shared[FIRST_GROUP:])
    _run_again(plan._replace(params=params), groups, inputs, out, lse)


def _launch_plan(plan: plans.Plan, arrays: tuple[Array, ...], shared: Array | None = None) -> Array:
    """Run a kernel that takes these arrays and the params of its plan; `shared` after another."""
    if shared is None:
        shared = np.zeros(plans.shared_size(plan), np.int64)
    shared[NEXT_ITEM] = 0
    _launch(plan.kernel, (*arrays, *plan.params), shared, n_items=plan.n_items, fmas=plan.fmas)
    return shared


def prepare(
    arguments: AttentionArguments, arrays: tuple[Array, Array, Array], any_length: bool
) -> PreparedCall | None:
    """A call without lengths, a mask or a place to write to, planned to be made again.

    With `any_length` there are as many keys as there are each time, of those that count as alike.
    """
    if not _is_plain(arguments) or arguments.kv_lens is not None:
        return None
    query, key, value = arguments[:3]
    start, kv_len = None, key.shape[-2]
    if not all(array.flags.c_contiguous for array in arrays):
        if load_kernels().CHECKED or not all(map(begins_at_its_start, arrays)):
            return None
        start = start_of(query.ndim)
    kv_lens = like_lengths(kv_len) if any_length else (kv_len, kv_len)
    out = np.empty((*query.shape[:-1], value.shape[-1]), query.dtype)
    inputs = [query, key, value]
    plan = plans.plan_call(arguments, inputs, NO_MASK, out, kv_lens[1])
    if any_length:
        least = plans.plan_call(arguments, inputs, NO_MASK, out, kv_lens[0])
        if not plans.are_alike(least, plan):
            return None
    params_of: plans.ParamsByLength | None = None
    if any_length:
        params_of = plans.params_by_length(plan.params, kv_len if start is None else None)
    return (_small_call if _is_small(plan) else _shared_call)(plan, arguments, start, params_of)


def _is_plain(arguments: AttentionArguments) -> bool:
    """Whether calls for arguments like these differ in numbers alone, and there are any queries."""
    query = arguments.query
    return (
        storage_dtype(query.dtype) == query.dtype == arguments.out_dtype
        and arguments.mask is arguments.cu_seqlens_q is arguments.out is None
        and not arguments.return_lse
        and 0 not in query.shape
    )


def _is_small(plan: plans.Plan) -> bool:
    """Whether there is too little to do to share it among threads."""
    return plan.fmas <= plans.SERIAL_FMAS and not plan.partials_size


def _shared_call(
    plan: plans.Plan,
    arguments: AttentionArguments,
    start: Start | None,
    params_of: plans.ParamsByLength | None,
) -> PreparedCall:
    """A call of this plan that threads share; see `_small_call`.

    It gives None where there may be more or fewer threads than were planned for.
    """
    shape, dtype = (*arguments.query.shape[:-1], arguments.value.shape[-1]), arguments.query.dtype
    run, limit = _shared_run(plan, arguments), thread_pool.thread_limit()
    params_of = params_of and functools.lru_cache(params_of)

    def call(query: Array, key: Array, value: Array) -> Array | None:
        if thread_pool.thread_limit() != limit:
            return None
        out = np.empty(shape, dtype)
        params = params_of(key.shape[-2]) if params_of is not None else plan.params
        if start is None:
            run(query.ravel(), key.ravel(), value.ravel(), out.ravel(), params)
        else:
            run(query[start], key[start], value[start], out.ravel(), params)
        return out

    return call


def _shared_run(
    plan: plans.Plan, arguments: AttentionArguments
) -> Callable[[Array, Array, Array, Array, KernelParams], None]:
    """Attention of this plan on as many threads as it is worth, from flat arrays into one."""
    dtype, no_lse = arguments.query.dtype, _NO_LSE[arguments.sum_dtype.itemsize]
    masks = _NO_BOOL_MASK, _NO_ADDITIVE_MASK[no_lse.itemsize]
    run_once, run_again = _prepared_run(plan, dtype, no_lse), _prepared_again(plan, dtype, no_lse)

    def run(query: Array, key: Array, value: Array, out: Array, params: KernelParams) -> None:
        inputs = query, key, value, *masks
        shared = run_once(inputs, out, no_lse, params)
        if shared[NONFINITE]:
            run_again(Inputs(*inputs), out, params, shared)

    return run


_Inputs = tuple[Array, Array, Array, Array, Array]
_Run = Callable[[_Inputs, Array, Array, tuple[Array, ...]], Array]


def _prepared_run(plan: plans.Plan, dtype: np.dtype[Any], no_lse: Array) -> _Run:
    """`_run_once` of plans that differ in nothing but `params` other than their `ints`."""
    partials_size, shared_size = plan.partials_size, plans.shared_size(plan)
    writes_out = plan.kernel != "decode_attention_amx"
    results = (no_lse,) * plan.is_decode + (np.empty(0, dtype), no_lse) * writes_out
    launch = _prepared_launch(plan, dtype, results)
    merge_splits = load_kernels().merge_splits

    def run(inputs: _Inputs, out: Array, lse: Array, params: tuple[Array, ...]) -> Array:
        shared, partials = np.zeros(shared_size, np.int64), np.zeros(partials_size, no_lse.dtype)
        results: tuple[Array, ...] = out, lse
        if plan.is_decode:
            results = (partials, out, lse) if writes_out else (partials,)
        launch((*inputs, *results, *params), shared)
        if partials_size:
            merge_splits(partials, out, lse, *params, shared)
        return shared

    return run


def _prepared_launch(
    plan: plans.Plan, dtype: np.dtype[Any], results: tuple[Array, ...]
) -> Callable[[tuple[Array, ...], Array], None]:
    """The kernel of a plan, to be called with all its arrays; `results` are some like its own."""
    threads, wakes = plans.number_of_threads(plan.n_items, plan.fmas), plan.fmas > plans.WAKE_FMAS
    rows, masks = np.empty(0, dtype), (_NO_BOOL_MASK, _NO_ADDITIVE_MASK[max(dtype.itemsize, 4)])
    kernel = _entry(plan.kernel, dtype, rows, rows, rows, *masks, *results, *plan.params)

    def launch(arrays: tuple[Array, ...], shared: Array) -> None:
        slots = thread_pool.worker_slots(threads - 1, wakes) if threads > 1 else _NO_SLOTS
        kernel(slots, *arrays, shared)
        if threads > 1:
            thread_pool.end_call()

    return launch


def _prepared_again(
    plan: plans.Plan, dtype: np.dtype[Any], no_lse: Array
) -> Callable[[Inputs, Array, KernelParams, Array], None]:
    """`_run_marked` of plans that differ in nothing but `params` other than their `ints`.

    What is needed to run all groups again is prepared when it is first needed. In short calls it
    serves whichever are marked.
    """
    n_groups, is_long = plan.params.lengths.shape[1], plan.fmas > _AGAIN_FMAS

    @functools.cache
    def prepared() -> tuple[plans.Plan, plans.Plan, int, _Run, Callable[..., None]]:
        again, adding = plans.nonfinite_plans(plan, np.arange(n_groups), no_lse.itemsize)
        run = _prepared_run(again, dtype, no_lse)
        add = _prepared_launch(adding, dtype, (np.empty(0, dtype), no_lse))
        return again, adding, plans.lse_size(adding), run, add

    def run_again(inputs: Inputs, out: Array, params: KernelParams, marked: Array) -> None:
        if is_long and np.count_nonzero(marked[FIRST_GROUP:]) < n_groups:
            _run_marked(plan, params, marked, inputs, out, no_lse)
            return
        again, adding, lse_size, run, add = prepared()
        lse = np.empty(lse_size, no_lse.dtype)
        *values, _, floats = params
        shared = run(inputs, out, lse, (*values, again.params.ints, floats))
        shared[NEXT_ITEM] = 0
        add((*inputs, out, lse, *values, adding.params.ints, floats), shared)
        if shared[ANY_LARGE]:
            params = params._replace(ints=adding.params.ints)
            _run_rows(adding._replace(params=params), shared, inputs, out, lse)

    return run_again


def _small_call(
    plan: plans.Plan,
    arguments: AttentionArguments,
    start: Start | None,
    params_of: plans.ParamsByLength | None,
) -> PreparedCall:
    """A call of this plan that is too small to share among threads.

    Of arrays that are not contiguous kernels are given the `start`. With `params_of` there are as
    many keys as there are each time, up to those that were planned for.
    """
    dtype, no_lse = arguments.query.dtype, _NO_LSE[arguments.sum_dtype.itemsize]
    shape = (*arguments.query.shape[:-1], arguments.value.shape[-1])
    shared_size = plans.shared_size(plan)
    # What a kernel is given between the inputs and `out`, and after that, by the number of keys.
    masks = _NO_BOOL_MASK, _NO_ADDITIVE_MASK[no_lse.itemsize]
    before_out = (*masks, no_lse) if plan.is_decode else masks
    after_out: tuple[Array, ...] = no_lse, *plan.params
    after_out_by_length: dict[int, tuple[Array, ...]] = {}
    rows = np.empty(0, dtype)
    kernel = _entry(plan.kernel, dtype, rows, rows, rows, *before_out, rows, *after_out)
    run_again = _prepared_again(plan, dtype, no_lse)

    def for_length(kv_len: int) -> tuple[Array, ...]:
        after = no_lse, *(params_of(kv_len) if params_of is not None else plan.params)
        after_out_by_length[kv_len] = after
        return after

    def call(query: Array, key: Array, value: Array) -> Array:
        after = after_out
        if start is None:
            queries, keys, values = query.ravel(), key.ravel(), value.ravel()
        else:
            queries, keys, values = query[start], key[start], value[start]
        if params_of is not None:
            kv_len = key.shape[-2]
            after = after_out_by_length.get(kv_len) or for_length(kv_len)
        out = np.empty(shape, dtype)
        flat_out, shared = out.ravel(), np.zeros(shared_size, np.int64)
        kernel(_NO_SLOTS, queries, keys, values, *before_out, flat_out, *after, shared)
        if shared[NONFINITE]:
            inputs = Inputs(queries, keys, values, *masks)
            run_again(inputs, flat_out, KernelParams(*after[1:]), shared)
        return out

    return call


def prepare_queries(
    arguments: AttentionArguments, key: Array, value: Array
) -> PreparedQueries | None:
    """Calls with other queries, on memory whose first rows are key and value of the arguments.

    Of that as many keys and queries count as `kv_lens` and `q_lens` say at the time of each call.
    """
    query = arguments.query
    if not _is_plain(arguments):
        return None
    start = None
    if not query.flags.c_contiguous:
        if load_kernels().CHECKED or not begins_at_its_start(query):
            return None
        start = start_of(query.ndim)
    out = np.empty((*query.shape[:-1], value.shape[-1]), query.dtype)
    plan = plans.plan_call(arguments, list(arguments[:3]), NO_MASK, out)
    memory = key.ravel(), value.ravel()
    return (_small_queries if _is_small(plan) else _shared_queries)(plan, arguments, memory, start)


def _shared_queries(
    plan: plans.Plan,
    arguments: AttentionArguments,
    memory: tuple[Array, Array],
    start: Start | None,
) -> PreparedQueries:
    """As `_shared_call`, on flat keys and values."""
    shape, dtype = (*arguments.query.shape[:-1], arguments.value.shape[-1]), arguments.query.dtype
    make = np.empty if arguments.q_lens is None else np.zeros
    run, limit = _shared_run(plan, arguments), thread_pool.thread_limit()
    lengths = plans.views_of_lengths(plan.params.lengths, arguments)

    def call(query: Array) -> Array | None:
        if thread_pool.thread_limit() != limit:
            return None
        for planned, given in lengths:
            planned[...] = given
        out: Array = make(shape, dtype)
        run(query.ravel() if start is None else query[start], *memory, out.ravel(), plan.params)
        return out

    return call


def _small_queries(
    plan: plans.Plan,
    arguments: AttentionArguments,
    memory: tuple[Array, Array],
    start: Start | None,
) -> PreparedQueries:
    """As `_small_call`, on flat keys and values."""
    shape, dtype = (*arguments.query.shape[:-1], arguments.value.shape[-1]), arguments.query.dtype
    # What lies behind the queries of a sequence is not written.
    make = np.empty if arguments.q_lens is None else np.zeros
    lengths = plans.views_of_lengths(plan.params.lengths, arguments)
    no_lse, shared_size = _NO_LSE[arguments.sum_dtype.itemsize], plans.shared_size(plan)
    masks = _NO_BOOL_MASK, _NO_ADDITIVE_MASK[no_lse.itemsize]
    before_out = (*memory, *masks, no_lse) if plan.is_decode else (*memory, *masks)
    after_out = no_lse, *plan.params
    rows = np.empty(0, dtype)
    kernel = _entry(plan.kernel, dtype, rows, *before_out, rows, *after_out)
    run_again = _prepared_again(plan, dtype, no_lse)

    def call(query: Array) -> Array:
        for planned, given in lengths:
            planned[...] = given
        out: Array = make(shape, dtype)
        queries = query.ravel() if start is None else query[start]
        flat_out, shared = out.ravel(), np.zeros(shared_size, np.int64)
        kernel(_NO_SLOTS, queries, *before_out, flat_out, *after_out, shared)
        if shared[NONFINITE]:
            inputs = Inputs(queries, *memory, *masks)
            run_again(inputs, flat_out, plan.params, shared)
        return out

    return call


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


def _launch(
    name: str, arguments: tuple[Any, ...], shared: Array, *, n_items: int, fmas: int
) -> None:
    """Run a kernel on as many threads as its work is worth; `shared` is what they share."""
    threads, slots = plans.number_of_threads(n_items, fmas), _NO_SLOTS
    if threads > 1:
        slots = thread_pool.worker_slots(threads - 1, fmas > plans.WAKE_FMAS)
    getattr(load_kernels(), name)(slots, *arguments, shared)
    if threads > 1:
        thread_pool.end_call()


ENGINE = AttentionEngine(
    softmax_along, attention_steps, attend, prepare, prepare_queries, prepare_softmax
)
FUNCTIONS = AttentionFunctions(__name__, ENGINE)
softmax = FUNCTIONS.softmax
self_attention = FUNCTIONS.self_attention
scaled_dot_product_attention = FUNCTIONS.scaled_dot_product_attention
