"""The public attention functions: each signature, docstring and check, once for both backends.

A backend is an `AttentionEngine`: three functions that compute, on arguments that have been
checked. `AttentionFunctions` puts the public functions before it, which check what they are given,
call the engine and round what it gives.
"""

from collections.abc import Callable, Hashable
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike

from fastllm.api.binding import PublicFunctions
from fastllm.api.dtypes import round_to, to_sum_dtype
from fastllm.checks.attention import (
    NOT_ALIGNED,
    Array,
    AttentionArguments,
    AttentionSteps,
    check_attention,
    check_self_attention,
    check_softmax,
    growing_signature,
    plain_signature,
    self_arguments,
)

__all__ = [
    "AttentionEngine",
    "AttentionFunctions",
    "PreparedCall",
    "PreparedQueries",
    "PreparedSoftmax",
]

# Query, key and value to the result.
PreparedCall = Callable[[Any, Any, Any], Array | None]
PreparedQueries = Callable[[Any], Array | None]
PreparedSoftmax = Callable[[Any], Array]
# A model that writes, a token after the other, has as many shapes.
_MAX_PREPARED = 256


class AttentionEngine(NamedTuple):
    """What a backend computes.

    Attributes
    ----------
    softmax : callable, (scores, axis) to weights
        Scores and weights in the dtype of the sums, `axis` from 0 on.
    attention_steps : callable, (x, causal) to `AttentionSteps`
        Every intermediate of self-attention, `x` (length, dim) in the dtype of the sums.
    attend : callable, `AttentionArguments` to (context, lse)
        The result in the dtype that the arguments name, in their `out` if there is one. Logarithms
        of the sums matter only where the arguments ask for them.
    prepare : callable, (`AttentionArguments`, (query, key, value), bool) to a callable or None
        What `attend` would give, without its logarithms, as a function of query, key and value that
        need no more checks: they have the `plain_signature` of those that the arguments were made
        of, or, if True, the `growing_signature`. None where that would not be faster; it gives None
        itself where it holds no longer.
    prepare_queries : callable, (`AttentionArguments`, key, value) to a callable or None
        The same as a function of the query alone, which has the layout of that of the arguments.
        Those have the first rows of key and value, contiguous arrays, and may have `kv_lens` and
        `q_lens`, which are read in each call.
    prepare_softmax : callable, (scores, axis) to a callable or None
        The same for `softmax`: a function of scores of the shape and dtype of these, which are
        contiguous, aligned and writable. None where that would not be faster.
    """

    softmax: Callable[[Array, int], Array]
    attention_steps: Callable[[Array, bool], AttentionSteps]
    attend: Callable[[AttentionArguments], tuple[Array, Array]]
    prepare: Callable[[AttentionArguments, tuple[Array, Array, Array], bool], PreparedCall | None]
    prepare_queries: Callable[[AttentionArguments, Array, Array], PreparedQueries | None]
    prepare_softmax: Callable[[Array, int], PreparedSoftmax | None]


