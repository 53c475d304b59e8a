"""The extension list and the three build modes; everything else is in pyproject.toml.

``FASTLLM_BUILD_EXT`` says what happens to the compiled extension:

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

from setuptools import Extension, setup

mode = os.environ.get("FASTLLM_BUILD_EXT", "auto")
if mode not in ("auto", "require", "skip"):
    raise SystemExit(f"FASTLLM_BUILD_EXT must be auto, require or skip, not {mode!r}")
debug = os.environ.get("FASTLLM_CYTHON_DEBUG", "0") == "1"


folder = "fastllm/fast/_tokenization"


def extension(name: str) -> Extension:
    """The compiled module ``fastllm.fast._tokenization.<name>``."""
    built = Extension(
        f"fastllm.fast._tokenization.{name}",
        [f"{folder}/{name}.pyx"],
        include_dirs=[folder],
        depends=glob.glob(f"{folder}/**/*.h", recursive=True),
        language="c++",
        extra_compile_args=["/std:c++17", "/O2"] if os.name == "nt" else ["-std=c++17", "-O3"],
        define_macros=[("_GLIBCXX_ASSERTIONS", "1")] if debug else [],
        optional=mode == "auto",
    )
    # Directives given here override the ones in the .pyx header.
    built.cython_directives = {"boundscheck": True} if debug else {}
    return built


names = [] if mode == "skip" else ["_split", "_bpe", "_train", "_special_tokens"]
setup(ext_modules=[extension(name) for name in names])
