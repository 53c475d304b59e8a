"""From documents to word counts, and ids to files: reading, safe cuts, counts, reports.

`encode_corpus` makes files of ids of a whole corpus, `TokenDataset` reads them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastllm.corpus.encoded.dataset import TokenDataset
    from fastllm.corpus.encoded.encoding import encode_corpus

_PLACES = {"TokenDataset": "dataset", "encode_corpus": "encoding"}


def __getattr__(name: str) -> Any:
    """What few need, by its first use."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"fastllm.corpus.encoded.{_PLACES[name]}")
    value = globals()[name] = getattr(module, name)
    return value


__all__ = ["TokenDataset", "encode_corpus"]
