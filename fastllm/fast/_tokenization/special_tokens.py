"""Finding special tokens in text, compiled: the twin of `fastllm.reference.special_tokens`."""

from collections.abc import Iterable

from fastllm.checks import tokenization as arguments
from fastllm.reference import special_tokens as reference

try:
    from fastllm.fast._tokenization import _kernels
except ImportError as error:
    raise ImportError(f"the compiled extension is not installed: {error}") from error

__all__ = ["TokenFinder"]


class TokenFinder(_kernels.Finder):
    def __init__(self, tokens: Iterable[str]) -> None:
        super().__init__(arguments.check_tokens_to_find(tokens))


TokenFinder.__doc__ = reference.TokenFinder.__doc__
for _name in ("find", "cut"):
    getattr(TokenFinder, _name).__doc__ = getattr(reference.TokenFinder, _name).__doc__
