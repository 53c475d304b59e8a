"""Tokenization, compiled: an engine with the results of `fastllm.reference.tokenization`.

Here checked arguments are handed to `_tokenization`, where the loops are: `_kernels` is C++ and
Cython, `counting` and `learning` decide which threads run it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastllm.api.encoder import BytePairEncoder as PublicBytePairEncoder
from fastllm.api.encoder import Encoder as PublicEncoder
from fastllm.api.encoder import Ids, Merge, Places
from fastllm.api.encoder import SubwordEncoder as PublicSubwordEncoder
from fastllm.api.encoder import TokenFinder as PublicFinder
from fastllm.api.models import SubwordModel
from fastllm.api.normalizers import Normalizer
from fastllm.api.tokenization import TokenizationEngine, TokenizationFunctions
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as checks
from fastllm.checks.tokenization import IdArray
from fastllm.fast._tokenization import build_error
from fastllm.patterns.named import SplitPattern

try:
    from fastllm.fast._tokenization import (
        _kernels,
        counting,
        learning,
        left_to_re,
        normalizing,
        text_cutting,
    )
except ImportError as error:
    reason = build_error() or str(error)
    raise ImportError(f"the compiled extension is not installed: {reason}") from error

__all__ = [
    "BytePairEncoder",
    "SubwordEncoder",
    "TokenFinder",
    "count_words",
    "decode",
    "encode",
    "extend",
    "merge",
    "split",
    "train",
]


def _split(text: str, pattern: SplitPattern) -> list[str]:
    if not left_to_re.is_compiled(pattern):
        return _kernels.split_by_expressions(text, pattern)
    return _kernels.split_text(text, pattern)


def _merge(ids: Ids, pair: tuple[int, int], new_id: int) -> Ids:
    return _kernels.merge_pair(ids, *pair, new_id)


class Encoder(_kernels.Encoder, PublicEncoder):
    def encode_batch(self, texts: Iterable[str], threads: int | None = None) -> list[Ids]:
        return self._encode_lists(checks.check_batch(texts, threads), threads)

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        batch = checks.check_batch(texts, threads)
        if out is None and dtype is None:
            return self._encode_flat(batch, threads, None)
        checked = checks.check_id_dtype(dtype, self._highest, out)
        if checked is np.uint32:
            return self._encode_flat(batch, threads, out)
        wide, offsets = self._encode_flat(batch, threads, None)
        ids = checks.room_for_ids(out, wide.size, checked)
        ids[:] = wide
        return ids, offsets


class BytePairEncoder(_kernels.ByteEncoder, Encoder, PublicBytePairEncoder):
    def _set_up(
        self,
        vocabulary: dict[bytes, int],
        merges: list[Merge] | None,
        pattern: SplitPattern,
        ignore_merges: bool,
        drop_missing: bool,
        special_tokens: dict[str, int],
    ) -> None:
        left_to_re.is_compiled(pattern)  # it says if not
        super()._set_up(vocabulary, merges, pattern, ignore_merges, drop_missing, special_tokens)


class SubwordEncoder(_kernels.ModelEncoder, Encoder, PublicSubwordEncoder):
    def _set_up(
        self, model: SubwordModel, pattern: SplitPattern, normalizer: tuple[Normalizer, ...]
    ) -> None:
        left_to_re.is_compiled(pattern)  # it says if not
        self._normalizer = normalizer
        cuts = text_cutting.cuts_of(model, pattern, normalizer)

        steps, compiled = text_cutting.compiled_steps(cuts)
        self._set_up_model(
            model,
            pattern,
            (lambda text: normalizing.normalize(text, steps)) if steps else None,
            lambda text: normalizing.normalize_with_places(text, normalizer),
            normalizing.fused_with_split(normalizer, pattern),
            cuts,
            compiled,
        )

    def normalize(self, text: str) -> str:
        return normalizing.normalize(checks.check_text(text), self._normalizer)

    def normalize_with_places(self, text: str) -> tuple[str, Places]:
        text = checks.check_text(text)
        normalized, places = normalizing.normalize_with_places(text, self._normalizer)
        return normalized, np.arange(len(text)) if places is None else places


class TokenFinder(_kernels.Finder, PublicFinder):
    pass


FUNCTIONS = TokenizationFunctions(
    __name__,
    TokenizationEngine(
        split=_split,
        merge=_merge,
        count_words=counting.count_words,
        learn_merges=learning.learn_merges,
        encoder=BytePairEncoder,
        pattern_engine=left_to_re.engine_of,
    ),
)
split = FUNCTIONS.split
merge = FUNCTIONS.merge
count_words = FUNCTIONS.count_words
train = FUNCTIONS.train
extend = FUNCTIONS.extend
encode = FUNCTIONS.encode
decode = FUNCTIONS.decode
