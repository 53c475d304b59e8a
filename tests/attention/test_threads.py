"""Attention on several threads, in several processes, and on other processors' vectors."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from attention.inputs import COMPILED, SDPA, forget_plans, heads, normal, oracle
from processes import must_run
from tolerances import assert_agrees

from fastllm.fast import attention as fast
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool


def share_all_work(monkeypatch, threads):
    monkeypatch.setattr(plan, "SERIAL_FMAS", 0)
    monkeypatch.setattr(plan, "WAKE_FMAS", 0)
    forget_plans()
    monkeypatch.setattr(thread_pool, "thread_limit", lambda: threads)


def test_several_python_threads_at_once_agree(monkeypatch):
    share_all_work(monkeypatch, threads=4)
    cases = [heads(seed, (3,), 40, 40, 4, 4, np.float32) for seed in range(8)]
    expected = [oracle(*case, is_causal=True) for case in cases]
    failures = []

    def attend(number):
        for _ in range(20 if COMPILED else 1):
            actual = fast.scaled_dot_product_attention(*cases[number], is_causal=True)
            try:
                assert_agrees(SDPA, np.float32, actual, expected[number])
                fast.softmax(cases[number][0])
            except AssertionError as failure:
                failures.append(failure)

    threads = [threading.Thread(target=attend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("rows", [1, 1000])
def test_softmax_over_several_threads_agrees(monkeypatch, rows):
    share_all_work(monkeypatch, threads=3)
    x = normal(17, (rows, 200 if COMPILED else 20), np.float32)
    expected = np.exp(x.astype(np.float64))
    expected /= expected.sum(-1, keepdims=True)
    assert_agrees("softmax", np.float32, fast.softmax(x), expected)


@pytest.mark.parametrize("pause", [0.0, 0.0003, 0.003])
def test_workers_that_just_left_or_sleep_agree(monkeypatch, pause):
    # Calls whose helpers still look for work, are about to sleep, or have to be woken.
    share_all_work(monkeypatch, threads=3)
    case = heads(18, (6,), 40, 40, 4, 4, np.float32)
    expected = oracle(*case, is_causal=True)
    for number in range(60 if COMPILED else 1):
        actual = fast.scaled_dot_product_attention(*case, is_causal=True)
        assert_agrees(SDPA, np.float32, actual, expected)
        time.sleep(pause * number / 60)


def test_without_memory_for_scratch_raises_and_then_goes_on(monkeypatch):
    share_all_work(monkeypatch, threads=3)
    case = heads(19, (6,), 41, 43, 4, 4, np.float32)
    forget_plans()
    with monkeypatch.context() as patched:
        patched.setattr(plan, "BLOCK_K", 2**50)
        for _ in range(5):
            with pytest.raises(MemoryError):
                fast.scaled_dot_product_attention(*case)
    forget_plans()
    actual = fast.scaled_dot_product_attention(*case)
    assert_agrees(SDPA, np.float32, actual, oracle(*case))


SLEEP = """
import time
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
plan.SERIAL_FMAS, plan.WAKE_FMAS, thread_pool.thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
attention.scaled_dot_product_attention(x, x, x)
pool = thread_pool._pool
slots = pool._slots[:: pool._work_sharing.SLOT_WORDS][: len(pool._semaphores)]
assert len(slots) > 0
end = time.monotonic() + 60
while any(slots != pool._work_sharing.ASLEEP):
    assert time.monotonic() < end
    time.sleep(0.01)
before = time.process_time()
time.sleep(0.3)
assert time.process_time() - before < 0.1
"""


def test_workers_sleep_when_there_is_nothing_to_do():
    must_run(SLEEP, NUMBA_DISABLE_JIT="0")


EXIT = """
import threading
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
plan.SERIAL_FMAS, plan.WAKE_FMAS, thread_pool.thread_limit = 0, 0, lambda: 3
x = np.ones((2, 400, 4), np.float32)
def attend():
    while True:
        attention.scaled_dot_product_attention(x, x, x)
attention.scaled_dot_product_attention(x, x, x)
if OTHERS:
    threading.Thread(target=attend, daemon=True).start()
    attention.scaled_dot_product_attention(x, x, x)
