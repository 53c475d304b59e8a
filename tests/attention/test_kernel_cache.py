"""Compiled kernels on disk: side by side, kept within bounds, never stale, compiled ahead."""

import os
import pathlib
import resource
import shutil
import warnings
from types import SimpleNamespace

import pytest
from attention.inputs import COMPILED
from processes import must_run, run_python

import fastllm
from fastllm.fast._attention import kernels
from fastllm.fast._attention.runtime import kernel_cache

needs_jit = pytest.mark.skipif(not COMPILED, reason="nothing is compiled")

# A kernel that is compiled in no time, for each dtype that it is given.
DOUBLE = """
import numpy as np
from fastllm.fast._attention.runtime.jit import jit
@jit
def double(array):
    array[0] *= 2
def call(dtype):
    array = np.ones(1, dtype)
    double(array)
    assert array[0] == 2
    return sum(double.stats.cache_misses.values()), sum(double.stats.cache_hits.values())
"""

# Every processor is a fork of a process that has imported Numba, and compiled nothing.
ON_PROCESSORS = """
import os, traceback
import llvmlite.binding
import numba.core.codegen
import numba.core.entrypoints
def on_a_processor(features, name, expected):
    llvmlite.binding.get_host_cpu_features = lambda: llvmlite.binding.FeatureMap(features)
    numba.core.codegen.CPUCodegen._get_host_cpu_name = lambda self: name
    # Kernels need nothing that other packages extend Numba by, and do not look for it.
    del numba.core.entrypoints.importlib_metadata
    found = {"__name__": "__main__"}
    exec({DOUBLE}, found)
    assert found["call"]("f4") == expected
for processor in {PROCESSORS}:
    child = os.fork()
    if child == 0:
        try:
            on_a_processor(*processor)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, processor
"""
WIDE = {"avx2": True, "fma": True}, "x86-64-v3"
NARROW = {}, "x86-64"
OTHER_NAME = {}, "x86-64-v2"


@needs_jit
def test_processors_that_share_a_folder_compile_once_each(tmp_path):
    processors = (WIDE, NARROW, OTHER_NAME)
    calls = [(*each, (1, 0)) for each in processors] + [(*each, (0, 1)) for each in processors]
    program = ON_PROCESSORS.replace("{DOUBLE}", repr(DOUBLE)).replace("{PROCESSORS}", repr(calls))
    must_run(program, FASTLLM_CACHE_DIR=str(tmp_path), NUMBA_CPU_NAME="")
    assert len(list(tmp_path.rglob("double-*.nbc"))) == 3


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


@pytest.fixture
def _may_warn(monkeypatch):
    """This process has not warned yet."""
    monkeypatch.setattr(kernel_cache, "_warned", False)


@pytest.mark.usefixtures("_may_warn")
def test_a_full_disk_leaves_no_file_and_fails_no_call(tmp_path, monkeypatch, processor):
    monkeypatch.setattr(kernel_cache, "cache_folders", lambda: [tmp_path])
    cache = kernel_cache.KernelCache(kernels.softmax_rows)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.warns(RuntimeWarning, match="File too large"):
            cache.save_overload("signature", compiled_code(processor.target_context))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("_may_warn")
def test_a_process_says_once_that_it_keeps_nothing_and_names_the_folders(
    tmp_path, monkeypatch, processor
):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.write_text("no folder", "utf-8")
    monkeypatch.setattr(kernel_cache, "cache_folders", lambda: folders)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kernel in (kernels.softmax_rows, kernels.attention_steps):
            cache = kernel_cache.KernelCache(kernel)
            cache.save_overload("signature", compiled_code(processor.target_context))
    assert [str(warning.message) for warning in caught] == [
        "compiled kernels of attention cannot be kept on disk, so every process compiles them "
        f"again ({folders[0]}: Not a directory; {folders[1]}: Not a directory); "
        "set FASTLLM_CACHE_DIR to a folder that can be written"
    ]


