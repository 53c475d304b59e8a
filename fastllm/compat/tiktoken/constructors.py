"""What makes tiktoken's encodings: the arguments of each by its name, plugins included."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastllm.patterns.named import NAMED
from fastllm.vocabularies import published
from fastllm.vocabularies.openai_encodings import ENCODINGS

Constructors = Mapping[str, Callable[[], dict[str, Any]]]

PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    ),
    "o200k": NAMED["o200k"].steps[0],
}


@functools.cache
def constructors() -> Constructors:
    """What makes the arguments of each encoding."""
    found: dict[str, Callable[[], dict[str, Any]]] = {}
    for origin, named in _plugins():
        for name, constructor in named.items():
            if name in found:
                raise ValueError(f"Duplicate encoding name {name} in tiktoken plugin {origin}")
            found[name] = constructor
    return found


def _plugins() -> Iterator[tuple[str, Constructors]]:
    """Plugins are the modules of the namespace package tiktoken_ext; one of them is tiktoken's."""
    ours = {name: functools.partial(_published, name) for name in ENCODINGS}
    theirs = "tiktoken_ext.openai_public"
    try:
        path = importlib.import_module("tiktoken_ext").__path__
        modules = [module.name for module in pkgutil.iter_modules(path, "tiktoken_ext.")]
    except ImportError:
        modules = []
    for module in modules if theirs in modules else [*modules, theirs]:
        if module == theirs:
            yield module, ours
            continue
        try:
            yield module, importlib.import_module(module).ENCODING_CONSTRUCTORS
        except AttributeError as error:
            raise ValueError(
                f"tiktoken plugin {module} does not define ENCODING_CONSTRUCTORS"
            ) from error


def _published(name: str) -> dict[str, Any]:
    """The arguments of one of OpenAI's encodings."""
    encoding = ENCODINGS[name]
    return {
        "name": name,
        "pat_str": PATTERNS[encoding.pattern],
        "mergeable_ranks": published.read_ranks(name),
        "special_tokens": dict(encoding.special_tokens),
    }