"""


@pytest.mark.parametrize("others", [False, True])
def test_lets_the_process_end_at_once(others):
    must_run(EXIT.replace("OTHERS", str(others)), NUMBA_DISABLE_JIT="0")


FORK = """
import os
import threading
import warnings
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
warnings.simplefilter("ignore")
plan.SERIAL_FMAS, plan.WAKE_FMAS, thread_pool.thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
def attend():
    return np.allclose(attention.scaled_dot_product_attention(x, x, x), 1.0)
assert attend()
child = os.fork()
if child == 0:
    # The parent's threads are gone; the child starts its own.
    os._exit(0 if attend() and attend() and threading.active_count() > 1 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert attend()
"""


def test_works_in_a_forked_child():
    must_run(FORK, NUMBA_DISABLE_JIT="0")


NARROW = """
import llvmlite.binding
import ml_dtypes
llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap({FEATURES})
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import kernels
from fastllm.reference.attention import scaled_dot_product_attention
assert kernels.VECTOR_BYTES == {BYTES}
generator = np.random.default_rng(0)
q, k, v = (generator.standard_normal((2, n, 9), np.float32) for n in (21, 30, 30))
options = {"softcap": 2.0, "sinks": [0.5, 0.1], "attn_mask": generator.random((1, 30)) < 0.8}
def agree(n_rows):
    for rows in n_rows:
        for option in ({}, {"is_causal": True}, options):
            arrays = q[:, :rows], k, v
            difference = (
                attention.scaled_dot_product_attention(*arrays, **option)
                - scaled_dot_product_attention(*arrays, **option)
            )
            assert abs(difference).max() < 2e-6
def half_precision():
    # Pairs of vectors and one that is left over.
    q, k, v = (
        generator.standard_normal((2, n, 24), np.float32).astype(ml_dtypes.bfloat16)
        for n in (3, 30, 30)
    )
    for rows in (3, 1):
        arrays = q[:, :rows], k, v
        actual, expected = (
            attend(*arrays).astype(np.float32)
            for attend in (attention.scaled_dot_product_attention, scaled_dot_product_attention)
        )
        assert np.allclose(actual, expected, 2**-7, 2**-9)
if "prefill" in {PARTS}:
    agree([21])
if "decode" in {PARTS}:
    agree([3, 1])
if "softmax" in {PARTS}:
    assert np.allclose(attention.softmax(q).sum(-1), 1.0)
if "half precision" in {PARTS}:
    half_precision()
"""
# Features, the bytes of a vector, and what is compiled to try them: each kernel takes seconds. With
# FASTLLM_TEST_WIDTHS=all (a leg of CI), and without the JIT, all is tried at each width.
WIDTHS = [
    ({"avx2": True, "fma": True}, 32, ["prefill", "half precision"]),
    ({}, 16, ["decode", "softmax"]),
]
ALL_WIDTHS = not COMPILED or os.environ.get("FASTLLM_TEST_WIDTHS") == "all"


def test_agrees_with_narrower_vectors(tmp_path):
    everything = [part for _, _, parts in WIDTHS for part in parts]
    programs = [
        NARROW.replace("{FEATURES}", repr(features))
        .replace("{BYTES}", str(width))
        .replace("{PARTS}", repr(everything if ALL_WIDTHS else parts))
        for features, width, parts in WIDTHS
    ]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    # At the same time, since each compiles everything anew.
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
        )
        for program in programs
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors


def test_follows_the_number_of_threads_that_numba_is_told():
    must_run(
        "import numba\n"
        "from fastllm.fast._attention.runtime.thread_pool import thread_limit\n"
        "assert thread_limit() == numba.config.NUMBA_NUM_THREADS\n"
        "numba.set_num_threads(1)\n"
        "assert thread_limit() == 1\n",
        NUMBA_DISABLE_JIT="0",
    )


def test_attention_follows_the_number_that_is_set():
    must_run(
        "import fastllm\n"
        "from fastllm.fast._attention.runtime.thread_pool import thread_limit\n"
        "fastllm.set_num_threads(1)\n"
        "assert thread_limit() == 1\n"
        "fastllm.set_num_threads(None)\n"
        "assert thread_limit() == fastllm.get_num_threads()\n",
        NUMBA_DISABLE_JIT="0",
    )


AFFINITY = """
import contextlib
import os
import threading
import time
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
plan.SERIAL_FMAS, plan.WAKE_FMAS, thread_pool.thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
def attend(times, pause):
    for _ in range(times):
        attention.scaled_dot_product_attention(x, x, x)
        time.sleep(pause)
def restrict(cpus):
    # As taskset -ap does; a thread may end meanwhile.
    for thread in sorted(map(int, os.listdir("/proc/self/task"))):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cpus)
