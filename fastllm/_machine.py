"""What `fastllm info` says: versions, backends, what the machine offers, what a tokenizer is."""

import importlib.metadata
import os
import platform
import sys

import fastllm
from fastllm import _backend
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.tokenizers.model_tokenizer import ModelTokenizer


def facts() -> dict[str, str]:
    """Names and values, in the order in which they are shown."""
    return {
        "fastllm": fastllm.__version__,
        "Python": f"{platform.python_version()} ({sys.implementation.name}), {_gil()}",
        "NumPy": _version("numpy"),
        "Numba": f"{_version('numba')}, llvmlite {_version('llvmlite')}",
        "Cython": f"{_version('cython')} (only needed to build)",
        **{f"{topic} backend": reason for topic, reason in fastllm.backends().items()},
        "FASTLLM_BACKEND": os.environ.get("FASTLLM_BACKEND", "not set (auto)"),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "instruction set": _instruction_set(),
        "cores": _cores(),
        "threads": str(fastllm.get_num_threads()),
    }


def tokenizer_facts(tokenizer: SubwordTokenizer) -> dict[str, str]:
    """The same of a tokenizer."""
    facts = {
        "vocabulary": f"{tokenizer.n_vocab:,} tokens, {len(tokenizer.special_tokens):,} special"
    }
    if isinstance(tokenizer, ModelTokenizer):
        facts["pipeline"] = ", then ".join(tokenizer.pipeline)
    return facts | pattern_facts(tokenizer.split_pattern)


def pattern_facts(pattern: str | SplitPattern) -> dict[str, str]:
    """The same of a split pattern: what it is, and what splits by it."""
    found = split_pattern(pattern)
    engine = _backend.bpe.FUNCTIONS.pattern_engine(found)
    facts = {"split pattern": str(found), "pattern engine": engine}
    if engine == "masks":
        facts["which is"] = "a scanner written by hand"
    elif engine == "automaton":
        sizes = [f"{step.states:,} states" for step in found.compiled_steps if step.states]
        counted = ", and characters are counted" if len(sizes) < len(found.compiled_steps) else ""
        facts["which is"] = f"a table made of the expression, {', '.join(sizes)}{counted}"
    elif engine.startswith("matcher"):
        facts["which is"] = "backtracking that tries nothing twice, in plain Python"
    return facts


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _gil() -> str:
    enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return "with the GIL" if enabled else "free-threaded"


def _instruction_set() -> str:
    """The widest vectors of this processor, by the names that LLVM has for them."""
    try:
        from llvmlite import binding
    except ImportError:
        return f"{platform.machine()} (llvmlite, which could say more, is not installed)"
    has = binding.get_host_cpu_features()
    widest = [name for name in ("avx512f", "avx2", "sse4.2", "sve", "neon") if has.get(name)]
    return f"{widest[0] if widest else 'baseline'} ({binding.get_host_cpu_name()})"


def _cores() -> str:
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    return f"{usable} of {total} usable"