@needs_jit
def test_kernels_work_where_no_folder_is_allowed():
    nowhere = os.path.join(os.devnull, "folder")
    twice = DOUBLE + "call('f4')\nassert call('f8') == (2, 0)"
    finished = run_python(twice, FASTLLM_CACHE_DIR=nowhere)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("cannot be kept on disk") == 1
    assert f"({nowhere}: Not a directory)" in finished.stderr


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
        if name == "entry_for":
            return lambda kernel, *arguments: kernel
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
    "add_nonfinite_values_decode": 4,
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
    others = {"CHECKED", "VECTOR_BYTES", "amx_available", "entry_for"}
    assert set(WITH_AMX) == set(kernels.__all__) - others
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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with one kernel, that of `softmax` in float32, and the command that put it there."""
    folder = tmp_path_factory.mktemp("compiled") / "kernels"
    return folder, run_python(COMPILE.format(folder=str(folder)))


@pytest.fixture
def folder(compiled, tmp_path):
    """A copy of that folder."""
    return pathlib.Path(shutil.copytree(compiled[0], tmp_path / "kernels"))


@needs_jit
def test_compile_fills_a_folder_and_then_finds_all_there(compiled):
    folder, first = compiled
    second = run_python(COMPILE.format(folder=str(folder)))
    for finished, said in (
        (first, "1 kernels compiled, 0 found"),
        (second, "0 kernels compiled, 1 found"),
    ):
        assert finished.returncode == 0, finished.stderr
        lines = finished.stdout.splitlines()
        assert lines[0].startswith(said)
        assert lines[0].endswith(f"seconds, in {folder}")
        assert lines[1] == f"to use them: FASTLLM_CACHE_DIR={folder}"
    assert len(list(folder.rglob("*.nbc"))) == 1


def test_compile_says_that_a_folder_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder", "utf-8")
    finished = run_python(COMPILE.format(folder=str(file)), NUMBA_DISABLE_JIT="0")
    assert finished.returncode == 1
    assert finished.stderr == f"fastllm: {file}: File exists\n"


# `recompile` is Numba's: it forgets what is compiled, and looks into the cache again.
DAMAGED = """
import sys
from pathlib import Path
import numpy as np
from fastllm.fast.attention import softmax
from fastllm.fast._attention.kernels import softmax_rows
[file] = Path(sys.argv[1]).rglob("*.nbc")
whole = file.read_bytes()
def call():
    assert softmax(np.zeros((1, 2), np.float32)).tolist() == [[0.5, 0.5]]
    return sum(softmax_rows.stats.cache_misses.values()), file.read_bytes() == whole
def can_load(code):
    file.write_bytes(code)
    [types] = softmax_rows.signatures
    return softmax_rows._cache.load_overload(types, softmax_rows.targetctx) is not None
assert call() == (0, True)
assert can_load(whole)
assert not can_load(whole[:-1] + b"?")
assert not can_load(whole[:100])
softmax_rows.recompile()
misses, _ = call()
assert misses == 1
assert can_load(file.read_bytes())
"""


@needs_jit
def test_what_is_damaged_on_disk_is_compiled_again(folder):
    must_run(DAMAGED.replace("sys.argv[1]", repr(str(folder))), NUMBA_CACHE_DIR=str(folder))


@pytest.fixture
def package(tmp_path):
    """A copy of the package, to be changed."""
    source = pathlib.Path(fastllm.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    return pathlib.Path(shutil.copytree(source, tmp_path / "fastllm", ignore=ignored))


def test_a_change_of_any_source_is_another_version(package, monkeypatch):
    folder = package / "fast" / "_attention"
    moved = folder / "runtime" / "kernel_cache.py"
    monkeypatch.setattr(kernel_cache, "__file__", str(moved))
    name = kernel_cache.version_name.__wrapped__
    before = name()
    assert before == kernel_cache.version_name()
    names = {before}
    sources = sorted(folder.rglob("*.py"))
    for source in sources:
        with open(source, "a", encoding="utf-8") as file:
            file.write("# changed\n")
        names.add(name())
    assert len(names) == 1 + len(sources) > 20


SHOW = """
import sys
sys.path.insert(0, {path!r})
import numpy as np
from fastllm.fast.attention import softmax
print(softmax(np.array([[0.0, -0.25]], np.float32))[0, 0])
"""


@needs_jit
def test_what_was_compiled_of_other_sources_is_not_used(package, folder, tmp_path):
    assert (folder / kernel_cache.version_name()).is_dir()
    vectors = package / "fast" / "_attention" / "simd" / "vectors.py"
    text = vectors.read_text("utf-8")
    assert "LOG2_E = 1.44" in text
    vectors.write_text(text.replace("LOG2_E = 1.44", "LOG2_E = 0.44"), "utf-8")
    changed = run_python(SHOW.format(path=str(tmp_path)), NUMBA_CACHE_DIR=str(folder))
    assert changed.returncode == 0, changed.stderr
    assert float(changed.stdout) < 0.53  # 0.562 by what is in the folder
