"""After a cache forgot or moved sequences, it gives what attention over what is left gives."""

import copy
import io
import pickle

import ml_dtypes
import numpy as np
import pytest
from tolerances import assert_agrees

from fastllm import KVCache
from fastllm.reference.attention import scaled_dot_product_attention as whole

SDPA = "scaled_dot_product_attention"
HEADS, QUERY_HEADS, DIM, VALUE_DIM = 2, 4, 4, 3


class Sequences:
    """A cache, and beside it the whole sequences: each a list of (query, key, value) positions."""

    def __init__(self, cache_type, batch, window, dtype, seed=0):
        self.rng = np.random.default_rng(seed)
        self.window, self.dtype = window, np.dtype(dtype)
        self.cache = cache_type(
            batch, HEADS, DIM, VALUE_DIM, dtype=dtype, capacity=2, window=window
        )
        self.positions = [[] for _ in range(batch)]

    def numbers(self, *shape):
        return self.rng.standard_normal(shape).astype(np.float32).astype(self.dtype)

    def attend(self, counts):
        """Add so many positions to each, and compare what they see with the whole sequence."""
        batch, new = len(counts), max(counts)
        query = self.numbers(batch, QUERY_HEADS, new, DIM)
        key, value = (
            self.numbers(batch, HEADS, new, DIM),
            self.numbers(batch, HEADS, new, VALUE_DIM),
        )
        actual = self.cache.attend(query, key, value, lengths=counts)
        window = None if self.window is None else (self.window - 1, 0)
        for i, count in enumerate(counts):
            self.positions[i] += [
                (query[i, :, j], key[i, :, j], value[i, :, j]) for j in range(count)
            ]
            assert (actual[i, :, count:] == 0).all()
            if count:
                arrays = [np.stack(x, 1) for x in zip(*self.positions[i], strict=True)]
                expected = whole(*arrays, is_causal=True, enable_gqa=True, window=window)
                assert_agrees(SDPA, self.dtype, actual[i, :, :count], expected[:, -count:])
        self.check()

    def check(self):
        assert self.cache.lengths.tolist() == [len(x) for x in self.positions]

    def crop(self, length):
        self.cache.crop(length)
        lengths = np.broadcast_to(length, len(self.positions)).tolist()
        self.positions = [x[:n] for x, n in zip(self.positions, lengths, strict=True)]
        self.check()

    def select(self, how, index):
        getattr(self.cache, how)(index)
        self.positions = [list(self.positions[i]) for i in index]
        self.check()


@pytest.fixture
def cache_type(attention_backend):
    """`KVCache` on each backend in turn."""
    return type("KVCache", (KVCache,), {"_attention": attention_backend})


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("window", [None, 1, 4])
def test_forgets_and_moves_as_if_nothing_else_had_been(cache_type, window, dtype):
    sequences = Sequences(cache_type, 3, window, dtype)
    sequences.attend([3, 1, 2])
    sequences.attend([1, 1, 1])
    sequences.attend([2, 0, 6])
    back = 0 if window is None else window // 2
    sequences.crop([100, 100, 9 - (5 if window is None else back)])
    sequences.attend([1, 1, 1])
    sequences.select("reorder", [2, 2, 0])
    sequences.attend([1, 1, 1])
    sequences.attend([0, 1, 3])
    sequences.cache.reset([0])
    sequences.positions[0] = []
    sequences.check()
    sequences.attend([1, 1, 1])
    sequences.select("select", [2, 0])
    sequences.attend([4, 1])
    sequences.cache.expand(2)
    sequences.positions = [list(x) for x in sequences.positions for _ in range(2)]
    sequences.attend([1, 1, 0, 1])
    sequences.cache = copy.deepcopy(sequences.cache)
    sequences.attend([1, 2, 3, 1])
    sequences.cache.reset()
    sequences.positions = [[] for _ in range(4)]
    sequences.attend([2, 2, 2, 2])
    sequences.attend([1, 1, 1, 1])


