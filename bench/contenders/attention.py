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
def inputs(query, key, dtype, nonfinite):
    """Query, key and value of these shapes; those of bfloat16 as bits."""
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(shape, np.float32) for shape in (query, key, key)]
    if nonfinite:
        SPOIL[nonfinite](*arrays, generator)
    if dtype == "bfloat16":
        return [(array.view(np.uint32) >> 16).astype(np.uint16) for array in arrays]
    return arrays


def spoil_a_row_of_each_head(array, generator):
    for head in array.reshape(-1, *array.shape[-2:]):
        head[generator.integers(len(head))] = np.nan


# What is made NaN or infinite, in place.
SPOIL = {
    "masked value": lambda q, k, v, generator: v[..., -1:, :].fill(np.inf),
    "key of each head": lambda q, k, v, generator: spoil_a_row_of_each_head(k, generator),
    "query of each head": lambda q, k, v, generator: spoil_a_row_of_each_head(q, generator),
    "keys": lambda q, k, v, generator: k.fill(np.nan),
    "values": lambda q, k, v, generator: np.putmask(v, generator.random(v.shape) < 0.01, np.inf),
}


def mask_of(request):
    """A mask that hides the last key, if one is asked for."""
    if not request.get("mask"):
        return None
    mask = np.ones((1, request["key"][-2]), bool)
    mask[:, -1] = False
    return mask


def fastllm_call(arrays, request):
    """Attention by fastllm, arrays in and an array out."""
    import fastllm

    if request["threads"] is not None:
        fastllm.set_num_threads(request["threads"])
    if request.get("cache"):
        return STEPS[request["cache"]](arrays, request)
    options = {"window": request["window"]} if request.get("window") else {}
    if request["query"][:-2] != request["key"][:-2]:
        options["enable_gqa"] = True
    if request.get("mask"):
        options["attn_mask"] = mask_of(request)
    return functools.partial(
        fastllm.scaled_dot_product_attention, *arrays, is_causal=request["causal"], **options
    )


def torch_call(arrays, request):
    """Attention by PyTorch, on tensors that share the arrays' memory."""
    import torch

    if request["threads"] is not None:
        torch.set_num_threads(request["threads"])
    # Entered for good: this process does nothing else.
    torch.inference_mode().__enter__()
    tensors = [torch.from_numpy(array) for array in arrays]
    if request["dtype"] == "bfloat16":
        tensors = [tensor.view(torch.bfloat16) for tensor in tensors]
    if request.get("cache"):
        return STEPS[request["cache"]](tensors, request)
    options = {"attn_mask": torch.from_numpy(mask_of(request))} if request.get("mask") else {}
    if request["query"][:-2] != request["key"][:-2]:
        options["enable_gqa"] = True
    return functools.partial(
        torch.nn.functional.scaled_dot_product_attention,
        *tensors,
        is_causal=request["causal"],
        **options,
    )


def as_array(result):
    """The array that a call gave, or that its tensor is; that of bfloat16 as bits."""
    if isinstance(result, np.ndarray):
        return result
    import torch

    return (result.view(torch.uint16) if result.dtype == torch.bfloat16 else result).numpy()


# --- Steps with a cache of keys and values -------------------------------------------------------
#
# Each call begins at the same length and does request["steps"] steps. The first request["finished"]
# sequences get no more positions; what comes out for them is left away.


def cache_steps(arrays, request):
    """Steps with a `KVCache`."""
    import fastllm

    (query, keys, values), finished = arrays, request.get("finished", 0)
    batch, heads, length, dim = keys.shape
    cache = fastllm.KVCache(batch, heads, dim, capacity=2 * length)
    cache.append(keys, values)
    new = keys[:, :, -1:], values[:, :, -1:]
    lengths = np.arange(batch) >= finished if finished else None
    options = {} if lengths is None else {"lengths": lengths.astype(np.int64)}

    def call():
        cache.crop(length)
        for _ in range(request["steps"]):
            context = cache.attend(query, *new, **options)
        return context[finished:]

    return call


def array_steps(arrays, request):
    """The same on arrays with room for what comes, as one writes it with fastllm."""
    import fastllm

    (query, keys, values), finished = arrays, request.get("finished", 0)
    length = keys.shape[2]
    kept = [np.concatenate([array, array], 2) for array in (keys, values)]
    new = keys[:, :, -1:], values[:, :, -1:]

    def call():
        for end in range(length + 1, length + request["steps"] + 1):
            for array, position in zip(kept, new, strict=True):
                array[finished:, :, end - 1 : end] = position[finished:]
            options = {}
            if finished:
                options["kv_lens"] = np.where(np.arange(len(query)) < finished, length, end)
            seen = (array[:, :, :end] for array in kept)
            context = fastllm.scaled_dot_product_attention(query, *seen, **options)
        return context[finished:]

    return call


def tensor_steps(tensors, request):
    """The same on tensors, as one writes it with PyTorch."""
    import torch

    (query, keys, values), finished = tensors, request.get("finished", 0)
    length = keys.shape[2]
    kept = [torch.cat([tensor, tensor], 2) for tensor in (keys, values)]
    new = keys[:, :, -1:], values[:, :, -1:]

    def call():
        for end in range(length + 1, length + request["steps"] + 1):
            for tensor, position in zip(kept, new, strict=True):
                tensor[finished:, :, end - 1 : end] = position[finished:]
            mask = None
            if finished:
                ends = torch.where(torch.arange(len(query)) < finished, length, end)
                mask = torch.arange(end) < ends[:, None, None, None]
            seen = (tensor[:, :, :end] for tensor in kept)
            context = torch.nn.functional.scaled_dot_product_attention(query, *seen, mask)
        return context[finished:]

    return call


STEPS = {"KVCache": cache_steps, "fastllm, arrays by hand": array_steps, "torch": tensor_steps}


# --- NumPy alone ---------------------------------------------------------------------------------


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
    shapes = tuple(request["query"]), tuple(request["key"])
    arrays = inputs(*shapes, request["dtype"], request.get("nonfinite"))
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
        np.save(request["save"], as_array(result))
    return times


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answer(sys.argv[1], json.loads(line))), flush=True)
