"""The three build modes, each on a copy of the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder, mode, compiler=None, first_on_path=None):
    """Run setup.py in a copy; returns the process and the names of the compiled modules."""
    shutil.copy(ROOT / "setup.py", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "README.md").write_text("x")
    (folder / "LICENSE").write_text("x")
    kernels = Path("fastllm", "fast", "_tokenization")
    package = folder / kernels
    package.mkdir(parents=True)
    for parent in (package, *package.relative_to(folder).parents):
        (folder / parent / "__init__.py").write_text("")
    for source in (ROOT / kernels).glob("*.pyx"):
        # What is compiled does not matter here, only whether it is.
        (package / source.name).write_text("# distutils: language = c++\n")
    environment = os.environ | {"FASTLLM_BUILD_EXT": mode}
    if compiler:
        environment |= {"CC": compiler, "CXX": compiler}
    if first_on_path:
        environment |= {"PYTHONPATH": str(first_on_path)}
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", "out"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    compiled = [p for p in (folder / "out").rglob("*") if p.suffix in (".so", ".pyd")]
    return done, sorted(path.name.split(".")[0] for path in compiled)


def test_compiles_every_kernel(tmp_path):
    done, built = build(tmp_path, "require")
    assert done.returncode == 0, done.stderr
    assert built == ["_kernels"]


def test_without_a_compiler_falls_back_and_says_so(tmp_path):
    done, built = build(tmp_path, "auto", compiler="/no/such/compiler")
    assert done.returncode == 0, done.stderr
    assert built == []
    [kept] = (tmp_path / "out").rglob("build_error.txt")
    said = kept.read_text("utf-8")
    assert said.startswith("the compiler failed: ")
    assert "/no/such/compiler" in said.splitlines()[0]
    assert said.splitlines()[1].startswith("install ")
    assert f"fastllm has no compiled extension: {said}" in done.stderr


def test_without_a_compiler_fails_when_required(tmp_path):
    done, built = build(tmp_path, "require", compiler="/no/such/compiler")
    assert done.returncode != 0
    assert built == []
    assert "fastllm has no compiled extension: the compiler failed: " in done.stderr


def test_a_compilers_error_is_printed_and_kept(tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'a.cpp:1: fatal error: Python.h is missing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    done, built = build(tmp_path, "auto", compiler=str(compiler))
    assert done.returncode == 0, done.stderr
    assert built == []
    [kept] = (tmp_path / "out").rglob("build_error.txt")
    assert "failed: a.cpp:1: fatal error: Python.h is missing\n" in kept.read_text("utf-8")
    assert "\na.cpp:1: fatal error" in "\n" + done.stderr


@pytest.mark.parametrize(
    ("soabi", "free_threaded", "numba"),
    [
        ("cpython-311-x86_64-linux-gnu", 0, True),
        ("cpython-312-x86_64-linux-musl", 0, False),
        ("cpython-313t-x86_64-linux-gnu", 1, sys.version_info >= (3, 14)),
    ],
)
def test_numba_is_asked_for_where_it_has_wheels(tmp_path, soabi, free_threaded, numba):
    variables = {"SOABI": soabi, "Py_GIL_DISABLED": free_threaded}
    code = f"import sysconfig; sysconfig.get_config_vars().update({variables})\n"
    code += (ROOT / "setup.py").read_text("utf-8").split("\ncheck_tools()")[0] + "\n"
    code += "print(dependencies())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ("numba>=0.60" in done.stdout) == numba, done.stderr
    assert "numpy" in done.stdout


def test_skips_the_extension_on_demand(tmp_path):
    done, built = build(tmp_path, "skip")
    assert done.returncode == 0, done.stderr
    assert built == []


@pytest.mark.parametrize(
    ("name", "found", "least"), [("setuptools", "65.5.0", "77"), ("cython", "3.0.12", "3.1")]
)
def test_names_a_tool_that_is_too_old(tmp_path, name, found, least):
    about = tmp_path / "tools" / f"{name}-{found}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n")
    done, _ = build(tmp_path, "auto", first_on_path=tmp_path / "tools")
    assert done.returncode != 0
    assert f"takes {name} {least} or later, found {found}: pip install" in done.stderr


def test_refuses_an_unknown_mode(tmp_path):
    done, _ = build(tmp_path, "always")
    assert done.returncode != 0
    assert "FASTLLM_BUILD_EXT must be auto, require or skip, not 'always'" in done.stderr
