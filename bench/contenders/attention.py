"""One contender of the attention rivals, in a process of its own.

Thread pools of two libraries in one process get in each other's way (their idle threads spin), so
`bench.attention_rivals` starts one of these for each contender and lets them take turns. A request
is a line of JSON on standard input, the answer a line of JSON on standard output: the time of every
call.
"""

import functools
import json
import sys
import time

import numpy as np

from bench import memory


@functools.lru_cache(maxsize=1)
def inputs(query, key, dtype):
    """Query, key and value of these shapes; those of bfloat16 as bits."""
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape, np.float32) for shape in (query, key, key)]
    if dtype == "bfloat16":
        return [(array.view(np.uint32) >> 16).astype(np.uint16) for array in arrays]
    return arrays


def fastllm_call(arrays, request):
    """Attention by fastllm, arrays in and an array out."""
    import numba

    import fastllm

    numba.set_num_threads(min(request["threads"], numba.config.NUMBA_NUM_THREADS))
    options = {"window": request["window"]} if request.get("window") else {}
    return lambda: fastllm.scaled_dot_product_attention(
        *arrays, is_causal=request["causal"], enable_gqa=True, **options
    )


def torch_call(arrays, request):
    """Attention by PyTorch, tensors that share the arrays' memory in and out."""
    import torch

    torch.set_num_threads(request["threads"])
    tensors = [torch.from_numpy(array) for array in arrays]
    if request["dtype"] == "bfloat16":
        tensors = [tensor.view(torch.bfloat16) for tensor in tensors]
    grouped = tensors[0].shape[1] != tensors[1].shape[1]
    attention = torch.nn.functional.scaled_dot_product_attention

    def call():
        result = attention(*tensors, is_causal=request["causal"], enable_gqa=grouped)
        return (result.view(torch.uint16) if result.dtype == torch.bfloat16 else result).numpy()

    return call


def by_hand(query, key, value, is_causal=False):
    """Attention as one writes it with NumPy, whole score matrices and grouped heads repeated."""
    group = query.shape[-3] // key.shape[-3] if query.ndim > 2 else 1
    key, value = (np.repeat(x, group, -3) if group > 1 else x for x in (key, value))
    scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, np.float32(-np.inf))
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights @ value / weights.sum(-1, keepdims=True)


def numpy_call(arrays, request):
    """Attention by NumPy alone."""
    return functools.partial(by_hand, *arrays, request["causal"])


def peak_memory(call):
    """By how many bytes a call makes the process grow while it runs, its result included."""
    memory.forget_peak()
    before = memory.held()
    result = call()
    assert result is not None
    return memory.peak() - before


CALLS = {"fastllm": fastllm_call, "torch": torch_call, "numpy": numpy_call}


def answer(contender, request):
    """Time as many calls as asked for, after as many to warm up; save the result if asked to."""
    arrays = inputs(tuple(request["query"]), tuple(request["key"]), request["dtype"])
    call = CALLS[contender](arrays, request)
    for _ in range(request["warm_up"]):
        call()
    if request.get("memory"):
        return peak_memory(call)
    times = []
    for _ in range(request["calls"]):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    if request.get("save"):
        np.save(request["save"], result)
    return times


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(sys.argv[1], json.loads(line))), flush=True)