class AttentionFunctions(PublicFunctions[AttentionEngine]):
    """The public functions on an engine.

    A call of plain arrays and options is checked and planned once for its shapes: what the engine
    prepared then serves the next ones, for which checks would take longer than the work.
    """

    def __init__(self, module: str, engine: AttentionEngine) -> None:
        super().__init__(module, engine)
        self._prepared: dict[Hashable, PreparedCall | None] = {}
        self._prepared_softmax: dict[Hashable, PreparedSoftmax | None] = {}

    def _prepare_and_call(
        self, signature: Hashable, arguments: AttentionArguments, arrays: tuple[Any, Any, Any]
    ) -> Array | None:
        if signature is None or not self._prepared.get(signature, True):
            return None
        prepared, growing = None, growing_signature(signature)
        if growing is not None and self._prepared.get(growing, True):
            prepared = self._engine.prepare(arguments, arrays, True)
            _keep(self._prepared, growing, prepared)
        if prepared is None and growing != signature:
            prepared = self._engine.prepare(arguments, arrays, False)
        _keep(self._prepared, signature, prepared)
        return prepared and prepared(*arrays)

    def _find_prepared(self, signature: Hashable) -> PreparedCall | None:
        """What was prepared for about as many keys serves for so many as well."""
        growing = growing_signature(signature)
        prepared = None if growing is None else self._prepared.get(growing)
        if prepared is not None:
            _keep(self._prepared, signature, prepared)
        return prepared

    def softmax(self, x: ArrayLike, axis: int = -1) -> Array:
        """Turn scores into weights that are positive and sum to 1 along an axis.

        Parameters
        ----------
        x : array_like, shape (..., length, ...)
            Scores, at least one dimension. float16 and bfloat16 are summed in float32; uint16 holds
            the bits of bfloat16; other integers become float64.
        axis : int, default -1
            The axis that sums to 1.

        Returns
        -------
        ndarray, shape of `x`
            ``exp(x) / sum(exp(x))`` along `axis`, in the dtype of `x`.

        Raises
        ------
        TypeError
            If `x` does not hold real numbers or `axis` is not an integer.
        ValueError
            If `x` has no dimension or `axis` is not one of them.

        Notes
        -----
        The largest score is subtracted first: it changes nothing in exact arithmetic and keeps
        scores of 1e4 finite. A row of nothing but -inf gives 0, not NaN: there is nothing to attend
        to. A NaN or +inf in a row makes the whole row NaN.

        References
        ----------
        J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs,
        with Relationships to Statistical Pattern Recognition", 1990.

        Examples
        --------
        With a = exp(-1) = 0.3679 and b = exp(-2) = 0.1353, the weights are b, a and 1 over 1.5032:

        >>> import numpy as np
        >>> from fastllm import softmax
        >>> [round(weight, 4) for weight in softmax([1.0, 2.0, 3.0]).tolist()]
        [0.09, 0.2447, 0.6652]
        >>> softmax([[1e4, 1e4], [-np.inf, -np.inf]]).tolist()
        [[0.5, 0.5], [0.0, 0.0]]
        """
        signature = None
        if type(x) is np.ndarray and x.flags.carray and type(axis) is int:
            signature = x.shape, x.dtype, axis
            prepared = self._prepared_softmax.get(signature)
            if prepared is not None:
                return prepared(x)
        scores, axis, dtype = check_softmax(x, axis)
        array = to_sum_dtype(scores)
        if signature is not None and array is x and signature not in self._prepared_softmax:
            _keep(self._prepared_softmax, signature, self._engine.prepare_softmax(array, axis))
        return round_to(self._engine.softmax(array, axis), dtype)

    @overload
    def self_attention(
        self, x: ArrayLike, *, causal: bool = False, return_steps: Literal[False] = False
    ) -> Array: ...
    @overload
    def self_attention(
        self, x: ArrayLike, *, causal: bool = False, return_steps: Literal[True]
    ) -> AttentionSteps: ...
    def self_attention(
        self, x: ArrayLike, *, causal: bool = False, return_steps: bool = False
    ) -> Array | AttentionSteps:
        """Mix every vector with those most like it: self-attention without trainable weights.

        Parameters
        ----------
        x : array_like, shape (length, dim)
            One vector per position, of the dtypes that `softmax` takes.
        causal : bool, default False
            Whether a position sees only itself and earlier ones.
        return_steps : bool, default False
            Whether to return every intermediate instead of the result alone.

        Returns
        -------
        ndarray, shape (length, dim)
            ``softmax(x @ x.T) @ x``, in the dtype of `x`. With ``return_steps=True``, a named tuple
            of scores, shifted, exponentials, row_sums, weights and context, the last one the
            result.

        Raises
        ------
        TypeError
            If `x` does not hold real numbers, or `causal` or `return_steps` is not a bool.
        ValueError
            If `x` does not have exactly two dimensions.

        Notes
        -----
        The scores are not divided by sqrt(dim): that comes with trainable weights. With
        ``causal=True`` the steps show future scores as -inf, whatever they were: a NaN in the
        future does not leak into the past, neither through its score nor, at weight 0, through its
        vector.

        References
        ----------
        S. Raschka, "Build a Large Language Model (From Scratch)", 2024, section 3.3.

        Examples
        --------
        The second position scores 1 with the first and 2 with itself, so it takes 1 / (1 + e) =
        0.2689 of the first vector and 0.7311 of its own:

        >>> from fastllm import self_attention
        >>> steps = self_attention([[1.0, 0.0], [1.0, 1.0]], return_steps=True)
        >>> steps.scores.tolist()
        [[1.0, 1.0], [1.0, 2.0]]
        >>> steps.weights.round(4).tolist()
        [[0.5, 0.5], [0.2689, 0.7311]]
        >>> steps.context.round(4).tolist()
        [[1.0, 0.5], [1.0, 0.7311]]
        """
        signature = None
        if return_steps is False:
            signature = plain_signature(x, x, x, causal, None, False, NOT_ALIGNED)
            prepared = self._prepared.get(signature)
            if prepared is not None:
                result = prepared(x, x, x)
                if result is not None:
                    return result
        vectors, causal, return_steps, dtype = check_self_attention(x, causal, return_steps)
        array = to_sum_dtype(vectors)
        if return_steps:
            steps = self._engine.attention_steps(array, causal)
            return AttentionSteps._make(round_to(step, dtype) for step in steps)
        arguments = self_arguments(array, causal)
        result = self._prepare_and_call(signature, arguments, (x, x, x)) if array is x else None
        if result is not None:
            return result
        return round_to(self._engine.attend(arguments)[0], dtype)

    @overload
    def scaled_dot_product_attention(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        attn_mask: ArrayLike | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | Array | None = None,
        enable_gqa: bool = False,
        *,
        causal_align: str = "top-left",
        window: tuple[int, int] | None = None,
        softcap: float | Array = 0.0,
        alibi_slopes: ArrayLike | None = None,
        sinks: ArrayLike | None = None,
        kv_lens: ArrayLike | None = None,
        cu_seqlens_q: ArrayLike | None = None,
        cu_seqlens_k: ArrayLike | None = None,
        return_lse: Literal[False] = False,
        out: Array | None = None,
    ) -> Array: ...
    @overload
    def scaled_dot_product_attention(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        attn_mask: ArrayLike | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | Array | None = None,
        enable_gqa: bool = False,
        *,
        causal_align: str = "top-left",
        window: tuple[int, int] | None = None,
        softcap: float | Array = 0.0,
        alibi_slopes: ArrayLike | None = None,
        sinks: ArrayLike | None = None,
        kv_lens: ArrayLike | None = None,
        cu_seqlens_q: ArrayLike | None = None,
        cu_seqlens_k: ArrayLike | None = None,
        return_lse: Literal[True],
        out: Array | None = None,
    ) -> tuple[Array, Array]: ...
    def scaled_dot_product_attention(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        attn_mask: ArrayLike | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | Array | None = None,
        enable_gqa: bool = False,
        *,
        causal_align: str = "top-left",
        window: tuple[int, int] | None = None,
        softcap: float | Array = 0.0,
        alibi_slopes: ArrayLike | None = None,
        sinks: ArrayLike | None = None,
        kv_lens: ArrayLike | None = None,
        cu_seqlens_q: ArrayLike | None = None,
        cu_seqlens_k: ArrayLike | None = None,
        return_lse: bool = False,
        out: Array | None = None,
    ) -> Array | tuple[Array, Array]:
        """Mix the values of every key, each by how well its key answers the query.

        The positional arguments, their order and defaults are those of
        ``torch.nn.functional.scaled_dot_product_attention``.

        Parameters
        ----------
        query : array_like, shape (..., heads, q_len, head_dim)
            What each position asks. The leading dimensions, none or more, broadcast. float16 and
            bfloat16 are summed in float32; uint16 holds the bits of bfloat16; other integers become
            float64. Query, key and value have one dtype.
        key : array_like, shape (..., heads, kv_len, head_dim)
            What each position answers to.
        value : array_like, shape (..., heads, kv_len, value_dim)
            What each position gives; value_dim may differ from head_dim.
        attn_mask : array_like, broadcasts to (..., heads, q_len, kv_len), optional
            Boolean: True means attend. Floating: added to the scores, -inf means do not attend.
        dropout_p : float, default 0.0
            Must be 0: dropout only serves training.
        is_causal : bool, default False
            Whether query i sees only the keys 0 to i; with `attn_mask`, those of them that the mask
            lets it attend to.
        scale : float or array of no dimensions, optional
            What the dot products are multiplied by, by default ``1 / sqrt(head_dim)``.
        enable_gqa : bool, default False
            Whether groups of query heads share a key and value head: query head h reads key head
            ``h // (heads // key_heads)``.
        causal_align : {"top-left", "bottom-right"}, default "top-left"
            Where the diagonal lies when q_len and kv_len differ: query i stands at key position i,
            or, with "bottom-right", at ``i + kv_len - q_len``, so that the last query stands at the
            last key. The causal mask, `window` and `alibi_slopes` count from there.
        window : (int, int), optional
            How many keys to the left and to the right of its own position a query sees; -1 means
            all. ``is_causal=True`` makes the right side 0.
        softcap : float, default 0.0
            Bound the scores, before any mask: ``softcap * tanh(score / softcap)``; 0 means not.
        alibi_slopes : array_like, broadcasts to (..., heads), optional
            Subtract from each score the slope of its head times the distance of key and query.
        sinks : array_like, broadcasts to (..., heads), optional
            A score per head that joins the sum of every row, and has no value to give.
        kv_lens : array_like of int, broadcasts to the dimensions before the heads, optional
            How many keys of each sequence there are; what lies behind them is never read.
        cu_seqlens_q, cu_seqlens_k : array_like of int, shape (sequences + 1,), optional
            Where each sequence starts if several lie one after the other along q_len and kv_len: 0,
            the end of the first, and so on. Each is attended to by itself, counting positions from
            its own start.
        return_lse : bool, default False
            Whether to return also the logarithm of the sum of each row's exponentials.
        out : ndarray, shape (..., heads, q_len, value_dim), optional
            Where to write the result, of its dtype and with any strides.

        Returns
        -------
        ndarray, shape (..., heads, q_len, value_dim)
            ``softmax(query @ key.T * scale + mask) @ value``, in the dtype of the arguments: `out`,
            if that is given. With ``return_lse=True`` a pair of this and the logarithms of the
            sums, shape (..., heads, q_len), in float32, or float64 where the sums run in it.

        Raises
        ------
        TypeError
            If an array does not hold real numbers (or integers, where it counts something), the
            dtypes differ, the mask is neither boolean nor floating, or a flag or number is of
            another type.
        ValueError
            If shapes do not fit, lengths lie outside of the arrays or only one of `cu_seqlens_q`
            and `cu_seqlens_k` is given, or a number is out of its range.
        NotImplementedError
            If `dropout_p` is greater than 0.

        Notes
        -----
        A query with nothing to attend to (every key masked, or no keys) gives 0, not NaN, and -inf
        for the logarithm of its sum; with a sink, the sink. NaN in a key or value that is attended
        to reaches the result; in one that is masked out it does not, although 0 times NaN is NaN.
        Scores of 1e4 stay finite. A score of -inf is a masked-out key; a score of +inf, or one too
        large for the dtype, is not a weight and gives NaN.

        Results over splits of the keys can be merged: ``weight = exp(lse - logaddexp.reduce(lse))``
        is the share of each split. Sinks go to one split only.

        References
        ----------
        A. Vaswani et al., "Attention Is All You Need", 2017, equation 1; J. Ainslie et al., "GQA:
        Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", 2023; O.
        Press et al., "Train Short, Test Long", 2022 (linear biases); Gemma Team, "Gemma 2", 2024
        (softcap); G. Xiao et al., "Efficient Streaming Language Models with Attention Sinks", 2024;
        T. Dao, "FlashAttention-2", 2023 (windows, packed sequences, sums).

        Examples
        --------
        At scale 1 the query scores ln 3 with the first key and 0 with the second, so the weights
        are 3/4 and 1/4; masked or causal, it sees the first key only:

        >>> import numpy as np
        >>> from fastllm import scaled_dot_product_attention
        >>> query, key, value = [[1.0]], [[np.log(3.0)], [0.0]], [[4.0, 8.0], [0.0, 4.0]]
        >>> scaled_dot_product_attention(query, key, value, scale=1.0).round(4).tolist()
        [[3.0, 7.0]]
        >>> scaled_dot_product_attention(query, key, value, [[True, False]]).tolist()
        [[4.0, 8.0]]
        >>> scaled_dot_product_attention(query, key, value, is_causal=True).tolist()
        [[4.0, 8.0]]
        >>> scaled_dot_product_attention(query, key, value, [[False, False]]).tolist()
        [[0.0, 0.0]]

        From the bottom right corner the one query stands at the second key: it sees both, or, in a
        window of 0 keys to either side, the second alone. Of a sequence of length 1 it sees the
        first:

        >>> low = {"is_causal": True, "causal_align": "bottom-right", "scale": 1.0}
        >>> scaled_dot_product_attention(query, key, value, **low).round(4).tolist()
        [[3.0, 7.0]]
        >>> scaled_dot_product_attention(query, key, value, **low, window=(0, 0)).tolist()
        [[0.0, 4.0]]
        >>> scaled_dot_product_attention(query, key, value, kv_lens=1).tolist()
        [[4.0, 8.0]]

        A slope of ln 3 takes ln 3 from the first score, one position away, so the weights are
        equal. A sink of ln 4 doubles the sum 3 + 1. Capped at 0.5 ln 3, a score of 5 ln 3 is 0.5 ln
        3, so that the weights are as the square root of 3 to 1:

        >>> slope = {"alibi_slopes": np.log(3.0), "causal_align": "bottom-right", "scale": 1.0}
        >>> scaled_dot_product_attention(query, key, value, **slope).round(4).tolist()
        [[2.0, 6.0]]
        >>> result, lse = scaled_dot_product_attention(
        ...     query, key, value, scale=1.0, sinks=np.log(4.0), return_lse=True
        ... )
        >>> result.round(4).tolist(), np.exp(lse).round(4).tolist()
        ([[1.5, 3.5]], [8.0])
        >>> capped = scaled_dot_product_attention(
        ...     query, key, value, scale=5.0, softcap=0.5 * np.log(3.0)
        ... )
        >>> (capped[0, 0] / (4.0 - capped[0, 0])).round(3).tolist()  # tanh(10) is 1 to 8 digits
        1.732

        Two sequences in one array, of one query and one key each, do not see each other:

        >>> packed = scaled_dot_product_attention(
        ...     [[1.0], [1.0]], key, value, cu_seqlens_q=[0, 1, 2], cu_seqlens_k=[0, 1, 2]
        ... )
        >>> packed.tolist()
        [[4.0, 8.0], [0.0, 4.0]]
        """
        signature = None
        if (
            attn_mask is window is alibi_slopes is sinks is kv_lens is None
            and cu_seqlens_q is cu_seqlens_k is out is None
            and return_lse is False
            and type(dropout_p) is type(softcap) is float
            and dropout_p == softcap == 0.0
        ):
            signature = plain_signature(
                query, key, value, is_causal, scale, enable_gqa, causal_align
            )
            prepared = self._prepared.get(signature) or self._find_prepared(signature)
            if prepared is not None:
                result = prepared(query, key, value)
                if result is not None:
                    return result
        arguments = check_attention(
            query,
            key,
            value,
            attn_mask,
            dropout_p,
            is_causal,
            scale,
            enable_gqa,
            causal_align,
            window,
            softcap,
            alibi_slopes,
            sinks,
            kv_lens,
            cu_seqlens_q,
            cu_seqlens_k,
            return_lse,
            out,
        )
        result = self._prepare_and_call(signature, arguments, (query, key, value))
        if result is not None:
            return result
        result, lse = self._engine.attend(arguments)
        return (result, lse) if arguments.return_lse else result


def _keep(prepared: dict[Hashable, Any], signature: Hashable, call: Any) -> None:
    if len(prepared) >= _MAX_PREPARED:
        prepared.clear()
    prepared[signature] = call
