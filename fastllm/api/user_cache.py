"""Where files are kept that can be had again: downloaded vocabularies, compiled kernels."""

import os
import sys
from pathlib import Path


def user_cache() -> Path:
    """The folder of fastllm in the place for caches of the platform."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local, "fastllm", "fastllm", "Cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastllm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fastllm")
