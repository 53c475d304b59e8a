"""Which backend is taken, why, and what importing costs; each case in a process of its own."""

import os
import subprocess
import sys

import pytest

# What makes a module look as if it were not installed.
HIDE = """
import importlib.util, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in {names!r} else found(name, *rest)
"""
EXTENSION = ("fastllm.fast._tokenization._kernels",)


def run(code, hide=(), **environment):
    code = HIDE.format(names=hide) + code if hide else code
    inherited = {k: v for k, v in os.environ.items() if k != "FASTLLM_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_reference_is_taken_on_demand():
    done = run("import fastllm; print(fastllm.backends())", FASTLLM_BACKEND="reference")
    reason = "reference (FASTLLM_BACKEND=reference)"
    assert done.stdout.strip() == str({"bpe": reason, "attention": reason})


def test_an_unknown_backend_is_refused():
    done = run("import fastllm", FASTLLM_BACKEND="quick")
    assert done.returncode == 1
    assert "ValueError: FASTLLM_BACKEND must be auto, fast or reference, not 'quick'" in done.stderr


def test_without_the_extension_text_falls_back_and_says_so():
    done = run(
        "import fastllm; b = fastllm.backends(); print(b['bpe']); print(b['attention']);"
        "print(fastllm.BPETokenizer.train('aaab', 258).encode('aab'))",
        hide=EXTENSION,
    )
    bpe, attention, ids = done.stdout.splitlines()
    assert bpe.startswith("reference (the compiled extension is not installed")
    assert attention == "fast"
    assert ids == "[256, 98]"
    assert "RuntimeWarning: tokenizers encode, decode and train 100 to 1,000 times as slowly" in (
        done.stderr
    )
    assert "the compiled extension is not installed: cannot import name '_ker" in done.stderr
    assert done.stderr.count("RuntimeWarning") == 1


def test_the_reference_can_be_chosen_without_a_warning():
    code = "import fastllm; fastllm.split('a b', 'gpt2'); fastllm.softmax([0.0])"
    assert run(code, hide=EXTENSION, FASTLLM_BACKEND="reference").stderr == ""


def test_what_the_compiler_said_is_shown_in_full():
    said = "the compiler failed: error: no wood\ninstall a saw"
    code = f"""
import pathlib
pathlib.Path.is_file = lambda path: path.name == "build_error.txt"
pathlib.Path.read_text = lambda path, *rest: {said!r}
import fastllm
print(fastllm.backends()["bpe"])
"""
    done = run(code, hide=EXTENSION)
    whole = f"the compiled extension is not installed: {said}"
    assert done.stdout == f"reference ({whole})\n"
    assert f"{whole.splitlines()[0]}; fastllm.backends() says more" in done.stderr


def test_without_numba_attention_falls_back_and_says_so():
    done = run(
        "import fastllm; b = fastllm.backends(); print(b['bpe']); print(b['attention']);"
        "print(fastllm.softmax([0.0, 0.0]))",
        hide=("numba",),
    )
    assert "numba" in done.stdout.splitlines()[1]
    assert done.stdout.splitlines()[2] == "[0.5 0.5]"
    assert "RuntimeWarning: attention is hundreds to thousands of times as slow" in done.stderr


@pytest.mark.parametrize("statement", ["import fastllm", "from fastllm import fast"])
@pytest.mark.parametrize("hidden", [EXTENSION, ("numba",)])
def test_a_demanded_backend_that_is_missing_raises(statement, hidden):
    demand = {} if "from" in statement else {"FASTLLM_BACKEND": "fast"}
    done = run(statement, hide=hidden, **demand)
    assert done.returncode == 1
    assert "ImportError: " in done.stderr
    assert ("numba" in done.stderr) == (hidden == ("numba",))


def test_a_missing_backend_stays_missing_when_asked_again():
    code = """
import fastllm
for _ in range(2):
    try:
        fastllm.fast
    except ImportError as error:
        print(error)
"""
    done = run(code, hide=("numba",))
    assert done.stdout.count("numba") >= 2, done


def test_importing_loads_nothing_heavy():
    heavy = ("numpy", "numba", "typer", "rich", "dataclasses", "hashlib")
    heavy += ("fastllm.patterns.automaton", "fastllm.tokenizers.offsets")
    code = f"import sys, fastllm; print([m for m in {heavy} if m in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_the_command_line_loads_no_numpy_before_a_command_needs_it():
    code = "import sys, fastllm.cli.commands; print('numpy' in sys.modules)"
    assert run(code).stdout.strip() == "False"


WITHOUT_ARRAYS = """
import sys, fastllm
tokenizer = fastllm.BPETokenizer.train_from_files({path!r}, 300, threads=2)
ids = tokenizer.encode("low lower")
assert tokenizer.decode(ids) == "low lower"
assert tokenizer.encode_batch(["low", "lower"], threads=2)
assert tokenizer.encode("low<|end|>", disallowed_special=())
tokenizer.save({path!r} + ".tiktoken")
loaded = fastllm.BPETokenizer.from_file({path!r} + ".tiktoken", pattern="gpt2")
assert loaded.encode("low lower") == ids
assert fastllm.count_words({path!r})
print("numpy" in sys.modules)
print(tokenizer.encode_to_numpy("low lower").tolist() == ids, "numpy" in sys.modules)
"""


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_numpy_is_loaded_only_where_arrays_are_asked_for(tmp_path, backend):
    path = tmp_path / "text.txt"
    path.write_text("low lower lowest\n" * 50 + "slow slower slowest\n" * 30, "utf-8")
    done = run(WITHOUT_ARRAYS.format(path=str(path)), FASTLLM_BACKEND=backend)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_names_that_are_loaded_by_their_first_use_are_there():
    code = """
import fastllm
before = dir(fastllm)
assert set(fastllm.__all__) <= set(before)
from fastllm import *
assert softmax([0.0, 0.0]).tolist() == [0.5, 0.5]
assert scaled_dot_product_attention is fastllm.fast.scaled_dot_product_attention
assert KVCache is fastllm.KVCache
assert fastllm.reference.attention.softmax is fastllm.reference.softmax
try:
    fastllm.attention
except AttributeError as error:
    print(error)
"""
    done = run(code)
    assert done.stdout.strip() == "module 'fastllm' has no attribute 'attention'", done.stderr
