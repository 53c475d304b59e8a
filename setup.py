"""The compiled extension and its three build modes; everything else is in pyproject.toml.

``FASTLLM_BUILD_EXT`` says what happens to it:

``auto`` (the default)
    build it, and fall back to the pure-Python reference when there is no working compiler;
``require``
    build it or fail;
``skip``
    build a pure-Python wheel.

``FASTLLM_CYTHON_DEBUG=1`` builds with bounds checks, in Cython's arrays and in C++ vectors.
"""

import glob
import os
import re
import tomllib
from importlib import metadata

from setuptools import Extension, setup

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


check_tools()

folder = "fastllm/fast/_tokenization"
kernels = Extension(
    "fastllm.fast._tokenization._kernels",
    [f"{folder}/_kernels.pyx"],
    include_dirs=[folder],
    depends=[
        path for kind in ("h", "pxi") for path in glob.glob(f"{folder}/**/*.{kind}", recursive=True)
    ],
    language="c++",
    extra_compile_args=["/std:c++17", "/O2"] if os.name == "nt" else ["-std=c++17", "-O3"],
    define_macros=[("_GLIBCXX_ASSERTIONS", "1")] if debug else [],
    optional=mode == "auto",
)
# Directives given here override the ones in the .pyx header.
kernels.cython_directives = {"boundscheck": True} if debug else {}

setup(ext_modules=[] if mode == "skip" else [kernels])
