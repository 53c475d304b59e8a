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


def test_without_a_compiler_falls_back(tmp_path):
    done, built = build(tmp_path, "auto", compiler="/no/such/compiler")
    assert done.returncode == 0, done.stderr
    assert built == []


def test_without_a_compiler_fails_when_required(tmp_path):
    done, built = build(tmp_path, "require", compiler="/no/such/compiler")
    assert done.returncode != 0
    assert built == []


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
