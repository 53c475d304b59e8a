"""What options do to a score: softcap, ALiBi, mask, window, each once for all vector kernels.

A vector holds scores of one key with several queries (prefill) or of one query with several keys
(decode); the formulas are the same. In order: cap, bias, mask, window. `nonfinite_rows.py` does
the same for one number at a time.

`modify_scores` (`tiles.py`) calls these for every block of keys only if `modifies_all_scores`
(`work.py`) says so, else only where the window cuts a block. An option that is not asked for there
is left out of all other blocks.
"""

# Numba's decorators carry no types.
# mypy: disable-error-code="misc, untyped-decorator"

from typing import Any

from fastllm.fast._attention.params import Array
from fastllm.fast._attention.runtime.jit import device_function, inlined_device_function
from fastllm.fast._attention.simd.vectors import (
    absolute,
    add,
    div,
    exp,
    fma,
    mul,
    select_eq,
    select_gt,
    splat,
    sub,
)


@device_function
def cap_score(score: Any, softcap: Any, inv_softcap: Any, model: Array) -> Any:
    """softcap * tanh(score / softcap) in each lane."""
    x = mul(score, inv_softcap)
    size = absolute(x)
    # Near 0 a rational function (S. L. Moshier, Cephes), elsewhere by e**-2|x|, which near 0 would
    # lose the digits that 1 - e**-2|x| cancels.
    z = mul(x, x)
    p = fma(z, splat(model, -0.964399179425052238628), splat(model, -99.2877231001918586564))
    p = fma(z, p, splat(model, -1614.68768441708447952))
    q = add(z, splat(model, 112.811678491632931402))
    q = fma(z, q, splat(model, 2235.48839060100448583))
    q = fma(z, q, splat(model, 4844.06305325125486048))
    near = fma(mul(x, z), div(p, q), x)
    one, zero = splat(model, 1.0), splat(model, 0.0)
    e = exp(mul(size, splat(model, -2.0)))
    far = div(sub(one, e), add(one, e))
    far = select_gt(zero, x, sub(zero, far), far)
    return mul(select_gt(splat(model, 0.625), size, near, far), softcap)


@inlined_device_function
def add_alibi(score: Any, neg_slope: Any, diagonal: Any, key: Any) -> Any:
    """Add the linear bias: minus slope times the distance of a key from the diagonal."""
    return fma(neg_slope, absolute(sub(diagonal, key)), score)


@inlined_device_function
def add_mask(score: Any, mask: Any, neg_inf: Any) -> Any:
    """Add an additive mask; replaced where it is -inf, since NaN + -inf would be NaN."""
    return select_eq(mask, neg_inf, neg_inf, add(score, mask))


@inlined_device_function
def clip_to_window(score: Any, first: Any, key: Any, last: Any, neg_inf: Any) -> Any:
    """-inf where a key lies before the first or after the last one that a query sees."""
    return select_gt(first, key, neg_inf, select_gt(key, last, neg_inf, score))
