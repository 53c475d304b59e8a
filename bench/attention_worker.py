"""One contender of the attention rivals, in a process of its own.

Thread pools of two libraries in one process get in each other's way (their idle threads spin), so
`bench.rivals` starts one of these for each contender and lets them take turns. A request is a line
of JSON on standard input, the answer a line of JSON on standard output: the time of every call.
"""

import json
import sys
import time

import numpy as np


def fastllm_call(arrays, causal, threads):
    """Attention by fastllm, arrays in and an array out."""
    import numba

    import fastllm

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return lambda: fastllm.scaled_dot_product_attention(*arrays, is_causal=causal)


def torch_call(arrays, causal, threads):
    """Attention by PyTorch, tensors that share the arrays' memory in and out."""
    import torch

    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(array) for array in arrays]
    attention = torch.nn.functional.scaled_dot_product_attention
    return lambda: attention(*tensors, is_causal=causal).numpy()


CALLS = {"fastllm": fastllm_call, "torch": torch_call}


def answer(contender, request):
    """Time as many calls as asked for, after as many to warm up; save the result if asked to."""
    arrays = np.random.default_rng(0).standard_normal((3, *request["shape"]), np.float32)
    call = CALLS[contender](arrays, request["causal"], request["threads"])
    for _ in range(request["warm_up"]):
        call()
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
