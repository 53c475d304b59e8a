# PyInstaller looks for a file of this name.
# ruff: noqa: N999
"""What of fastllm belongs into a frozen program, besides what its import statements name.

Backends are imported by their names, in `fastllm._backend`: without these, a program would run on
the reference. Kernels of attention are collected as files, since the name of what was compiled from
them is a hash of their sources.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules

hiddenimports = [*collect_submodules("fastllm.fast"), *collect_submodules("fastllm.reference")]
datas = collect_data_files(
    "fastllm", includes=["**/*.json", "explain/page.*", "explain/persuasion/*"]
)
module_collection_mode = {"fastllm.fast._attention": "py"}
