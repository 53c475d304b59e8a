"""A cache of keys and values, for attending to one position after the other."""

import math
import operator
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastllm import _backend
from fastllm.api.attention import PreparedQueries
from fastllm.checks.attention import (
    NOT_ALIGNED,
    AttentionArguments,
    check_attention,
    plain_signature,
)

Array = NDArray[Any]
# Scale, softcap, slopes and sinks.
_Options = tuple[float | None, float, ArrayLike | None, ArrayLike | None]
# Bytes that the memory is read by.
_LINE = 64
# Attention is planned for so many positions at a time, and so many of these plans are kept.
_ROUND, _MAX_PREPARED = 256, 64
# What `KVCache.state` holds.
_STATE = "keys", "values", "lengths", "kept", "capacity", "window"


class _Step(NamedTuple):
    """A call with one new position of every sequence that was checked and can be made again."""

    shapes: tuple[tuple[int, ...], ...]  # of query, key and value
    scale: float | None
    softcap: float
    begin: int  # the first position that was planned for
    end: int  # and the one behind the last
    key_slots: Array  # where the keys of a position go, by its number
    value_slots: Array
    attend: PreparedQueries


class KVCache:
    """Keys and values of the positions so far, so that new positions attend to them.

    Attention of the last positions of a sequence needs the keys and values of all earlier ones,
    which do not change. The cache keeps them: each step gives what causal attention over the whole
    sequence gives for the new positions, and computes those alone.

    Parameters
    ----------
    batch : int
        How many sequences there are; they may have different lengths.
    heads : int
        Heads of keys and values. Queries may have a multiple of them: grouped heads.
    head_dim : int
        Size of a key.
    value_dim : int, optional
        Size of a value, by default `head_dim`.
    dtype : dtype, default float32
        Of keys, values and queries; uint16 holds the bits of bfloat16.
    capacity : int, default 256
        Positions to allocate beforehand. The cache doubles when it is full.
    window : int, optional
        How many positions a query sees, its own included. The cache then keeps no more than twice
        as many, whatever the length, and `capacity` is not used.

    Raises
    ------
    TypeError, ValueError
        If a size is not an integer, or less than 1, or a dtype is not one of attention.

    Notes
    -----
    A cache pickles with what it keeps and no more. Its methods that forget or move sequences
    (`crop`, `reset`, `reorder`, `select`, `expand`) leave it as if it had seen no other positions.

    Examples
    --------
    Equal keys weigh the same, so that each step gives the mean of the values so far:

    >>> cache = KVCache(batch=1, heads=1, head_dim=1)
    >>> for number in (2.0, 4.0, 9.0):
    ...     value = np.full((1, 1, 1, 1), number, np.float32)
    ...     print(cache.attend(np.ones_like(value), np.ones_like(value), value).item())
    2.0
    3.0
    5.0
    >>> cache.lengths.tolist()
    [3]
    """

    _attention = _backend.attention

    def __init__(
        self,
        batch: int,
        heads: int,
        head_dim: int,
        value_dim: int | None = None,
        *,
        dtype: DTypeLike = np.float32,
        capacity: int = 256,
        window: int | None = None,
    ) -> None:
        self._batch = _positive("batch", batch)
        self._heads = _positive("heads", heads)
        self._head_dim = _positive("head_dim", head_dim)
        self._value_dim = self._head_dim if value_dim is None else _positive("value_dim", value_dim)
        self._window = None if window is None else _positive("window", window)
        self._dtype = _computable("dtype", dtype)
        slots = _positive("capacity", capacity) if self._window is None else 2 * self._window
        self._keys, self._values = self._allocate(slots)
        # How many of the positions of each sequence are in the arrays, and how many were before
        # these: none, without a window.
        self._kept = np.zeros(self._batch, np.int64)
        self._gone = np.zeros(self._batch, np.int64)
        self._shortest = self._longest = 0
        # How many of the last positions are new, where sequences differ.
        self._new = np.zeros(self._batch, np.int64)
        # The last call of attention that was checked, and those that can be made again.
        self._accepted: Hashable = None
        self._prepared: dict[Hashable, PreparedQueries | None] = {}
        self._step: _Step | None = None

    @property
    def lengths(self) -> Array:
        """How many positions each sequence has had, shape (batch,)."""
        lengths: Array = self._gone + self._kept
        return lengths

    @property
    def capacity(self) -> int:
        """How many positions the memory that is allocated now can hold."""
        return int(self._keys.shape[2])

    @property
    def nbytes(self) -> int:
        """The size of that memory in bytes."""
        return int(self._keys.nbytes + self._values.nbytes)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Forget all positions, of all sequences or of some; the memory is kept.

        Parameters
        ----------
        rows : array_like of int or of bool, optional
            Which sequences, as NumPy counts them, or for each whether it is one of them.

        Raises
        ------
        TypeError, IndexError
            If `rows` does not say which sequences.

        Examples
        --------
        One sequence ends, and another takes its place:

        >>> cache = KVCache(batch=2, heads=1, head_dim=1)
        >>> new = np.ones((2, 1, 3, 1), np.float32)
        >>> cache.append(new, new)
        >>> cache.reset(1)
        >>> cache.lengths.tolist()
        [3, 0]
        """
        which = np.arange(self._batch) if rows is None else self._sequences("rows", rows)
        self._kept[which] = self._gone[which] = 0
        self._find_extremes()

    def crop(self, length: ArrayLike) -> None:
        """Forget the positions behind a length, such as tokens that were guessed and refused.

        Parameters
        ----------
        length : int, or array_like of int, shape (batch,)
            How many positions to keep, of all sequences or of each. Shorter ones stay as they are.

        Raises
        ------
        TypeError, ValueError
            If `length` is not of integers of at least 0, or has another shape. With a window, if
            the next position would see some that are not kept. To go back by half the window, from
            the most positions that there were, is always possible.

        Examples
        --------
        >>> cache = KVCache(batch=2, heads=1, head_dim=1)
        >>> new = np.ones((2, 1, 5, 1), np.float32)
        >>> cache.append(new, new)
        >>> cache.crop([3, 4])
        >>> cache.lengths.tolist()
        [3, 4]
        """
        wanted = _integers("length", length)
        if wanted.shape not in ((), (self._batch,)):
            raise ValueError(
                f"length must be a number, or have shape (batch,) = ({self._batch},), "
                f"got shape {wanted.shape}"
            )
        if wanted.min() < 0:
            raise ValueError(f"length must be at least 0, got {length!r}")
        lengths = np.minimum(self.lengths, wanted)
        if self._window is not None:
            # The next position sees one less than the window of those before it.
            least = np.where(self._gone > 0, self._gone + self._window - 1, 0)
            if (lengths < least).any():
                raise ValueError(
                    f"length must be at least {least.tolist()}, as in a window of {self._window} "
                    f"earlier positions are not kept, got {length!r}"
                )
        self._kept[:] = lengths - self._gone
        self._find_extremes()

    def reorder(self, index: ArrayLike) -> None:
        """Let each sequence go on from what another was: the beams of a search.

        Parameters
        ----------
        index : array_like of int, shape (batch,)
            Which sequence each becomes; several may become the same one.

        Raises
        ------
        TypeError, ValueError, IndexError
            If `index` is not of integers, has another shape, or there is no such sequence.

        Examples
        --------
        >>> cache = KVCache(batch=2, heads=1, head_dim=1)
        >>> new = np.ones((2, 1, 2, 1), np.float32)
        >>> cache.append(new, new, lengths=[1, 2])
        >>> cache.reorder([1, 1])
        >>> cache.lengths.tolist()
        [2, 2]
        """
        shape = _integers("index", index).shape
        if shape != (self._batch,):
            raise ValueError(
                f"index must have shape (batch,) = ({self._batch},), got {shape}; "
                "`select` changes the batch"
            )
        self.select(index)

    def select(self, index: ArrayLike) -> None:
        """Keep some sequences, in this order: the batch is as long as `index` from then on.

        Parameters
        ----------
        index : array_like of int or of bool
            Which sequences, as NumPy counts them, or for each whether it is one of them.

        Raises
        ------
        TypeError, ValueError, IndexError
            If `index` does not say which sequences, or none.

        Examples
        --------
        >>> cache = KVCache(batch=3, heads=1, head_dim=1)
        >>> new = np.ones((3, 1, 3, 1), np.float32)
        >>> cache.append(new, new, lengths=[1, 2, 3])
        >>> cache.select([2, 0])
        >>> cache.lengths.tolist()
        [3, 1]
        """
        which = self._sequences("index", index)
        if not which.size:
            raise ValueError(f"index must have at least one sequence, got {index!r}")
        if which.size == self._batch:
            self._move(which)
        else:
            self._replace(which)
        self._find_extremes()

    def expand(self, count: int) -> None:
        """Repeat each sequence: the beams that begin with one prompt.

        Parameters
        ----------
        count : int
            How many each becomes, one next to the other.

        Raises
        ------
        TypeError, ValueError
            If `count` is not an integer, or less than 1.

        Examples
        --------
        >>> cache = KVCache(batch=2, heads=1, head_dim=1)
        >>> new = np.ones((2, 1, 2, 1), np.float32)
        >>> cache.append(new, new, lengths=[1, 2])
        >>> cache.expand(2)
        >>> cache.lengths.tolist()
        [1, 1, 2, 2]
        """
        self.select(np.repeat(np.arange(self._batch), _positive("count", count)))

    @property
    def state(self) -> dict[str, Array]:
        """All that the cache holds, as copies, to be stored and given to `from_state`.

        ``keys`` and ``values``, shape (batch, heads, kept, dim), the positions that are ``kept`` of
        each sequence first; ``lengths``, as the property; ``capacity`` and ``window``, of which 0
        is none. All are arrays, so that ``np.savez(file, **cache.state)`` stores them; bfloat16,
        which such a file does not know, as its bits.

        Examples
        --------
        >>> cache = KVCache(batch=1, heads=1, head_dim=1)
        >>> new = np.ones((1, 1, 2, 1), np.float32)
        >>> cache.append(new, new)
        >>> {name: array.shape for name, array in cache.state.items()}["keys"]
        (1, 1, 2, 1)
        >>> KVCache.from_state(cache.state).lengths.tolist()
        [2]
        """
        return {
            "keys": self._keys[:, :, : self._longest].copy(),
            "values": self._values[:, :, : self._longest].copy(),
            "lengths": self.lengths,
            "kept": self._kept.copy(),
            "capacity": np.array(self.capacity),
            "window": np.array(self._window or 0),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, ArrayLike]) -> Self:
        """A cache that goes on where another was when its `state` was taken.

        Parameters
        ----------
        state : mapping of str to array_like
            What `state` was, or what ``np.load`` reads of a file with it.

        Raises
        ------
        TypeError, ValueError
            If an array is missing, or they do not fit together.
        """
        missing = [name for name in _STATE if name not in state]
        if missing:
            raise ValueError(f"state must hold {', '.join(_STATE)}, got no {', '.join(missing)}")
        keys, values, lengths, kept, capacity, window = (np.asarray(state[name]) for name in _STATE)
        if keys.ndim != 4 or values.ndim != 4 or keys.shape[:3] != values.shape[:3]:
            raise ValueError(
                "state must have keys and values of shape (batch, heads, kept, dim), "
                f"got {keys.shape} and {values.shape}"
            )
        batch, heads, longest, head_dim = keys.shape
        cache = cls(
            batch,
            heads,
            head_dim,
            values.shape[-1],
            dtype=keys.dtype,
            capacity=capacity.item(),
            window=window.item() or None,
        )
        if (
            not lengths.shape == kept.shape == (batch,)
            or not 0 <= kept.min() <= kept.max() == longest <= cache.capacity
            or (kept != lengths if cache._window is None else kept > lengths).any()
        ):
            raise ValueError(
                "state must have lengths, and how many positions are kept, of each sequence, got "
                f"lengths {lengths.tolist()} and kept {kept.tolist()} of keys {keys.shape}"
            )
        cache._check_dtype("values", values)
        cache._keys[:, :, :longest], cache._values[:, :, :longest] = keys, values
        cache._kept[:], cache._gone[:] = kept, lengths - kept
        cache._find_extremes()
        return cache

    def __reduce__(self) -> Any:
        return type(self).from_state, (self.state,)

    def _move(self, which: Array) -> None:
        """Let each sequence become another one, in the same memory."""
        to = np.flatnonzero(which != np.arange(self._batch))
        kept = slice(0, self._longest)
        for array in (self._keys, self._values):
            array[to, :, kept] = array[which[to], :, kept]
        self._kept[:], self._gone[:] = self._kept[which], self._gone[which]

    def _replace(self, which: Array) -> None:
        """Let the batch be other sequences, in memory of its own."""
        old = self._keys, self._values
        kept = slice(0, self._longest)
        self._batch = which.size
        self._keys, self._values = self._allocate(self.capacity)
        for array, source in zip((self._keys, self._values), old, strict=True):
            array[:, :, kept] = source[which, :, kept]
        self._kept, self._gone = self._kept[which], self._gone[which]
        self._new = np.zeros(self._batch, np.int64)
        self._forget_plans()

    def _sequences(self, name: str, rows: ArrayLike) -> Array:
        """Which sequences, as numbers from 0 on."""
        array = np.asarray(rows)
        if array.dtype == np.bool_:
            if array.shape != (self._batch,):
                raise IndexError(
                    f"{name} of booleans must have shape (batch,) = ({self._batch},), "
                    f"got {array.shape}"
                )
            return np.flatnonzero(array)
        array = _integers(name, array if array.size else array.astype(np.int64))
        if array.ndim > 1:
            raise IndexError(f"{name} must have at most 1 dimension, got shape {array.shape}")
        if array.size and not -self._batch <= array.min() <= array.max() < self._batch:
            raise IndexError(
                f"{name} must be of the {self._batch} sequences, got {array.min()} to {array.max()}"
            )
        return array.reshape(-1) % self._batch

    def append(self, key: ArrayLike, value: ArrayLike, *, lengths: ArrayLike | None = None) -> None:
        """Add new positions without attending.

        Parameters
        ----------
        key : array_like, shape (batch, heads, new, head_dim)
            Keys of the next positions of each sequence.
        value : array_like, shape (batch, heads, new, value_dim)
            Their values.
        lengths : array_like of int, shape (batch,), optional
            How many of the new positions each sequence really has, by default all; the rest is
            padding at the end and not stored.

        Raises
        ------
        TypeError, ValueError
            If a dtype or shape is not that of the cache, or `lengths` is out of range.
        """
        keys, values = np.asarray(key), np.asarray(value)
        self._check(keys, values)
        new, step = keys.shape[2], self._piece()
        counts = self._counts(lengths, new)
        for start in range(0, new, step):
            piece = slice(start, start + step)
            part = _part(counts, start, min(step, new - start))
            self._store(keys[:, :, piece], values[:, :, piece], part)

    def attend(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        *,
        lengths: ArrayLike | None = None,
        scale: float | None = None,
        softcap: float = 0.0,
        alibi_slopes: ArrayLike | None = None,
        sinks: ArrayLike | None = None,
    ) -> Array:
        """Add new positions, and attend with the query of each to all positions up to itself.

        Parameters
        ----------
        query : array_like, shape (batch, query_heads, new, head_dim)
            Queries of the new positions; query_heads is a multiple of the heads of the cache.
        key, value, lengths
            As for `append`.
        scale, softcap, alibi_slopes, sinks
            As for `scaled_dot_product_attention`.

        Returns
        -------
        ndarray, shape (batch, query_heads, new, value_dim)
            What causal attention over the whole sequences gives for the new positions, in the dtype
            of the cache; 0 for padding.

        Raises
        ------
        TypeError, ValueError
            If a dtype or shape is not that of the cache, or an option is out of range.

        Examples
        --------
        Two sequences at once, of which the second has one position only. A window of 1 sees but
        the position itself:

        >>> cache = KVCache(batch=2, heads=1, head_dim=1, window=1)
        >>> new = np.arange(4, dtype=np.float32).reshape(2, 1, 2, 1)
        >>> cache.attend(new, new, new, lengths=[2, 1]).ravel().tolist()
        [0.0, 1.0, 2.0, 0.0]
        """
        if self._step is not None and lengths is alibi_slopes is sinks is None:
            result = self._attend_again(self._step, query, key, value, scale, softcap)
            if result is not None:
                return result
        queries, keys, values = np.asarray(query), np.asarray(key), np.asarray(value)
        options = scale, softcap, alibi_slopes, sinks
        signature = None
        if alibi_slopes is sinks is None and type(softcap) is float:
            plain = plain_signature(queries, keys, values, True, scale, True, NOT_ALIGNED)
            # One query on about as many keys is not the same here.
            signature = plain and (plain, keys.shape, softcap)
        if signature is None or signature != self._accepted:
            self._check(keys, values)
            self._check_query(queries, keys.shape[2])
            # What attention would refuse is refused before anything is stored.
            self._arguments(queries, 0, options)
            self._accepted = signature
        new, step = keys.shape[2], self._piece()
        counts = self._counts(lengths, new)
        if new <= step:
            self._store(keys, values, counts)
            return self._attend_stored(queries, counts, options, signature)
        out = np.empty((*queries.shape[:-1], self._value_dim), self._dtype)
        for start in range(0, new, step):
            piece = slice(start, start + step)
            part = _part(counts, start, min(step, new - start))
            self._store(keys[:, :, piece], values[:, :, piece], part)
            out[:, :, piece] = self._attend_stored(queries[:, :, piece], part, options, None)
        return out

    def _attend_again(
        self, step: _Step, query: Any, key: Any, value: Any, scale: object, softcap: object
    ) -> Array | None:
        """Make a step as it was made before, if it is as plain; checks take longer than that."""
        at = self._longest
        shapes, known_scale, known_softcap, begin, end, key_slots, value_slots, attend = step
        if not (
            type(query) is type(key) is type(value) is np.ndarray
            and query.dtype is key.dtype is value.dtype is self._dtype
            and (query.shape, key.shape, value.shape) == shapes
            and query.flags.carray
            # What is equal may be of another type, and refused.
            and (scale is known_scale or (type(scale) is float and scale == known_scale))
            and (softcap is known_softcap or (type(softcap) is float and softcap == known_softcap))
            and begin <= at == self._shortest < end
        ):
            return None
        key_slots[at] = key
        value_slots[at] = value
        at += 1
        self._kept.fill(at)
        self._shortest = self._longest = at
        result = attend(query)
        if result is None:
            self._step = None
            options = known_scale, known_softcap, None, None
            return self._attend_stored(query, None, options, None)
        return result

    def _attend_stored(
        self, queries: Array, counts: Array | None, options: _Options, signature: Hashable
    ) -> Array:
        """Attend with the last positions that were stored."""
        # Rounded, so that many steps have the same shapes.
        seen = min(-(-self._longest // _ROUND) * _ROUND, self.capacity)
        if counts is not None:
            self._new[:] = counts
        call = signature, seen, counts is None
        prepared = self._prepared.get(call)
        if prepared is not None:
            result = prepared(queries)
            if result is not None:
                if counts is None and queries.shape[2] == 1:
                    self._remember(queries, options, seen, prepared)
                return result
        arguments = self._arguments(queries, seen, options)._replace(
            kv_lens=self._kept, q_lens=None if counts is None else self._new
        )
        engine = self._attention.ENGINE
        if signature is not None and (prepared or call not in self._prepared):
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            self._prepared[call] = engine.prepare_queries(arguments, self._keys, self._values)
        out: Array = engine.attend(arguments)[0]
        return out

    def _remember(
        self, queries: Array, options: _Options, seen: int, attend: PreparedQueries
    ) -> None:
        """Let the next steps like this one be made at once, if there are no other options."""
        scale, softcap, *_ = options
        if self._shortest == self._longest and queries.flags.carray:
            shape = self._batch, self._heads, 1
            self._step = _Step(
                shapes=(queries.shape, (*shape, self._head_dim), (*shape, self._value_dim)),
                scale=scale,
                softcap=softcap,
                begin=(seen - 1) // _ROUND * _ROUND,
                end=seen,
                key_slots=self._keys.transpose(2, 0, 1, 3)[:, :, :, None],
                value_slots=self._values.transpose(2, 0, 1, 3)[:, :, :, None],
                attend=attend,
            )

    def _arguments(self, queries: Array, seen: int, options: _Options) -> AttentionArguments:
        """Checked arguments of attention over the first positions that are kept."""
        scale, softcap, alibi_slopes, sinks = options
        return check_attention(
            queries,
            self._keys[:, :, :seen],
            self._values[:, :, :seen],
            attn_mask=None,
            dropout_p=0.0,
            is_causal=True,
            scale=scale,
            enable_gqa=True,
            causal_align="bottom-right",
            window=None if self._window is None else (self._window - 1, 0),
            softcap=softcap,
            alibi_slopes=alibi_slopes,
            sinks=sinks,
            kv_lens=None,
            cu_seqlens_q=None,
            cu_seqlens_k=None,
            return_lse=False,
            out=None,
        )

    @staticmethod
    def _still_kept(window: int) -> int:
        """How many positions stay where room is made: those in sight of the next, and spare ones.

        The spare ones are for `crop`.
        """
        return window - 1 + window // 2

    def _piece(self) -> int:
        # With a window, as many at a time as fit behind the positions that are still kept.
        return 2**62 if self._window is None else self.capacity - self._still_kept(self._window)

    def _allocate(self, slots: int) -> tuple[Array, Array]:
        shape = self._batch, self._heads, slots
        return (
            _empty((*shape, self._head_dim), self._dtype),
            _empty((*shape, self._value_dim), self._dtype),
        )

    def _store(self, keys: Array, values: Array, counts: Array | None) -> None:
        """Write positions behind those that are kept, making room first."""
        new = keys.shape[2]
        if self._longest + new > self.capacity:
            needed = int((self._kept + (new if counts is None else counts)).max())
            if needed > self.capacity:
                self._make_room(needed)
        if counts is None and self._shortest == self._longest:
            end = self._longest + new
            self._keys[:, :, self._longest : end] = keys
            self._values[:, :, self._longest : end] = values
            self._kept.fill(end)
            self._shortest = self._longest = end
            return
        if counts is None:
            counts = np.full(self._batch, new)
        if new == 1:
            which = np.flatnonzero(counts)
            at = self._kept[which]
            self._keys[which, :, at] = keys[which, :, 0]
            self._values[which, :, at] = values[which, :, 0]
        else:
            for i, (kept, count) in enumerate(
                zip(self._kept.tolist(), counts.tolist(), strict=True)
            ):
                self._keys[i, :, kept : kept + count] = keys[i, :, :count]
                self._values[i, :, kept : kept + count] = values[i, :, :count]
        self._kept += counts
        self._find_extremes()

    def _find_extremes(self) -> None:
        """How many positions are kept of the shortest and of the longest sequence."""
        self._shortest, self._longest = int(self._kept.min()), int(self._kept.max())

    def _make_room(self, needed: int) -> None:
        old_keys, old_values = self._keys, self._values
        if self._window is None:
            self._keys, self._values = self._allocate(max(needed, 2 * self.capacity))
            self._forget_plans()
        for i, kept in enumerate(self._kept.tolist()):
            still = kept if self._window is None else min(kept, self._still_kept(self._window))
            self._keys[i, :, :still] = old_keys[i, :, kept - still : kept]
            self._values[i, :, :still] = old_values[i, :, kept - still : kept]
            self._kept[i] = still
            self._gone[i] += kept - still
        self._find_extremes()

    def _forget_plans(self) -> None:
        """Plan anew, in other memory."""
        self._prepared.clear()
        self._step = None

    def _check(self, keys: Array, values: Array) -> None:
        for name, array, dim in (
            ("key", keys, self._head_dim),
            ("value", values, self._value_dim),
        ):
            self._check_dtype(name, array)
            if array.ndim != 4 or array.shape != (self._batch, self._heads, array.shape[2], dim):
                raise ValueError(
                    f"{name} must have shape (batch, heads, new, {name}_dim) = "
                    f"({self._batch}, {self._heads}, new, {dim}), got {array.shape}"
                )
        new = keys.shape[2]
        if values.shape[2] != new:
            raise ValueError(
                "key and value must have as many new positions, "
                f"got key {keys.shape} and value {values.shape}"
            )

    def _counts(self, lengths: ArrayLike | None, new: int) -> Array | None:
        """How many of the new positions each sequence has, or None: all."""
        if lengths is None:
            return None
        counts = _integers("lengths", lengths)
        if counts.shape != (self._batch,):
            raise ValueError(
                f"lengths must have shape (batch,) = ({self._batch},), got {counts.shape}"
            )
        if not 0 <= counts.min() <= counts.max() <= new:
            raise ValueError(
                f"lengths must be between 0 and the {new} new positions, "
                f"got {counts.min()} to {counts.max()}"
            )
        return None if counts.min() == new else counts

    def _check_query(self, query: Array, new: int) -> None:
        self._check_dtype("query", query)
        if (
            query.ndim != 4
            or query.shape[0] != self._batch
            or query.shape[1] % self._heads
            or query.shape[2:] != (new, self._head_dim)
        ):
            raise ValueError(
                "query must have shape (batch, query_heads, new, head_dim) = "
                f"({self._batch}, a multiple of {self._heads}, {new}, {self._head_dim}), "
                f"got {query.shape}"
            )

    def _check_dtype(self, name: str, array: Array) -> None:
        if array.dtype != self._dtype:
            raise TypeError(
                f"{name} must have the dtype of the cache, {self._dtype}, got {array.dtype}"
            )


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array that begins at a cache line: rows elsewhere lie in more lines than they fill."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _LINE, np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + size].view(dtype).reshape(shape)


def _part(counts: Array | None, start: int, step: int) -> Array | None:
    """How many of the `step` positions from `start` on each sequence has, or None: all."""
    return None if counts is None else np.clip(counts - start, 0, step)


def _computable(name: str, dtype: DTypeLike) -> np.dtype[Any]:
    found = np.dtype(dtype)
    is_float = found.kind == "f" and found.itemsize <= 8
    if not found.isnative or not (is_float or found.name in ("bfloat16", "uint16")):
        raise TypeError(
            f"{name} must be float16, float32, float64, bfloat16, or uint16 for its bits, "
            f"got {found}"
        )
    return found


def _integers(name: str, numbers: ArrayLike) -> Array:
    array = np.asarray(numbers)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    return array.astype(np.int64)


def _positive(name: str, number: int) -> int:
    try:
        size = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {number!r}") from None
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {number!r}")
    return size
