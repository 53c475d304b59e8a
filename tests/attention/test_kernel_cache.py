"""Compiled kernels on disk: side by side, kept within bounds, compiled ahead."""

import os
from types import SimpleNamespace

import pytest
from attention.inputs import COMPILED
from processes import must_run, run_python

from fastllm.fast._attention import kernels
from fastllm.fast._attention.runtime import kernel_cache

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled")

ON_A_PROCESSOR = """
import llvmlite.binding
import numba.core.codegen
llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap({FEATURES})
numba.core.codegen.CPUCodegen._get_host_cpu_name = lambda self: "{NAME}"
import numba.core.entrypoints
if {EXPECTED} == (0, 1):
    # What is in the cache needs nothing that other packages extend Numba by.
    del numba.core.entrypoints.init_all
import numpy as np
from fastllm.fast import attention
from fastllm.fast._attention import kernels
assert np.allclose(attention.softmax(np.zeros((3, 4), np.float32)), 0.25)
stats = kernels.softmax_rows.stats
assert (sum(stats.cache_misses.values()), sum(stats.cache_hits.values())) == {EXPECTED}, stats
"""
WIDE = repr({"avx2": True, "fma": True}), "x86-64-v3"
NARROW = repr({}), "x86-64"
OTHER_NAME = repr({}), "x86-64-v2"


@needs_jit
def test_processors_that_share_a_folder_compile_once_each(tmp_path):
    for expected in ((1, 0), (0, 1)):
        for features, name in (WIDE, NARROW, OTHER_NAME):
            program = ON_A_PROCESSOR.replace("{FEATURES}", features).replace("{NAME}", name)
            must_run(
                program.replace("{EXPECTED}", str(expected)),
                FASTLLM_CACHE_DIR=str(tmp_path),
                NUMBA_CPU_NAME="",
            )


def compiled_code(target_context):
    library = SimpleNamespace(has_dynamic_globals=False)
    return SimpleNamespace(
        library=library, lifted=(), target_context=target_context, _reduce=lambda: ("code",)
    )


@pytest.fixture
def processor(monkeypatch):
    """A processor whose name can be chosen."""
    processor = SimpleNamespace(name="one")
    codegen = SimpleNamespace(magic_tuple=lambda: ("triple", processor.name, "features"))
    processor.target_context = SimpleNamespace(codegen=lambda: codegen)
    return processor


def test_only_versions_and_processors_used_last_are_kept(tmp_path, monkeypatch, processor):
    monkeypatch.setattr(kernel_cache, "cache_folders", lambda: [tmp_path])
    cache = kernel_cache.KernelCache(kernels.softmax_rows)
    for number in range(10):
        monkeypatch.setattr(kernel_cache, "version_name", lambda n=number: f"fastllm-{n}")
        cache.save_overload("signature", compiled_code(processor.target_context))
        os.utime(tmp_path / f"fastllm-{number}", (number, number))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"fastllm-{n}" for n in range(4, 10)
    ]
    for number in range(20):
        processor.name = f"processor{number}"
        cache.save_overload("signature", compiled_code(processor.target_context))
    assert len(list((tmp_path / "fastllm-9").iterdir())) == 12


def test_kernels_are_written_to_the_first_folder_that_can_be_written(
    tmp_path, monkeypatch, processor
):
    (tmp_path / "file").write_text("no folder", "utf-8")
    folders = [tmp_path / "file", tmp_path / "folder"]
    monkeypatch.setattr(kernel_cache, "cache_folders", lambda: folders)
    cache = kernel_cache.KernelCache(kernels.softmax_rows)
    cache.save_overload("signature", compiled_code(processor.target_context))
    assert len(list(folders[1].rglob("softmax_rows-*.nbc"))) == 1
    assert kernel_cache.writable_folder() == folders[1]
    # What is stored there is no code.
    assert cache.load_overload("signature", processor.target_context) is None


# Without the JIT, to see what is called.
CALLS = """
from collections import Counter
from fastllm.fast import ahead_of_time, attention
from fastllm.fast._attention import kernels
kernels.amx_available = lambda: {AMX}
called = set()
class Recorder:
    def __getattr__(self, name):
        kernel = getattr(kernels, name)
        def run(*arguments):
            called.add((name, next(a.dtype.char for a in arguments[1:] if hasattr(a, "dtype"))))
            return kernel(*arguments)
        return run
attention.load_kernels = Recorder
for step in ahead_of_time._steps():
    step.run()
found = Counter(name for name, _ in called)
assert found == Counter({EXPECTED}), found
"""
EVERYWHERE = {
    "prefill_attention": 4,
    "decode_attention": 4,
    "merge_splits": 4,
    "add_nonfinite_values": 4,
    "recompute_nonfinite_rows": 3,  # products of float16 do not overflow
    "softmax_rows": 2,
    "attention_steps": 2,
}
WITH_AMX = {
    **EVERYWHERE,
    "prefill_attention": 3,
    "prefill_attention_amx": 1,
    "prefill_attention_bf16x3": 1,
    "decode_attention_amx": 1,
}


@pytest.mark.parametrize(("amx", "expected"), [(False, EVERYWHERE), (True, WITH_AMX)])
def test_every_kernel_is_compiled_ahead_for_every_dtype(amx, expected):
    assert set(WITH_AMX) == set(kernels.__all__) - {"VECTOR_BYTES", "amx_available"}
    program = CALLS.replace("{AMX}", str(amx)).replace("{EXPECTED}", repr(expected))
    must_run(program, NUMBA_DISABLE_JIT="1")


COMPILE = """
import sys
from fastllm.cli import main
from fastllm.fast import ahead_of_time
steps = ahead_of_time.steps
ahead_of_time.steps = lambda: [step for step in steps() if step.name == "softmax, float32"]
sys.argv = ["fastllm", "compile", {folder!r}]
main()
"""


@needs_jit
def test_compile_fills_a_folder_and_then_finds_all_there(tmp_path):
    folder = str(tmp_path / "kernels")
    for said in ("1 kernels compiled, 0 found", "0 kernels compiled, 1 found"):
        finished = run_python(COMPILE.format(folder=folder))
        assert finished.returncode == 0, finished.stderr
        lines = finished.stdout.splitlines()
        assert lines[0].startswith(said)
        assert lines[0].endswith(f"seconds, in {folder}")
        assert lines[1] == f"to use them: FASTLLM_CACHE_DIR={folder}"
    assert len(list(tmp_path.rglob("*.nbc"))) == 1


def test_compile_says_that_a_folder_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder", "utf-8")
    finished = run_python(COMPILE.format(folder=str(file)), NUMBA_DISABLE_JIT="0")
    assert finished.returncode == 1
    assert finished.stderr == f"fastllm: {file}: File exists\n"
