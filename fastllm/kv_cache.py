"""A cache of keys and values, for attending to one position after the other."""

import math
import operator
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastllm import _backend
from fastllm.api.attention import PreparedCall
from fastllm.checks.attention import AttentionArguments, check_attention

Array = NDArray[Any]
# Bytes that the memory is read by.
_LINE = 64
# Attention is planned for so many positions at a time.
_ROUND = 256
# How many of such plans are kept.
_MAX_PREPARED = 64


class _Options(NamedTuple):
    """Options of attention."""

    scale: float | None
    softcap: float
    alibi_slopes: ArrayLike | None
    sinks: ArrayLike | None

    def signature(self, queries: Array) -> Hashable:
        """What calls that need the same checks have in common; None if it is not so simple."""
        if (
            self.alibi_slopes is self.sinks is None
            and type(self.softcap) is float
            and (self.scale is None or type(self.scale) is float)
        ):
            return queries.shape, self.scale, self.softcap
        return None


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
        If a size is not an integer, or less than 1.

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
        self._dtype = np.dtype(dtype)
        slots = _positive("capacity", capacity) if self._window is None else 2 * self._window
        self._keys, self._values = self._allocate(slots)
        self._lengths = np.zeros(self._batch, np.int64)
        # How many of the positions of each sequence are in the arrays: all, without a window.
        self._kept = np.zeros(self._batch, np.int64)
        self._shortest = self._longest = 0
        # How many of the last positions are new, where sequences differ.
        self._new = np.zeros(self._batch, np.int64)
        # The last call of attention that was checked, and those that can be made again.
        self._accepted: Hashable = None
        self._prepared: dict[Hashable, PreparedCall | None] = {}

    @property
    def lengths(self) -> Array:
        """How many positions each sequence has had, shape (batch,)."""
        return self._lengths.copy()

    @property
    def capacity(self) -> int:
        """How many positions the memory that is allocated now can hold."""
        return int(self._keys.shape[2])

    @property
    def nbytes(self) -> int:
        """The size of that memory in bytes."""
        return int(self._keys.nbytes + self._values.nbytes)

    def reset(self) -> None:
        """Forget all positions; the memory is kept."""
        self._lengths[:] = 0
        self._kept[:] = 0
        self._find_extremes()

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
        keys, values, counts = self._checked(key, value, lengths)
        new, step = keys.shape[2], self._step()
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
        keys, values, counts = self._checked(key, value, lengths)
        queries = np.asarray(query)
        self._check_query(queries, keys.shape[2])
        options = _Options(scale, softcap, alibi_slopes, sinks)
        # What attention would refuse is refused before anything is stored.
        signature = options.signature(queries)
        if signature is None or signature != self._accepted:
            self._arguments(queries, 0, options)
            self._accepted = signature
        new, step = keys.shape[2], self._step()
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

    def _attend_stored(
        self, queries: Array, counts: Array | None, options: "_Options", signature: Hashable
    ) -> Array:
        """Attend with the last positions that were stored."""
        # Rounded, so that many steps have the same shapes.
        seen = min(-(-self._longest // _ROUND) * _ROUND, self.capacity)
        if counts is not None:
            self._new[:] = counts
        call = None
        if signature is not None and queries.flags.carray:
            call = signature, seen, counts is None
            prepared = self._prepared.get(call)
            if prepared is not None:
                return prepared(queries, self._keys, self._values)
        arguments = self._arguments(queries, seen, options)._replace(
            kv_lens=self._kept, q_lens=None if counts is None else self._new
        )
        engine = self._attention.ENGINE
        if call is not None and call not in self._prepared:
            if len(self._prepared) >= _MAX_PREPARED:
                self._prepared.clear()
            self._prepared[call] = engine.prepare(arguments)
        out: Array = engine.attend(arguments)[0]
        return out

    def _arguments(self, queries: Array, seen: int, options: "_Options") -> AttentionArguments:
        """Checked arguments of attention over the first positions that are kept."""
        return check_attention(
            queries,
            self._keys[:, :, :seen],
            self._values[:, :, :seen],
            attn_mask=None,
            dropout_p=0.0,
            is_causal=True,
            enable_gqa=True,
            causal_align="bottom-right",
            window=None if self._window is None else (self._window - 1, 0),
            kv_lens=None,
            cu_seqlens_q=None,
            cu_seqlens_k=None,
            return_lse=False,
            out=None,
            **options._asdict(),
        )

    def _step(self) -> int:
        # With a window, as many at a time as fit behind the positions that they still see.
        return 2**62 if self._window is None else self._window + 1

    def _allocate(self, slots: int) -> tuple[Array, Array]:
        shape = self._batch, self._heads, slots
        return (
            _empty((*shape, self._head_dim), self._dtype),
            _empty((*shape, self._value_dim), self._dtype),
        )

    def _store(self, keys: Array, values: Array, counts: Array | None) -> None:
        """Write positions behind those that are kept, making room first."""
        new: Array | int = keys.shape[2] if counts is None else counts
        if self._longest + keys.shape[2] > self.capacity:
            needed = int((self._kept + new).max())
            if needed > self.capacity:
                self._make_room(needed)
        if counts is None and self._shortest == self._longest:
            place = slice(self._longest, self._longest + keys.shape[2])
            self._keys[:, :, place] = keys
            self._values[:, :, place] = values
        elif keys.shape[2] == 1:
            which = np.arange(self._batch) if counts is None else np.flatnonzero(counts)
            at = self._kept[which]
            self._keys[which, :, at] = keys[which, :, 0]
            self._values[which, :, at] = values[which, :, 0]
        else:
            ends = (self._kept + new).tolist()
            for i, (kept, end) in enumerate(zip(self._kept.tolist(), ends, strict=True)):
                self._keys[i, :, kept:end] = keys[i, :, : end - kept]
                self._values[i, :, kept:end] = values[i, :, : end - kept]
        self._kept += new
        self._lengths += new
        if counts is None:
            self._shortest += keys.shape[2]
            self._longest += keys.shape[2]
        else:
            self._find_extremes()

    def _find_extremes(self) -> None:
        """How many positions are kept of the shortest and of the longest sequence."""
        self._shortest, self._longest = int(self._kept.min()), int(self._kept.max())

    def _make_room(self, needed: int) -> None:
        old_keys, old_values = self._keys, self._values
        if self._window is None:
            self._keys, self._values = self._allocate(max(needed, 2 * self.capacity))
            self._prepared.clear()
        for i, kept in enumerate(self._kept.tolist()):
            # The next position sees one less than the window of those before it.
            still = kept if self._window is None else min(kept, self._window - 1)
            self._keys[i, :, :still] = old_keys[i, :, kept - still : kept]
            self._values[i, :, :still] = old_values[i, :, kept - still : kept]
            self._kept[i] = still
        self._find_extremes()

    def _checked(
        self, key: ArrayLike, value: ArrayLike, lengths: ArrayLike | None
    ) -> tuple[Array, Array, Array | None]:
        keys, values = np.asarray(key), np.asarray(value)
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
        if lengths is None:
            return keys, values, None
        counts = np.asarray(lengths)
        if counts.dtype.kind not in "iu":
            raise TypeError(f"lengths must hold integers, got dtype {counts.dtype}")
        if counts.shape != (self._batch,):
            raise ValueError(
                f"lengths must have shape (batch,) = ({self._batch},), got {counts.shape}"
            )
        if not 0 <= counts.min() <= counts.max() <= new:
            raise ValueError(
                f"lengths must be between 0 and the {new} new positions, "
                f"got {counts.min()} to {counts.max()}"
            )
        return keys, values, None if counts.min() == new else counts.astype(np.int64)

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


def _positive(name: str, number: int) -> int:
    try:
        size = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {number!r}") from None
    if size < 1:
        raise ValueError(f"{name} must be at least 1, got {number!r}")
    return size
