"""The compiled extension, its three build modes, and what depends on the Python that builds.

Everything else is in pyproject.toml.

``FASTLLM_BUILD_EXT`` says what happens to it:

``auto`` (the default)
    build it, and fall back to the pure-Python reference when there is no working compiler: the
    compiler's error is printed and kept, so that ``fastllm.backends()`` can show it;
``require``
    build it or fail;
``skip``
    build a pure-Python wheel.

``FASTLLM_CYTHON_DEBUG=1`` builds with bounds checks, in Cython's arrays and in C++ vectors.
"""

import contextlib
import glob
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

mode = os.environ.get("FASTLLM_BUILD_EXT", "auto")
if mode not in ("auto", "require", "skip"):
    raise SystemExit(f"FASTLLM_BUILD_EXT must be auto, require or skip, not {mode!r}")
debug = os.environ.get("FASTLLM_CYTHON_DEBUG", "0") == "1"


def check_tools():
    """Say what is missing where pip was told not to fetch it; older tools end in other errors."""
    with open("pyproject.toml", "rb") as file:
        tools = tomllib.load(file)["build-system"]["requires"]
    for tool in tools:
        name, least = tool.split(">=")
        if name == "cython" and mode == "skip":
            continue
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if numbers(found) < numbers(least):
            raise SystemExit(
                f"to build fastllm takes {name} {least} or later, found {found}: "
                f"pip install '{tool}', or leave out --no-build-isolation"
            )


def numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def dependencies():
    """What fastllm needs of this Python. No marker can say where Numba has no wheels."""
    libc = sysconfig.get_config_var("SOABI") or ""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    if libc.endswith("musl") or (free_threaded and sys.version_info < (3, 14)):
        return ["numpy>=1.26"]  # attention falls back to the reference, and says so
    # Where Numba has no wheels either: other processors, and other Pythons.
    machines = "x86_64 AMD64 aarch64 arm64 ARM64"
    where = f"platform_machine in '{machines}' and platform_python_implementation == 'CPython'"
    return ["numpy>=1.26", f"numba>=0.60; {where}"]


check_tools()

folder = "fastllm/fast/_tokenization"


class BuildKernels(build_ext):
    """Builds the extension; where that fails, says why and what to install, and keeps it.

    `build_error.txt` then lies where the extension would: `fastllm.fast._tokenization` reads it.
    """

    failure = ""

    def run(self):
        super().run()
        kept = Path(folder if self.inplace else Path(self.build_lib, folder), "build_error.txt")
        kept.unlink(missing_ok=True)
        if self.failure:
            kept.write_text(self.failure, "utf-8")

    def build_extension(self, ext):
        with tempfile.TemporaryFile() as printed:
            try:
                ext.extra_compile_args = compile_args(self.compiler)
                with printing_into(printed):
                    super().build_extension(ext)
            except Exception as error:
                self.failure = f"{why(error, text_of(printed))}\n{what_to_install()}\n"
                raise
            finally:
                sys.stderr.write(text_of(printed))
                if self.failure:
                    sys.stderr.write(f"\nfastllm has no compiled extension: {self.failure}\n")


def compile_args(compiler):
    if compiler.compiler_type != "msvc":
        return ["-std=c++17", "-O3"]
    # Microsoft's own compiler lacks what the kernels are written with; its clang has it.
    compiler.initialize()
    compiler.cc = shutil.which("clang-cl")
    if compiler.cc is None:
        raise CompileError("error: cl.exe cannot compile the extension, and there is no clang-cl")
    return ["/std:c++17", "/O2", "/clang:-O3"]


@contextlib.contextmanager
def printing_into(file):
    """What this process and the compilers that it starts print goes into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number in (1, 2):
            os.dup2(kept[number - 1], number)
            os.close(kept[number - 1])


def text_of(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def why(error, printed):
    """The compiler's first error, or what is known without it."""
    errors = [line.strip() for line in printed.splitlines() if "error" in line.lower()]
    return f"the compiler failed: {(errors or [' '.join(str(error).split())])[0]}"


def what_to_install():
    if sys.platform == "win32":
        tools = (
            "Visual Studio's C++ build tools with 'C++ Clang tools', and put clang-cl on the PATH"
        )
    elif sys.platform == "darwin":
        tools = "Apple's command line tools (xcode-select --install)"
    else:
        tools = (
            "a C++17 compiler and Python's headers (apt install g++ python3-dev, or "
            "dnf install gcc-c++ python3-devel, or apk add g++ python3-dev)"
        )
    return f"install {tools}, then fastllm again, with pip's --force-reinstall --no-cache-dir -v"


kernels = Extension(
    "fastllm.fast._tokenization._kernels",
    [f"{folder}/_kernels.pyx"],
    include_dirs=[folder],
    depends=[
        path for kind in ("h", "pxi") for path in glob.glob(f"{folder}/**/*.{kind}", recursive=True)
    ],
    language="c++",
    define_macros=[("_GLIBCXX_ASSERTIONS", "1")] if debug else [],
    optional=mode == "auto",
)
# Directives given here override the ones in the .pyx header.
kernels.cython_directives = {"boundscheck": True} if debug else {}

setup(
    ext_modules=[] if mode == "skip" else [kernels],
    cmdclass={"build_ext": BuildKernels},
    install_requires=dependencies(),
)
