"""What one thread of this machine gives at most: float32 multiplications and additions, and reads.

Loops that do nothing else, made of the kernels' own vectors. `fma` adds into twelve registers,
more than the units have steps; reading goes along four streams, which is faster than along one.
"""

import time

import numba
import numpy as np

from fastllm.fast._attention.simd.vectors import add, fma, lanes, load, reduce_add, splat


@numba.njit(nogil=True)
def _multiply(model, rounds):
    x = splat(model, 0.999)
    a = b = c = d = e = f = splat(model, 1.0)
    g = h = i = j = k = m = splat(model, 2.0)
    for _ in range(rounds):
        a, b, c, d = fma(a, x, x), fma(b, x, x), fma(c, x, x), fma(d, x, x)
        e, f, g, h = fma(e, x, x), fma(f, x, x), fma(g, x, x), fma(h, x, x)
        i, j, k, m = fma(i, x, x), fma(j, x, x), fma(k, x, x), fma(m, x, x)
    first = add(add(add(a, b), add(c, d)), add(add(e, f), add(g, h)))
    return reduce_add(add(first, add(add(i, j), add(k, m))))


@numba.njit(nogil=True)
def _read(array):
    quarter, width = array.size // 4, lanes(array)
    a = b = c = d = splat(array, 0.0)
    for i in range(0, quarter - width + 1, width):
        a, b = add(a, load(array, i)), add(b, load(array, quarter + i))
        c, d = add(c, load(array, 2 * quarter + i)), add(d, load(array, 3 * quarter + i))
    return reduce_add(add(add(a, b), add(c, d)))


def _best(call, rounds=7):
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def ceilings() -> dict[str, float]:
    """GFLOP/s of float32, a product and a sum being two, and GB/s from memory."""
    model = np.ones(64, np.float32)
    rounds = 2_000_000
    operations = 12 * 2 * lanes(model) * rounds
    array = np.ones(64_000_000, np.float32)
    return {
        "GFLOP/s": operations / _best(lambda: _multiply(model, rounds)) / 1e9,
        "GB/s": array.nbytes / _best(lambda: _read(array)) / 1e9,
    }