@pytest.mark.parametrize("window", [2, 3, 4, 7])
def test_goes_back_by_half_the_window_at_any_time(cache_type, window):
    sequences = Sequences(cache_type, 2, window, np.float64)
    sequences.attend([window, 2 * window + 1])
    for step in range(3 * window):
        guessed = 1 + step % (window // 2)
        for _ in range(guessed):
            sequences.attend([1, 1])
        taken = step % (guessed + 1)
        sequences.crop(sequences.cache.lengths - guessed + taken)
    sequences.attend([3, 1])


def test_goes_back_anywhere_while_all_is_kept(cache_type):
    sequences = Sequences(cache_type, 1, 4, np.float64)
    sequences.attend([5])
    sequences.crop(1)
    sequences.attend([2])
    sequences.crop(0)
    sequences.attend([3])


def test_what_a_window_does_not_keep_is_refused():
    cache = KVCache(1, 1, 1, window=4)
    new = np.ones((1, 1, 20, 1), np.float32)
    cache.append(new, new)
    cache.crop(18)
    with pytest.raises(ValueError, match=r"length must be at least \[\d+\], as in a window of 4"):
        cache.crop(5)
    assert cache.lengths.tolist() == [18]


@pytest.mark.parametrize("window", [None, 3])
def test_a_cache_is_stored_and_goes_on(window):
    sequences = Sequences(KVCache, 2, window, np.float32)
    sequences.attend([5, 8])
    stored = pickle.dumps(sequences.cache)
    file = io.BytesIO()
    np.savez(file, **sequences.cache.state)
    file.seek(0)
    positions = [list(x) for x in sequences.positions]
    for restore in (lambda: pickle.loads(stored), lambda: KVCache.from_state(np.load(file))):
        sequences.cache, sequences.positions = restore(), [list(x) for x in positions]
        sequences.check()
        sequences.attend([1, 1])
        sequences.attend([1, 4])


def test_a_copy_shares_no_memory():
    cache = KVCache(2, 1, 1)
    new = np.ones((2, 1, 2, 1), np.float32)
    cache.append(new, new)
    for other in (copy.copy(cache), copy.deepcopy(cache), KVCache.from_state(cache.state)):
        other.reset()
        cache.state["keys"][:] = 0
        assert cache.attend(new[:, :, :1], new[:, :, :1], new[:, :, :1]).tolist() == [[[[1.0]]]] * 2
        cache.crop(2)


def test_beams_write_into_their_own_memory():
    sequences = Sequences(KVCache, 4, None, np.float64)
    sequences.attend([2, 2, 2, 2])
    for index in ([1, 0, 3, 2], [0, 0, 0, 0], [3, 1, 1, 0], [0, 1, 2, 3]):
        sequences.select("reorder", index)
        sequences.attend([1, 1, 1, 1])


def test_selects_by_booleans_and_from_the_end():
    cache = KVCache(3, 1, 1)
    new = np.ones((3, 1, 3, 1), np.float32)
    cache.append(new, new, lengths=[1, 2, 3])
    cache.reset(np.array([False, True, False]))
    assert cache.lengths.tolist() == [1, 0, 3]
    cache.select([True, False, True])
    assert cache.lengths.tolist() == [1, 3]
    cache.select([-1])
    assert cache.lengths.tolist() == [3]
    cache.reset([])
    assert cache.lengths.tolist() == [3]


STATE = KVCache(2, 1, 1).state
REFUSED = {
    "crop of a float": (lambda c: c.crop(1.5), TypeError, "length must hold integers"),
    "crop of -1": (lambda c: c.crop(-1), ValueError, "length must be at least 0, got -1"),
    "crop of another batch": (lambda c: c.crop([1, 1, 1]), ValueError, "(2,), got shape (3,)"),
    "reset of 2": (lambda c: c.reset(2), IndexError, "rows must be of the 2 sequences, got 2 to 2"),
    "reset of a float": (lambda c: c.reset(1.0), TypeError, "rows must hold integers"),
    "reset of 3 booleans": (lambda c: c.reset([True] * 3), IndexError, "got (3,)"),
    "reorder of one": (lambda c: c.reorder([1]), ValueError, "`select` changes the batch"),
    "reorder of -3": (lambda c: c.reorder([0, -3]), IndexError, "index must be of the 2 sequences"),
    "select of none": (lambda c: c.select([]), ValueError, "at least one sequence, got []"),
    "select of a table": (lambda c: c.select([[0]]), IndexError, "at most 1 dimension"),
    "expand by 0": (lambda c: c.expand(0), ValueError, "count must be at least 1, got 0"),
    "no window": (
        lambda c: c.from_state({k: v for k, v in STATE.items() if k != "window"}), ValueError,
        "state must hold keys, values, lengths, kept, capacity, window, got no window",
    ),
    "other values": (
        lambda c: c.from_state(STATE | {"values": np.ones((1, 1, 0, 1), "f4")}), ValueError,
        "keys and values of shape (batch, heads, kept, dim), got (2, 1, 0, 1) and (1, 1, 0, 1)",
    ),
    "values of another dtype": (
        lambda c: c.from_state(STATE | {"values": np.ones((2, 1, 0, 1))}), TypeError,
        "values must have the dtype of the cache",
    ),
    "kept more than there are": (
        lambda c: c.from_state(STATE | {"kept": [0, 1]}), ValueError, "kept [0, 1] of keys",
    ),
    "integers": (lambda c: KVCache(1, 1, 1, dtype=np.int32), TypeError, "dtype must be float16"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_and_stays_as_it_was(case):
    act, error, words = REFUSED[case]
    cache = KVCache(2, 1, 1)
    new = np.ones((2, 1, 2, 1), np.float32)
    cache.append(new, new)
    with pytest.raises(error) as caught:
        act(cache)
    assert words in str(caught.value)
    assert cache.lengths.tolist() == [2, 2]


def test_many_sequences_end_at_different_times(cache_type):
    sequences = Sequences(cache_type, 5, None, np.float32)
    sequences.attend([7, 3, 5, 1, 6])
    for counts in (
        [1, 0, 1, 1, 1],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [2, 0, 1, 3, 0],
    ):
        sequences.attend(counts)
