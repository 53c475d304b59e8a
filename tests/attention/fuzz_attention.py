"""Random attention through the reference and the kernels until they differ: a program, not a test.

    PYTHONPATH=tests python tests/attention/fuzz_attention.py --seconds 60 --seed 0

A round is one call: shapes, strides, a dtype, options that may contradict each other, threads,
large numbers now and then. In every other round queries, keys, values and masks hold NaN and
infinity, a few, a share, in whole rows or nothing else, and some sinks are -inf. Both backends must
give results within the table of tolerances, or refuse with the same error. The first difference
ends the run; should the process crash, the last round it wrote says which call did it.
"""

import argparse
import faulthandler
import random
import sys
import time
from collections import Counter

import ml_dtypes
import numpy as np
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
from fastllm.reference import attention as reference

SDPA = "scaled_dot_product_attention"
# Around the edges of vectors, of tiles of queries, and of blocks of keys.
LENGTHS = (0, 1, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 63, 64, 65, 97, 130, 200)
DIMS = (1, 3, 4, 8, 8, 15, 16, 17, 32, 33, 64, 80)
# The pairs of query and key that the reference goes through in a moment.
MOST_PAIRS = 4_000
_SERIAL_FMAS = plan.SERIAL_FMAS
# Weights of e**-745 and less are 0 in float64.
_LEAST_LOG_WEIGHT = 745.0


class Round:
    """One call: what to give to both backends."""

    def __init__(self, seed, number):
        self.rng = rng = random.Random(f"{seed} {number}")
        self.numbers = np.random.default_rng([seed, number])
        self.dtype = rng.choice(
            [np.float32] * 4 + [np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.bfloat16]
        )
        self.batch = rng.choice([(), (1,), (2,), (3,), (2, 2)])
        self.kv_heads = rng.choice([1, 1, 2, 3])
        self.group = rng.choice([1, 1, 1, 2, 3, 5])
        self.heads = self.kv_heads * self.group
        self.q_len, self.kv_len = rng.choice(LENGTHS), rng.choice(LENGTHS)
        while np.prod(self.batch) * self.heads * self.q_len * self.kv_len > MOST_PAIRS:
            self.q_len, self.kv_len = self.q_len // 2, -(-self.kv_len // 2)
        head_dim, value_dim = rng.choice(DIMS), rng.choice(DIMS)
        if rng.random() < 0.5:
            value_dim = head_dim
        self.threads = rng.choice([1, 1, 2, 3])
        # Threads take part however short a call is, or not.
        self.serial_fmas = rng.choice([0, 0, _SERIAL_FMAS])
        self.nonfinite = rng.random() < 0.5
        self.arrays = [
            self.array((*self.batch, heads, length, dim))
            for heads, length, dim in (
                (self.heads, self.q_len, head_dim),
                (self.kv_heads, self.kv_len, head_dim),
                (self.kv_heads, self.kv_len, value_dim),
            )
        ]
        self.options = self.some_options()
        if rng.random() < 0.3:
            self.options["out"] = (*self.batch, self.heads, self.q_len, value_dim)

    def array(self, shape):
        """Random numbers, some of them NaN or infinite in some rounds, in one of many layouts."""
        large = self.rng.choice([1.0] * 12 + [30.0, 1e-3])
        array = self.with_nonfinite(self.numbers.standard_normal(shape) * large)
        return self.laid_out(array.astype(self.dtype))

    def with_nonfinite(self, array):
        """The same with NaN and infinity: a few, some share, whole rows or nothing else."""
        rng, numbers = self.rng, self.numbers
        if not self.nonfinite or not array.size or rng.random() < 0.4:
            return array
        kinds = rng.choice([[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf, np.nan]])
        share = rng.choice([0.01, 0.1, 0.5, 1.0])
        chosen = {
            "few": numbers.random(array.shape) < 2 / array.size,
            "share": numbers.random(array.shape) < share,
            "rows": np.broadcast_to(numbers.random((*array.shape[:-1], 1)) < share, array.shape),
        }[rng.choice(["few", "few", "share", "rows"])]
        return np.where(chosen, numbers.choice(kinds, array.shape), array)

    def laid_out(self, array):
        """The same numbers with other strides."""
        layout = self.rng.choice(["plain", "plain", "swapped", "reversed", "sliced", "repeated"])
        if array.ndim < 2:
            return array
        if layout == "swapped":
            return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
        if layout == "reversed":
            return np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]
        if layout == "sliced":
            wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
            wide[..., 1::2] = array
            return wide[..., 1::2]
        if layout == "repeated" and array.ndim > 2 and array.shape[0]:
            return np.broadcast_to(array[:1], array.shape)
        return array

    def some_options(self):
        rng, numbers = self.rng, self.numbers
        choices = {
            "is_causal": lambda: True,
            "scale": lambda: rng.choice([0.0, 0.3, 1.0, -0.5]),
            "attn_mask": self.mask,
            "causal_align": lambda: rng.choice(["top-left", "bottom-right"]),
            "window": lambda: (rng.randint(-1, 40), rng.randint(-1, 40)),
            "softcap": lambda: rng.choice([0.5, 2.0, 30.0]),
            "alibi_slopes": lambda: numbers.random(self.heads),
            "sinks": self.sinks,
            "kv_lens": lambda: numbers.integers(0, self.kv_len + 1, self.batch),
            "return_lse": lambda: True,
            "sequences": self.sequences,
        }
        chosen = rng.sample(list(choices), rng.choice([0, 1, 1, 2, 2, 3, 4]))
        options = {name: choices[name]() for name in chosen}
        options |= options.pop("sequences", {})
        if self.group > 1 or rng.random() < 0.3:
            options["enable_gqa"] = True
        return options

    def mask(self):
        full = (*self.batch, self.heads, self.q_len, self.kv_len)
        shape = tuple(n if self.rng.random() < 0.7 else 1 for n in full)[self.rng.randint(0, 2) :]
        if self.rng.random() < 0.5:
            return self.laid_out(self.numbers.random(shape) < self.rng.choice([0.1, 0.5, 0.9]))
        bias = self.numbers.standard_normal(shape)
        bias[self.numbers.random(shape) < 0.2] = self.rng.choice([-np.inf, -1e9, -3e38])
        bias = self.with_nonfinite(bias)
        return self.laid_out(bias.astype(np.float64 if self.dtype == np.float64 else np.float32))

    def sinks(self):
        """Numbers, some of which are -inf where numbers are not all finite."""
        sinks = self.numbers.standard_normal(self.heads)
        sinks[self.numbers.random(self.heads) < (0.3 if self.nonfinite else 0.0)] = -np.inf
        return sinks

    def sequences(self):
        """Lengths of packed sequences, now and then of another number of queries and of keys."""
        count = self.rng.randint(1, 4)
        cuts = [
            np.sort(self.numbers.integers(0, length + 1, count - 1 + extra))
            for length, extra in (
                (self.q_len, 0),
                (self.kv_len, int(self.rng.random() < 0.05)),
            )
        ]
        return {
            name: [0, *cut.tolist(), length]
            for name, cut, length in zip(
                ("cu_seqlens_q", "cu_seqlens_k"), cuts, (self.q_len, self.kv_len), strict=True
            )
        }

    def results(self, backend):
        """What a backend returns, as a list of arrays, or the error it raises."""
        options = dict(self.options)
        if "out" in options:
            options["out"] = np.full(options["out"], 7, self.dtype)
        try:
            with np.errstate(all="ignore"):
                found = backend.scaled_dot_product_attention(*self.arrays, **options)
        except (TypeError, ValueError) as error:
            return error
        found = found if isinstance(found, tuple) else (found,)
        assert "out" not in options or found[0] is options["out"], "the result is not out"
        return found

    def __str__(self):
        shapes = [(array.shape, array.strides) for array in self.arrays]
        return f"{np.dtype(self.dtype)}, {self.threads} threads, {shapes}, {self.options}"


