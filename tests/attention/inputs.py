"""Arrays to attend to, and what NumPy makes of them."""

import os

import numpy as np

from fastllm.fast import attention
from fastllm.fast._attention import plan

SDPA = "scaled_dot_product_attention"


# Interpreted kernels (NUMBA_DISABLE_JIT=1) are a thousand times slower.
COMPILED = os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def oracle(query, key, value, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    """Attention by whole matrices in float64, for arguments without NaN or infinite values."""
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    if enable_gqa:
        k = np.repeat(k, q.shape[-3] // k.shape[-3], -3)
        v = np.repeat(v, q.shape[-3] // v.shape[-3], -3)
    scores = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = np.max(scores, -1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(top == -np.inf, 0.0, top))
    sums = weights.sum(-1, keepdims=True)
    return np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0) @ v


def normal(seed, shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def heads(seed, lead, q_len, kv_len, head_dim, value_dim, dtype, kv_lead=None):
    kv_lead = lead if kv_lead is None else kv_lead
    return (
        normal(seed, (*lead, q_len, head_dim), dtype),
        normal(seed + 1, (*kv_lead, kv_len, head_dim), dtype),
        normal(seed + 2, (*kv_lead, kv_len, value_dim), dtype),
    )


def forget_plans():
    """Plan all calls anew, since what plans depend on is another from now on."""
    plan.plan_of_shapes.cache_clear()
    plan._plan_of_packed_sequences.cache_clear()
    attention.FUNCTIONS._prepared.clear()