def affinities():
    workers = [t.native_id for t in threading.enumerate() if t.name == "fastllm-attention"]
    assert workers
    return [os.sched_getaffinity(worker) for worker in workers]
everywhere = os.sched_getaffinity(0)
attend(20, 0)
for cpu in sorted(everywhere):
    for pause in (0, 0.003):
        restrict({cpu})
        for _ in range(10):
            attend(1, pause)
            assert all(allowed == {cpu} for allowed in affinities())
        restrict(everywhere)
        attend(3, pause)
        assert all(allowed == everywhere for allowed in affinities())
# At any moment of a call: what was set last is what holds.
calls = threading.Thread(target=attend, args=(100, 0.0011))
calls.start()
while calls.is_alive():
    for cpu in sorted(everywhere):
        restrict({cpu})
        assert all(allowed == {cpu} for allowed in affinities())
        restrict(everywhere)
        time.sleep(0.001)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_workers_keep_to_the_processors_that_are_set_from_outside():
    must_run(AFFINITY, NUMBA_DISABLE_JIT="0")


# Threads make their first calls, which import and compile; the process forks all along.
FIRST_CALL_IN_THREADS = """
import multiprocessing
import os
import threading
import time
import warnings
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import plan
from fastllm.fast._attention.runtime import thread_pool
warnings.simplefilter("ignore")
plan.SERIAL_FMAS, plan.WAKE_FMAS, thread_pool.thread_limit = 0, 0, lambda: 3
x = np.ones((2, 40, 4), np.float32)
right = []
def attend():
    right.append(np.allclose(attention.softmax(x), 0.25))
    assert right[-1]
first_calls = [threading.Thread(target=attend) for _ in range(4)]
for thread in first_calls:
    thread.start()
if FORKS:
    children = []
    for pause in (0.02, 0.1, 0.3):
        time.sleep(pause)
        child = os.fork()
        if child == 0:
            attend()
            os._exit(0)
        children.append(child)
    process = multiprocessing.get_context("fork").Process(target=attend)
    process.start()
    end = time.monotonic() + 60
    for child in children:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                break
            assert time.monotonic() < end, "a child hangs"
            time.sleep(0.01)
        assert status == 0
    process.join(60)
    assert process.exitcode == 0
for thread in first_calls:
    thread.join()
assert right == [True] * 4
"""


# Another thread, of whoever else uses it, imports Numba meanwhile.
IMPORT_IN_THREAD = """
import os
import sys
import threading
import time
import numpy as np
from fastllm.fast import attention
thread = threading.Thread(target=__import__, args=("numba",))
thread.start()
while "numba" not in sys.modules:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    attention.softmax(np.ones((2, 3), np.float32))
    os._exit(0)
end = time.monotonic() + 60
done = status = 0
while not done and time.monotonic() < end:
    time.sleep(0.01)
    done, status = os.waitpid(child, os.WNOHANG)
assert (done, status) == (child, 0), "a child hangs"
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_forks_while_another_thread_imports_numba():
    must_run(IMPORT_IN_THREAD, NUMBA_DISABLE_JIT="0")


def test_forks_while_other_threads_are_in_their_first_calls(tmp_path):
    program = FIRST_CALL_IN_THREADS.replace("FORKS", str(hasattr(os, "fork")))
    for _ in ("nothing compiled", "all in the cache"):
        must_run(program, NUMBA_DISABLE_JIT="0", NUMBA_CACHE_DIR=str(tmp_path))
