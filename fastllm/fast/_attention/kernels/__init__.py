"""The kernels of attention: what there is, and what each is for.

=========================== ============================================== ===================
kernel                      for                                            file
=========================== ============================================== ===================
prefill_attention           many queries, every dtype and processor        prefill.py
prefill_attention_amx       many queries in bfloat16, with AMX             prefill_amx.py
prefill_attention_bf16x3    many queries in float32, with AMX              prefill_bf16x3.py
decode_attention            at most 16 rows: splits of the keys            decode.py
decode_attention_amx        the same in bfloat16, from five rows, with AMX decode_amx.py
merge_splits                what decode leaves, into results               decode.py
add_nonfinite_values        values that are NaN or infinite                nonfinite_values.py
add_nonfinite_values_decode the same after decoding                        nonfinite_decode.py
recompute_nonfinite_rows    rows among whose inputs are huge numbers       nonfinite_rows.py
softmax_rows                softmax alone                                  softmax.py
attention_steps             self-attention that keeps every step           softmax.py
=========================== ============================================== ===================

`plan.py` chooses between them. They are made of `tiles.py` and `amx_tiles.py` (a tile of queries,
one in each lane), `scores.py` (what options do to a score), `work.py` (work items), `scratch.py`
(scratch arrays, rows in and out) and of the instructions in `simd/`; `params.py` says what they are
given.

What holds for all of them:

- A key whose score is -inf, by a mask or by itself, contributes nothing, not even a NaN in its
  value. Vector code multiplies weight 0 by whatever the value is, so where rows come out as NaN or
  infinite, their groups are computed again, as `nonfinite_values.py` says.
- A row maximum is never NaN; NaN reaches the result through the sum.
- A row with nothing to attend to has sum 0 and result 0. A sink starts the sum, with value 0.
- There are no bounds checks: each file says why its indices are safe. NUMBA_DISABLE_JIT=1 runs the
  same kernels on NumPy arrays of a vector's length, with every access checked.
- All arguments have one type per dtype (flat, contiguous, marked as writable, which Numba tells
  from the object faster than read-only), so that there are four specializations of each kernel and
  no more: float32, float64, float16 and bfloat16. The last two are converted row by row or block by
  block.
- Kernels take arrays, not named tuples: Numba takes 1.5 microseconds more to recognise those, of
  some 15 for a small call. They make named tuples of them, which cost nothing.
"""

from fastllm.fast._attention.kernels.decode import decode_attention, merge_splits
from fastllm.fast._attention.kernels.decode_amx import decode_attention_amx
from fastllm.fast._attention.kernels.nonfinite_decode import add_nonfinite_values_decode
from fastllm.fast._attention.kernels.nonfinite_rows import recompute_nonfinite_rows
from fastllm.fast._attention.kernels.nonfinite_values import add_nonfinite_values
from fastllm.fast._attention.kernels.prefill import prefill_attention
from fastllm.fast._attention.kernels.prefill_amx import prefill_attention_amx
from fastllm.fast._attention.kernels.prefill_bf16x3 import prefill_attention_bf16x3
from fastllm.fast._attention.kernels.softmax import attention_steps, softmax_rows
from fastllm.fast._attention.runtime.jit import CHECKED, entry_for
from fastllm.fast._attention.simd.amx import amx_available
from fastllm.fast._attention.simd.vectors import VECTOR_BYTES

__all__ = [
    "CHECKED",
    "VECTOR_BYTES",
    "add_nonfinite_values",
    "add_nonfinite_values_decode",
    "amx_available",
    "attention_steps",
    "decode_attention",
    "decode_attention_amx",
    "entry_for",
    "merge_splits",
    "prefill_attention",
    "prefill_attention_amx",
    "prefill_attention_bf16x3",
    "recompute_nonfinite_rows",
    "softmax_rows",
]
