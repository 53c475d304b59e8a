"""The memory that kernels work in."""

import numpy as np
import pytest
from attention.inputs import COMPILED, heads
from numba.core.runtime import _nrt_python, rtsys

from fastllm.fast import scaled_dot_product_attention, softmax


@pytest.mark.skipif(not COMPILED, reason="there is no arena without the compiler")
@pytest.mark.parametrize("q_len", [1, 40])
def test_kernels_give_back_what_they_take(q_len):
    query, key, value = heads(0, (2,), q_len, 50, 20, 12, np.float32)
    value[:, 7] = np.inf
    key[:, 3] = 1e30
    softmax(key)  # which sets up what counts
    counted = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    try:
        for mask in (None, np.ones((q_len, 50), np.bool_)):
            scaled_dot_product_attention(query, key, value, mask)
        softmax(key)
        after = rtsys.get_allocation_stats()
    finally:
        if not counted:
            _nrt_python.memsys_disable_stats()
    taken, freed = after.alloc - before.alloc, after.free - before.free
    assert taken == freed > 0