def largest(array, axis=None):
    """The largest finite magnitude, or norm of the rows along an axis; 0 if there is none."""
    array = np.asarray(array, np.float64)
    array = np.where(np.isfinite(array), np.abs(array), 0.0)
    return (array if axis is None else np.sqrt((array**2).sum(axis))).max(initial=0.0)


def largest_score(setting):
    """What no score is larger than, but for masks."""
    (query, key, _), options = setting.arrays, setting.options
    scale = abs(options.get("scale", 1.0 / np.sqrt(query.shape[-1])))
    scores = scale * largest(query, -1) * largest(key, -1)
    distance = max(setting.q_len, setting.kv_len)
    return scores + distance * largest(options.get("alibi_slopes", 0.0))


def slack(setting):
    """By how much larger errors may be than the table says, which is for numbers of unit size."""
    scores = largest_score(setting) + largest(setting.options.get("attn_mask", 0.0))
    # What a score is off by its weight is off by, as a share of itself.
    return max(1.0, scores / 4) * max(1.0, largest(setting.arrays[2]) / 4)


def forgive_least_weights(setting, one, other):
    """`one`, with the infinities of `other` for NaN if weights may be as small as a float64 can be.

    Whether such a weight is 0, and 0 times infinity NaN, depends on how often it was rounded.
    """
    if not setting.nonfinite or largest_score(setting) < _LEAST_LOG_WEIGHT / 2:
        return one
    return np.where(np.isnan(one) & np.isinf(other), other, one).astype(one.dtype)


def difference(setting):
    """How the backends differ in a round, or None."""
    thread_pool.thread_limit = lambda: setting.threads
    plan.SERIAL_FMAS = setting.serial_fmas
    expected = setting.results(reference)
    # What the first call prepared serves the second.
    for actual in (setting.results(fast), setting.results(fast)):
        if isinstance(expected, Exception) or isinstance(actual, Exception):
            same = type(expected) is type(actual) and str(expected) == str(actual)
            return None if same else f"the reference: {expected!r}\nthe kernels: {actual!r}"
        for one, other in zip(actual, expected, strict=True):
            one, other = (
                forgive_least_weights(setting, one, other),
                forgive_least_weights(setting, other, one),
            )
            try:
                assert_agrees(SDPA, other.dtype, one, other, slack(setting))
            except AssertionError as error:
                return str(error)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-round", type=int, default=0)
    arguments = parser.parse_args()
    faulthandler.enable()
    plan.WAKE_FMAS = 0
    counts: Counter[str] = Counter()
    end = time.monotonic() + arguments.seconds
    number = arguments.first_round
    while time.monotonic() < end or number == arguments.first_round:
        print(f"\rseed {arguments.seed}, round {number}", end="", file=sys.stderr, flush=True)
        setting = Round(arguments.seed, number)
        if found := difference(setting):
            print(f"\nround {number}: {setting}\n{found}")
            return 1
        counts["with NaN or infinity"] += setting.nonfinite
        counts[f"dtype {np.dtype(setting.dtype)}"] += 1
        counts[f"threads {setting.threads}"] += 1
        counts.update(f"option {name}" for name in setting.options)
        number += 1
    print(f"\n{number - arguments.first_round} rounds")
    for name, count in sorted(counts.items()):
        print(f"{count:8,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
