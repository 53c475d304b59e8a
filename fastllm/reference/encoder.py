"""The encoder, the textbook: a vocabulary made ready for many texts.

It normalizes a text, splits it into pre-tokens, and turns each into ids: `Encoder`. How a pre-token
becomes ids is the model's affair. `SubwordEncoder` has one of the chapters `wordpiece` and those
after it. `BytePairEncoder` merges bytes. What may merge is said in one of two ways. A file of
*ranks* (tiktoken) gives each token an id, and two tokens merge where their concatenation is a
token, lowest id first. A list of *merges* (Hugging Face) names the pairs, best first. With ranks, a
pre-token that is a token is never taken apart.

On paper, with the ids a 0, b 1, c 2, ab 3, bc 4, abc 5. By ranks, "abca" becomes ab c a, since "ab"
has the lowest id, and then abc a, since "abc" is a token: 5 0. With the merges (a, b), (b, c) and
(a, bc) it becomes ab c a, and stays so, since (ab, c) is not in the list: 3 2 0. By ranks, "abc"
alone is 5 at once.

Special tokens are known to decoding only: `encode` takes them for text. Cutting them out first is
the chapter `special_tokens`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from fastllm.api.encoder import BytePairEncoder as PublicBytePairEncoder
from fastllm.api.encoder import Encoder as PublicEncoder
from fastllm.api.encoder import Places
from fastllm.api.encoder import SubwordEncoder as PublicSubwordEncoder
from fastllm.api.models import (
    CharacterBPE,
    SentencePieces,
    SubwordModel,
    Unigram,
    WordLevel,
    WordPiece,
)
from fastllm.api.normalizers import Normalizer
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as checks
from fastllm.checks.tokenization import CheckedVocabulary, IdArray
from fastllm.patterns.named import SplitPattern
from fastllm.reference.bpe import Ids, Merge
from fastllm.reference.character_bpe import CharacterBPEModel
from fastllm.reference.normalization import normalize, normalize_with_places
from fastllm.reference.pieces import Model
from fastllm.reference.sentencepiece import SentencePiecesModel
from fastllm.reference.splitting import places, split
from fastllm.reference.unigram import UnigramModel
from fastllm.reference.wordlevel import WordLevelModel
from fastllm.reference.wordpiece import WordPieceModel

# What runs each model.
MODELS: dict[type[Any], Callable[[Any], Model]] = {
    WordLevel: WordLevelModel,
    WordPiece: WordPieceModel,
    CharacterBPE: CharacterBPEModel,
    Unigram: UnigramModel,
    SentencePieces: SentencePiecesModel,
}


class Encoder(PublicEncoder):
    """Normalize, split, and turn each pre-token into ids."""

    _highest: int  # of all ids

    def _pretokens(self, text: str) -> list[str]:
        """The pre-tokens of a text that is to be normalized first."""
        raise NotImplementedError

    def encode(self, text: str) -> Ids:
        pretokens = self._pretokens(checks.check_text(text))
        return [i for pretoken in pretokens for i in self.encode_piece(pretoken.encode())]

    # Many texts, counts and arrays: what `encode` gives, in other shapes. Nothing new from here on.

    def count(self, text: str) -> int:
        return len(self.encode(text))

    def encode_batch(self, texts: Iterable[str], threads: int | None = None) -> list[Ids]:
        return [self.encode(text) for text in checks.check_batch(texts, threads)]

    def count_batch(self, texts: Iterable[str], threads: int | None = None) -> list[int]:
        return [self.count(text) for text in checks.check_batch(texts, threads)]

    def encode_to_numpy(self, text: str, dtype: np.typing.DTypeLike | None = None) -> IdArray:
        checked = checks.check_id_dtype(dtype, self._highest)
        return np.array(self.encode(text), dtype=checked)

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        checked = checks.check_id_dtype(dtype, self._highest, out)
        batch = self.encode_batch(texts, threads)
        offsets = np.cumsum([0, *map(len, batch)], dtype=np.int64)
        ids = checks.room_for_ids(out, int(offsets[-1]), checked)
        ids[:] = [i for ids_of_text in batch for i in ids_of_text]
        return ids, offsets

    def as_lists(
        self, ids: IdArray, starts: np.typing.NDArray[np.int64], ends: np.typing.NDArray[np.int64]
    ) -> tuple[Ids, list[tuple[int, int]]]:
        return ids.tolist(), list(zip(starts.tolist(), ends.tolist(), strict=True))


class BytePairEncoder(Encoder, PublicBytePairEncoder):
    def _set_up(
        self,
        vocabulary: CheckedVocabulary,
        merges: list[Merge] | None,
        pattern: SplitPattern,
        ignore_merges: bool,
        drop_missing: bool,
        special_tokens: dict[str, int],
    ) -> None:
        self._vocabulary = vocabulary
        self._pattern = pattern
        self._highest = max(vocabulary.values(), default=-1)
        self._drop_missing = drop_missing
        self._whole_pretokens = merges is None or ignore_merges
        self._merge_ranks: dict[Merge, int] | None = None
        if merges is not None:
            self._merge_ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._token_of = {number: token for token, number in vocabulary.items()}
        for text, number in special_tokens.items():
            self._token_of[number] = text.encode()

    # Encoding

    def _pretokens(self, text: str) -> list[str]:
        return split(self._pattern.normalize(text), self._pattern)

    def encode_bytes(self, data: bytes) -> Ids:
        # Bytes that are not UTF-8 are kept. The pattern takes each for a symbol: no letter, digit
        # or blank.
        text = checks.check_bytes(data).decode("utf-8", "surrogateescape")
        return [
            i
            for pretoken in self._pretokens(text)
            for i in self.encode_piece(pretoken.encode("utf-8", "surrogateescape"))
        ]

    def encode_piece(self, piece: bytes) -> Ids:
        if self._whole_pretokens and piece in self._vocabulary:
            return [self._vocabulary[piece]]
        parts, _ = self._merge(piece)
        return [self._vocabulary[part] for part in parts]

    # Which two parts a token was made of: it turns a file of ranks into a list of merges.
    def last_merge(self, token: bytes) -> Merge | None:
        parts, last = self._merge(token)
        return last if len(parts) == 1 else None

    def _rank(self, left: bytes, right: bytes) -> int | None:
        """The rank at which two parts merge, the lowest first; None if they do not."""
        if self._merge_ranks is None:
            return self._vocabulary.get(left + right)
        return self._merge_ranks.get((left, right))

    def _single_bytes(self, word: bytes) -> list[bytes]:
        """The bytes of a pre-token, one part each; missing ones raise or are left out."""
        parts = [word[i : i + 1] for i in range(len(word))]
        missing = next((part for part in parts if part not in self._vocabulary), None)
        if missing is None:
            return parts
        if not self._drop_missing:
            raise checks.missing_byte_error(missing[0])
        return [part for part in parts if part in self._vocabulary]

    def _merge(self, word: bytes) -> tuple[list[bytes], Merge | None]:
        """The parts that `bpe.merge_by_rank` gives, and the last merge made.

        The plain rule looks at all pairs before each merge, which is quadratic, and tests encode
        pre-tokens of a million bytes. A heap gives the same merges in n log n
        steps: an entry whose parts have changed since is passed over.
        """
        parts = self._single_bytes(word)
        # Where each part's neighbours are. A part is empty once its left neighbour has taken it in.
        before = list(range(-1, len(parts) - 1))
        after = list(range(1, len(parts) + 1))
        heap: list[tuple[int, int, bytes, bytes]] = []

        def offer(i: int) -> None:
            if i >= 0 and after[i] < len(parts):
                rank = self._rank(parts[i], parts[after[i]])
                if rank is not None:
                    heapq.heappush(heap, (rank, i, parts[i], parts[after[i]]))

        for i in range(len(parts) - 1):
            offer(i)
        last: Merge | None = None
        while heap:
            _, i, left, right = heapq.heappop(heap)
            j = after[i]
            if parts[i] != left or j == len(parts) or parts[j] != right:
                continue
            last = (left, right)
            parts[i], parts[j] = left + right, b""
            after[i] = after[j]
            if after[i] < len(parts):
                before[after[i]] = i
            offer(before[i])
            offer(i)
        return [part for part in parts if part], last

    # Decoding

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        parts = []
        for number in checks.check_ids(ids):
            if number not in self._token_of:
                raise checks.unknown_id_error(number)
            parts.append(self._token_of[number])
        return b"".join(parts)


class SubwordEncoder(Encoder, PublicSubwordEncoder):
    def _set_up(
        self, model: SubwordModel, pattern: SplitPattern, normalizer: tuple[Normalizer, ...]
    ) -> None:
        self._model = MODELS[type(model)](model)
        self._pattern = pattern
        self._normalizer = normalizer
        self._highest = max(model.vocabulary.values())

    def _pretokens(self, text: str) -> list[str]:
        return split(normalize(text, self._normalizer), self._pattern)

    def encode_piece(self, piece: bytes) -> Ids:
        return [found.id for found in self._model.pieces(piece.decode())]

    def normalize(self, text: str) -> str:
        return normalize(checks.check_text(text), self._normalizer)

    def normalize_with_places(self, text: str) -> tuple[str, Places]:
        made = normalize_with_places(checks.check_text(text), self._normalizer)
        return "".join(c for c, _ in made), np.array([place for _, place in made], dtype=np.int64)

    def locate(self, text: str) -> tuple[IdArray, Places, Places]:
        made = normalize_with_places(checks.check_text(text), self._normalizer)
        normalized = "".join(character for character, _ in made)
        located = [
            (piece.id, made[first + piece.start].place, made[first + piece.end - 1].place + 1)
            for first, last in places(normalized, self._pattern)
            for piece in self._model.pieces(normalized[first:last])
        ]
        ids, starts, ends = np.array(located, dtype=np.int64).reshape(-1, 3).T.copy()
        return ids.astype(np.uint32), starts, ends
