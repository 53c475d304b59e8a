"""A program frozen by PyInstaller, with the hook that comes with the installed package."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastllm import BPETokenizer, scaled_dot_product_attention

PROGRAM = """
import json
import sys

import numpy as np

import fastllm
from fastllm.fast._attention import load_kernels

x = np.arange(24, dtype=np.float32).reshape(2, 4, 3) / 8
stats = load_kernels().decode_attention.stats
print(json.dumps({
    "frozen": sys.frozen,
    "backends": fastllm.backends(),
    "ids": fastllm.BPETokenizer.train(sys.argv[1], 262).encode("lower"),
    "context": fastllm.scaled_dot_product_attention(x, x, x, is_causal=True).tolist(),
    "compiled": sum(stats.cache_misses.values()),
    "loaded": sum(stats.cache_hits.values()),
}))
"""
TEXT = "low lower lowest " * 9
TIMEOUT = 600


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(PROGRAM)
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN", "program.py"],
        cwd=folder,
        check=True,
        timeout=TIMEOUT,
    )
    return folder / "dist" / "program" / "program"


def run(program):
    environment = {name: os.environ[name] for name in os.environ if name[:3] not in ("FAS", "NUM")}
    environment["XDG_CACHE_HOME"] = str(program.parents[2] / "cache")
    done = subprocess.run(
        [program, TEXT],
        env=environment,
        cwd=program.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return json.loads(done.stdout)


def test_frozen_program_is_fast_and_keeps_its_kernels(program):
    first, second = run(program), run(program)
    x = np.arange(24, dtype=np.float32).reshape(2, 4, 3) / 8
    for found in (first, second):
        assert found["frozen"]
        assert found["backends"] == {"bpe": "fast", "attention": "fast"}
        assert found["ids"] == BPETokenizer.train(TEXT, 262).encode("lower")
        expected = scaled_dot_product_attention(x, x, x, is_causal=True)
        np.testing.assert_array_equal(np.array(found["context"], np.float32), expected)
    assert (first["compiled"], first["loaded"]) == (1, 0)
    assert (second["compiled"], second["loaded"]) == (0, 1)


def test_frozen_program_forgets_kernels_whose_sources_change(program):
    run(program)
    folder = program.parent / "_internal" / "fastllm" / "fast" / "_attention"
    with open(folder / "layout.py", "a", encoding="utf-8") as source:
        source.write("# another version\n")
    found = run(program)
    assert (found["compiled"], found["loaded"]) == (1, 0)
