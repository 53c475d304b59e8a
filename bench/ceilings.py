"""What one thread of this machine gives at most: float32 multiplications and additions, and reads.

Loops that do nothing else, made of the kernels' own vectors. `fused` adds into twelve registers,
more than the units have steps; reading goes along four streams, which is faster than along one.
"""

import time

import numba
import numpy as np

from fastllm.fast._attention.simd.vectors import added, fill, fused, lanes, load, total


@numba.njit(nogil=True)
def _multiply(model, rounds):
    x = fill(model, 0.999)
    a = b = c = d = e = f = fill(model, 1.0)
    g = h = i = j = k = m = fill(model, 2.0)
    for _ in range(rounds):
        a, b, c, d = fused(a, x, x), fused(b, x, x), fused(c, x, x), fused(d, x, x)
        e, f, g, h = fused(e, x, x), fused(f, x, x), fused(g, x, x), fused(h, x, x)
        i, j, k, m = fused(i, x, x), fused(j, x, x), fused(k, x, x), fused(m, x, x)
    first = added(added(added(a, b), added(c, d)), added(added(e, f), added(g, h)))
    return total(added(first, added(added(i, j), added(k, m))))


@numba.njit(nogil=True)
def _read(array):
    quarter, width = array.size // 4, lanes(array)
    a = b = c = d = fill(array, 0.0)
    for i in range(0, quarter - width + 1, width):
        a, b = added(a, load(array, i)), added(b, load(array, quarter + i))
        c, d = added(c, load(array, 2 * quarter + i)), added(d, load(array, 3 * quarter + i))
    return total(added(added(a, b), added(c, d)))


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
