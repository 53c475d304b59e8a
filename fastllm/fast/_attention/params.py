"""What the kernels of attention are given besides numbers to compute with.

The plan fills these in from shapes and options; every kernel is passed the same seven arrays, in
the order of `KernelParams`, and reads them once into `Params` (see `kernels/work.py`), whose arrays
are pointers where kernels are compiled.
"""

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]

# Rows of `base_offsets` and of `strides`.
QUERY, KEY, VALUE, MASK, OUT, LSE = range(6)
# Rows of `lengths`.
Q_LEN, KV_LEN = 0, 1
# Values of `mask_kind`: no mask, booleans (True lets a key through) or numbers to add to scores.
NO_MASK, BOOL_MASK, ADDITIVE_MASK = range(3)
# Entries of `shared`, which the threads of one call share: the next work item; whether a result
# came out as NaN or infinite; whether any group is LARGE; whether a product of a query and a key is
# NaN or infinite, where results of few queries are computed again; and then one for each KV head
# group, its state.
NEXT_ITEM, NONFINITE, ANY_LARGE, NONFINITE_SCORES, FIRST_GROUP = range(5)
# The same entry as NONFINITE where results of few queries are computed again: whether scores are so
# large that the weight of one that is finite may underflow.
LARGE_SCORES = NONFINITE
# The state of a group: 0, or its results are to be computed again, as one is not finite or they are
# not complete. When they are, bits: values were replaced; products of its numbers may overflow.
AGAIN, REPLACED, LARGE = 1, 1, 2


class Inputs(NamedTuple):
    """The arrays that kernels read, flat; a mask that is not given has one element."""

    query: Array
    key: Array
    value: Array
    bool_mask: Array
    additive_mask: Array


class IntParams(NamedTuple):
    """Sizes and options that are whole numbers."""

    head_dim: int
    value_dim: int
    group_size: int  # query heads that share a head of keys and values
    max_rows: int  # the most rows of a KV head group: its queries times group_size
    window_left: int  # query i sees the keys i - window_left ...
    window_right: int  # ... to i + window_right, counted from the top left corner
    bottom_right: int  # or, if 1, from the bottom right one
    mask_kind: int
    block_k: int  # keys at a time
    block_q: int  # prefill: rows at a time
    num_splits: int  # decode: into how many splits the keys of a group are cut
    finite_values: int = 0  # 1: values that are NaN or infinite count as 0


class FloatParams(NamedTuple):
    """Options that are real numbers."""

    scale: float
    softcap: float  # 0 is none


class KernelParams(NamedTuple):
    """The same as arrays, as a kernel is called with them: Numba takes each at once.

    A KV head group is the query heads of one sequence that share keys and values. Element (row,
    column) of a head is ``flat[base_offsets[array, head] + row * row_stride + column *
    column_stride]``.
    """

    base_offsets: Array  # (6, heads): where each head begins in each array
    lengths: Array  # (2, KV head groups): queries and keys
    strides: Array  # (5, 2): row and column stride of each array but `lse`
    alibi_slopes: Array  # (heads,), 0 is none
    sinks: Array  # (heads,), -inf is none
    ints: Array  # IntParams
    floats: Array  # FloatParams


class Params(NamedTuple):
    """What a kernel works with: all of `KernelParams` by name."""

    query_starts: Array  # where each head begins in each array
    key_starts: Array
    value_starts: Array
    mask_starts: Array
    out_starts: Array
    lse_starts: Array
    q_lens: Array  # of each KV head group
    kv_lens: Array
    alibi_slopes: Array
    sinks: Array
    query_row: int  # how far rows of a head are apart, and columns of a row
    query_column: int
    key_row: int
    key_column: int
    value_row: int
    value_column: int
    mask_row: int
    mask_column: int
    out_row: int
    n_groups: int
    has_lse: bool  # whether anybody asked for the logarithms
    head_dim: int
    value_dim: int
    group_size: int
    max_rows: int
    window_left: int
    window_right: int
    bottom_right: int
    mask_kind: int
    block_k: int
    block_q: int
    num_splits: int
    finite_values: int
    scale: float
    softcap: float
