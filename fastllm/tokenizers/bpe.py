"""Byte-pair tokenizers as users see them; a backend does the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from itertools import chain, islice
from typing import Literal, NamedTuple

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.corpus.id_files import id_dtype, writing_ids
from fastllm.corpus.text_files import cut_is_unsafe, last_cut, read_chunks
from fastllm.tokenizers.bpe_decoding import BPEDecoding
from fastllm.tokenizers.offsets import (
    Alignment,
    Places,
    TokenShapes,
    character_runs,
    character_runs_of_kept,
    is_normalized,
    is_pair_at,
    of_surrogates,
    segments,
)
from fastllm.tokenizers.special_tokens import Allowed, Cuts, SpecialRules, check_allowed

Ids = list[int]
IdArray = arguments.IdArray
Chosen = Literal["all"] | frozenset[str]
NOTHING: frozenset[str] = frozenset()
CHUNKS_AT_ONCE = 8
MOST_RULES = 64
LOOK_BEHIND = 256


class EncodedCuts(NamedTuple):
    """The ids of several texts, where those of each begin, and which are of tokens taken whole."""

    ids: IdArray
    offsets: np.typing.NDArray[np.int64]
    whole: Places


class BPETokenizer(BPEDecoding):
    """Byte-level byte-pair encoding: any text to ids and back, nothing unknown, nothing lost.

    Parameters
    ----------
    ranks : mapping from bytes to int
        The id of each ordinary token; tiktoken's ``mergeable_ranks``.
    pattern : str or SplitPattern
        Name of a split pattern, or a regular expression.
    special_tokens : mapping from str to int, optional
        Tokens that text may hold only where a call allows it.
    merges : sequence of (bytes, bytes), optional
        The merges allowed, best first, as in Hugging Face files. Without them ids are ranks: two
        tokens merge if their concatenation is a token, lowest id first, and a piece that is a token
        is never taken apart.
    ignore_merges : bool
        With `merges`: a piece that is a token is never taken apart.
    added_tokens : mapping from str to int, optional
        Tokens that are taken whole wherever they stand in a text, without being special.
    normalized_tokens : collection of str
        Which of the special and added tokens are looked for only after all others are, and after
        normalization where the pattern asks for one.
    missing_bytes : {"raise", "drop"}
        What to do with a byte of a text that is not in the vocabulary.
    shared_ids : bool
        Whether several special or added tokens may have one id, as in o200k_harmony. Each of them
        is encoded as the id; decoding gives the last one.

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form; for two tokens with the same id, unless they may
        share it.

    Examples
    --------
    >>> tokenizer = BPETokenizer.train("low lower lowest", 260, special_tokens=["<|endoftext|>"])
    >>> tokenizer.mergeable_ranks[b"low"]
    257
    >>> tokenizer.encode("lowest")
    [257, 101, 115, 116]
    >>> tokenizer.decode([257, 101, 115, 116])
    'lowest'
    >>> tokenizer.encode("low<|endoftext|>", allowed_special="all")
    [257, 259]
    """

    def encode(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> Ids:
        """The ids of `text`.

        Parameters
        ----------
        text : str
            Lone surrogates become U+FFFD, pairs of them the character they stand for.
        allowed_special : "all" or collection of str
            Special tokens that become their id where they stand in `text`.
        disallowed_special : "all" or collection of str
            Special tokens that raise an error; ``"all"`` means all that are not allowed. What is
            neither allowed nor disallowed is ordinary text.

        Raises
        ------
        TypeError
            If `text` is not a string.
        ValueError
            If `text` holds a disallowed special token, or a byte that the vocabulary lacks.
        """
        cuts = self._rules(allowed_special, disallowed_special).cut(text)
        if cuts is None:
            ids: Ids = self._encoder.encode(text)
            return ids
        ids = []
        for stretch, token in cuts:
            ids += self._encoder.encode(stretch)
            if token is not None:
                ids.append(self._id_of[token])
        return ids

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        return self._encode_plain(text)

    @cached_property
    def _encode_plain(self) -> Callable[[str], Ids]:
        """What encodes a text in which special tokens are ordinary: mostly the encoder itself."""
        if self._added_set:
            return partial(self.encode, disallowed_special=NOTHING)
        encode: Callable[[str], Ids] = self._encoder.encode
        return encode

    def encode_to_numpy(
        self,
        text: str,
        *,
        dtype: np.typing.DTypeLike | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> IdArray:
        """The ids of `text` as an array.

        Parameters
        ----------
        text, allowed_special, disallowed_special
            As for `encode`.
        dtype : {uint32, uint16}, optional
            uint32 unless given; uint16 only where all ids of the vocabulary fit.

        Raises
        ------
        TypeError, ValueError
            As `encode`; for another dtype, or one that not all ids fit.

        Examples
        --------
        >>> BPETokenizer.train("", 256).encode_to_numpy("ab", dtype=np.uint16)
        array([97, 98], dtype=uint16)
        """
        if dtype is not None:
            dtype = arguments.check_id_dtype(dtype, self.max_token_value)
        cuts = self._rules(allowed_special, disallowed_special).cut(text)
        if cuts is None:
            array: IdArray = self._encoder.encode_to_numpy(text, dtype)
            return array
        return self._encode_cuts([cuts], 1).ids.astype(dtype or np.uint32, copy=False)

    def encode_bytes(self, data: bytes) -> Ids:
        r"""The ids of bytes that should be UTF-8, special tokens in them being ordinary text.

        Nothing is lost where they are not: decoding gives the same bytes.

        Parameters
        ----------
        data : bytes-like
            Each byte that is no part of a character is split like a character that is neither a
            letter nor a number nor white space.

        Raises
        ------
        TypeError
            If `data` is not bytes.
        ValueError
            If the vocabulary lacks a byte.

        Examples
        --------
        >>> tokenizer = BPETokenizer.train("aa", 257)
        >>> tokenizer.encode_bytes(b"aa\xffaa")
        [256, 255, 256]
        """
        if not self._added_set:
            ids: Ids = self._encoder.encode_bytes(data)
            return ids
        text = arguments.check_bytes(data).decode("utf-8", "surrogateescape")
        ids = []
        for stretch, token in self._rules(NOTHING, NOTHING).cut_at_tokens(text):
            ids += self._encoder.encode_bytes(stretch.encode("utf-8", "surrogateescape"))
            if token is not None:
                ids.append(self._id_of[token])
        return ids

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        threads: int | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> list[Ids]:
        """The ids of each text.

        Parameters
        ----------
        texts : iterable of str
        threads : int, optional
            How many threads may work at once.
        allowed_special, disallowed_special
            As for `encode`.

        Examples
        --------
        >>> BPETokenizer.train("", 256).encode_batch(["a", "", "bc"])
        [[97], [], [98, 99]]
        """
        texts = arguments.check_batch(texts, threads)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            batch: list[Ids] = self._encoder.encode_batch(texts, threads)
            return batch
        stretches = [stretch for cut in cuts for stretch, _ in cut]
        encoded = iter(self._encoder.encode_batch(stretches, threads))
        joined: list[Ids] = []
        for cut in cuts:
            ids: Ids = []
            for _, token in cut:
                ids += next(encoded)
                if token is not None:
                    ids.append(self._id_of[token])
            joined.append(ids)
        return joined

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        """All ids in one array, and where each text's begin and end.

        Parameters
        ----------
        texts, threads, allowed_special, disallowed_special
            As for `encode_batch`.
        out : array of uint32 or uint16, optional
            Where the ids are written, at the front, instead of into a new array. What was behind
            them may be lost.
        dtype : {uint32, uint16}, optional
            That of `out`, or else uint32, unless given; uint16 only where all ids of the
            vocabulary fit.

        Returns
        -------
        ids : array of uint32 or uint16
        offsets : array of int64, one more than there are texts
            The ids of text i are ``ids[offsets[i]:offsets[i+1]]``.

        Examples
        --------
        >>> ids, offsets = BPETokenizer.train("", 256).encode_batch_to_numpy(["a", "", "bc"])
        >>> ids.tolist(), offsets.tolist()
        ([97, 98, 99], [0, 1, 1, 3])
        """
        texts = arguments.check_batch(texts, threads)
        if out is not None or dtype is not None:
            dtype = arguments.check_id_dtype(dtype, self.max_token_value, out)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            flat: tuple[IdArray, np.typing.NDArray[np.int64]]
            flat = self._encoder.encode_batch_to_numpy(texts, threads, out, dtype)
            return flat
        encoded = self._encode_cuts(cuts, threads)
        ids = arguments.room_for_ids(out, encoded.ids.size, dtype)
        ids[:] = encoded.ids
        return ids, encoded.offsets

    def count(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> int:
        """How many ids `text` has; otherwise as `encode`."""
        cuts = self._rules(allowed_special, disallowed_special).cut(text)
        if cuts is None:
            return int(self._encoder.count(text))
        return sum(int(self._encoder.count(stretch)) for stretch, _ in cuts) + len(cuts) - 1

    def count_batch(
        self,
        texts: Iterable[str],
        *,
        threads: int | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> list[int]:
        """How many ids each text has; otherwise as `encode_batch`.

        Examples
        --------
        >>> BPETokenizer.train("", 256).count_batch(["a", "", "bc"])
        [1, 0, 2]
        """
        texts = arguments.check_batch(texts, threads)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            counts: list[int] = self._encoder.count_batch(texts, threads)
            return counts
        counts = self._encoder.count_batch([stretch for cut in cuts for stretch, _ in cut], threads)
        rest = iter(counts)
        return [sum(islice(rest, len(cut))) + len(cut) - 1 for cut in cuts]

    def split(self, text: str) -> list[str]:
        """The pieces of `text`, which merges never cross; special tokens in it are ordinary text.

        Examples
        --------
        >>> BPETokenizer.train("", 256).split("Hello world's end")
        ['Hello', ' world', "'s", ' end']
        """
        cuts = self._rules(NOTHING, NOTHING).cut(text)
        if cuts is None:
            return list(self._bpe.split(text, self._pattern))
        pieces: list[str] = []
        for stretch, token in cuts:
            pieces += self._bpe.split(stretch, self._pattern)
            if token is not None:
                pieces.append(token)
        return pieces

    def _rules(self, allowed: Allowed, disallowed: Allowed) -> SpecialRules:
        """What a call does about special tokens, worked out once for all calls alike."""
        if allowed is NOTHING and disallowed == "all":  # as nearly every call has it
            return self._usual_rules
        key = (
            check_allowed(allowed, "allowed_special"),
            check_allowed(disallowed, "disallowed_special"),
        )
        rules = self._known_rules.get(key)
        if rules is None:
            if len(self._known_rules) >= MOST_RULES:
                self._known_rules.clear()
            rules = self._known_rules[key] = self._make_rules(*key)
        return rules

    @cached_property
    def _usual_rules(self) -> SpecialRules:
        return self._make_rules(NOTHING, "all")

    @cached_property
    def _known_rules(self) -> dict[tuple[Chosen, Chosen], SpecialRules]:
        return {}

    def _make_rules(self, allowed: Chosen, disallowed: Chosen) -> SpecialRules:
        may = self._special_set if allowed == "all" else self._special_set & allowed
        return SpecialRules(
            self._bpe.TokenFinder,
            self._special_set - may if disallowed == "all" else disallowed,
            self._added_set | may,
            self._normalized,
            self._pattern.normalize,
        )

    def _cut_batch(
        self, texts: list[str], allowed: Allowed, disallowed: Allowed
    ) -> list[Cuts] | None:
        """Each text cut at the tokens to take whole; None if there are none anywhere."""
        cut = self._rules(allowed, disallowed).cut
        cuts = [cut(text) for text in texts]
        if not any(cuts):
            return None
        return [each or [(text, None)] for text, each in zip(texts, cuts, strict=True)]

    def _encode_cuts(self, cuts: list[Cuts], threads: int | None) -> EncodedCuts:
        """The ids of texts that are cut at tokens: those of all stretches, the tokens' put in."""
        stretches = [stretch for cut in cuts for stretch, _ in cut]
        ids, ends = self._encoder.encode_batch_to_numpy(stretches, threads)
        tokens = [token for cut in cuts for _, token in cut]
        is_whole = np.array([token is not None for token in tokens], dtype=np.bool_)
        before = ends[1:][is_whole]
        whole = [self._id_of[token] for token in tokens if token is not None]
        # The last stretch of a text has no token behind it: a cut of n stretches has n - 1.
        last = np.cumsum([0, *map(len, cuts)])
        return EncodedCuts(
            np.insert(ids, before, np.array(whole, dtype=np.uint32)),
            ends[last] + last - np.arange(len(last)),
            before + np.arange(len(whole)),
        )

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[Ids, list[tuple[int, int]]]:
        """The ids of `text`, and where in it each token begins and ends, in characters.

        Parameters
        ----------
        text, allowed_special, disallowed_special
            As for `encode`.

        Returns
        -------
        ids : list of int
        spans : list of (int, int)
            Token i stands for ``text[start:end]``. A token that holds only a part of a character
            gets all of it, and so do the tokens that hold the other parts; likewise where
            normalization made one character of several.

        Examples
        --------
        >>> BPETokenizer.train("aa", 257).encode_with_offsets("baaé")
        ([98, 256, 195, 169], [(0, 1), (1, 3), (3, 4), (3, 4)])
        """
        ids, starts, ends, _ = self._encode_places(text, allowed_special, disallowed_special)
        lists: tuple[Ids, list[tuple[int, int]]] = self._encoder.as_lists(ids, starts, ends)
        return lists

    def _encode_places(
        self, text: str, allowed: Allowed, disallowed: Allowed
    ) -> tuple[IdArray, Places, Places, Places]:
        """The ids of `text`, where each token begins and ends, and which ids are whole tokens."""
        rules = self._rules(allowed, disallowed)
        cuts = rules.cut(text) or [(text, None)]
        ids, _, whole = self._encode_cuts([cuts], 1)
        tokens = [token for _, token in cuts[:-1] if token is not None]
        sizes, characters, inside = self._token_shapes.of(ids)
        # Not by their ids: tokens of different lengths may share one.
        sizes[whole] = [len(token.encode()) for token in tokens]
        characters[whole] = [len(token) for token in tokens]
        if is_normalized(text, self._pattern.normalization) and characters.sum() == len(text):
            # No surrogates were joined, and no byte left out that begins a character.
            return ids, *character_runs(characters, inside), whole
        stretches = [self._pattern.normalize(arguments.check_text(stretch)) for stretch, _ in cuts]
        made = "".join(chain(*zip(stretches, [*tokens, ""], strict=True)))
        if characters.sum() == len(made):
            starts, ends = character_runs(characters, inside)
        else:
            kept = map(self._kept_bytes, stretches, [*tokens, ""])
            starts, ends = character_runs_of_kept(made, sizes, np.concatenate(list(kept)))
        return ids, *self._align(text, rules).places(starts, ends), whole

    def _kept_bytes(self, stretch: str, token: str) -> np.typing.NDArray[np.bool_]:
        """Which bytes of a stretch and the token behind it are in tokens, where some are left out.

        Left out are all that the vocabulary lacks, but for pieces that are tokens.
        """
        kept: list[bool] = []
        for piece in map(str.encode, self._bpe.split(stretch, self._pattern)):
            found = self._encoder.encode_piece(piece)
            whole = sum(len(self._token_of[number]) for number in found) == len(piece)
            kept += [whole or bytes([byte]) in self._ranks for byte in piece]
        return np.array(kept + [True] * len(token.encode()), dtype=np.bool_)

    @cached_property
    def _token_shapes(self) -> TokenShapes:
        return TokenShapes(self._token_of)

    def _align(self, text: str, rules: SpecialRules) -> Alignment:
        """Which characters of `text` each character that is encoded was made from."""
        form = self._pattern.normalization
        joined = arguments.check_text(text)
        surrogates = of_surrogates(text) if joined != text else Alignment([1] * len(text))
        if form is None:
            return surrogates
        before: list[int] = []
        after: list[int] = []
        for stretch, token in rules.early.cut(joined) if rules.early else [(joined, None)]:
            for lengths, found in zip((before, after), segments(stretch, form), strict=True):
                lengths += found + [1] * len(token or "")
        return Alignment.of_segments(before, after).after(surrogates)

    def truncate(
        self,
        text: str,
        max_tokens: int,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> str:
        """The longest beginning of `text` that has at most `max_tokens` ids.

        It ends between two characters, never inside a special token. A longer beginning can have
        fewer ids: it is looked for up to 256 characters behind the last token that fits.

        Parameters
        ----------
        text, allowed_special, disallowed_special
            As for `encode`.
        max_tokens : int

        Examples
        --------
        >>> BPETokenizer.train("aa", 257).truncate("aaaé", 3)
        'aaa'
        """
        most = arguments.check_integer(max_tokens, "max_tokens", 0)
        rules = self._rules(allowed_special, disallowed_special)
        rules.refuse_forbidden(text)
        longest = max(map(len, rules.whole), default=0)
        # Nearly always the first few characters for each token are enough of the text.
        size = 8 * most + 2 * LOOK_BEHIND + longest
        while size < len(text):
            beginning = arguments.check_text(text[: size + is_pair_at(text, size)])
            end = self._last_end(beginning, most, allowed_special, len(beginning) - longest)
            if end is not None:
                return beginning[:end]
            size *= 2
        text = arguments.check_text(text)
        end = self._last_end(text, most, allowed_special, len(text) + LOOK_BEHIND)
        return text[:end]

    def _last_end(self, text: str, most: int, allowed: Allowed, known: int) -> int | None:
        """Where the longest beginning of `text` with at most `most` ids ends.

        None if it takes more text to tell: what ends before the place `known` is certain.
        """
        ids, starts, ends, whole = self._encode_places(text, allowed, NOTHING)
        if len(ids) <= most:
            return len(text) if known > len(text) else None
        fits_surely = int(starts[most])
        if fits_surely + LOOK_BEHIND > known:
            return None
        tokens = self._rules(allowed, NOTHING).whole
        start = 0 if cut_is_unsafe(self._pattern, tokens) else last_cut(text[: fits_surely + 1])
        left = most - int(np.searchsorted(ends, start, side="right"))
        inside = {
            place
            for first, end in zip(starts[whole].tolist(), ends[whole].tolist(), strict=True)
            for place in range(max(first + 1, start), end)
        }
        for end in range(min(len(text), fits_surely + LOOK_BEHIND), start, -1):
            if end not in inside and self._count_allowing(text[start:end], allowed) <= left:
                return end
        return start

    def _count_allowing(self, text: str, allowed: Allowed) -> int:
        """How many ids a part of a text has that was found to hold nothing forbidden."""
        return self.count(text, allowed_special=allowed, disallowed_special=NOTHING)

    def encode_file(
        self,
        path: str | os.PathLike[str],
        out_path: str | os.PathLike[str],
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
        threads: int | None = None,
        errors: str = "strict",
        progress: Callable[[int, int], object] | None = None,
    ) -> int:
        """Encode a UTF-8 file into a file of ids, without ever holding all of either.

        Parameters
        ----------
        path : path
            Read whole only if no place is known to be safe to cut it at: see `train_from_files`.
        out_path : path
            ``.npy``, or ``.bin`` for the bare ids: 16 bits each if all ids of the vocabulary fit,
            otherwise 32, little-endian. It appears whole or not at all.
        allowed_special, disallowed_special, threads
            As for `encode_batch`.
        errors : {"strict", "replace"}
            What to do with bytes that are not UTF-8: raise, or read U+FFFD.
        progress : callable, optional
            Called as ``progress(bytes_read, bytes_in_all)`` from time to time.

        Returns
        -------
        int
            The number of ids written.

        Raises
        ------
        OSError
            If a file cannot be read or written.
        ValueError
            If `path` is not UTF-8, with the position; if `out_path` has another suffix; and as
            `encode`.
        """
        tokens = {
            *self._id_of,
            *(() if isinstance(disallowed_special, str) else disallowed_special),
        }
        count = 0
        with (
            open(path, "rb") as file,
            writing_ids(out_path, id_dtype(self.max_token_value)) as write,
        ):
            size = os.fstat(file.fileno()).st_size
            chunks = read_chunks(file, self._pattern, tokens, errors)
            while group := list(islice(chunks, CHUNKS_AT_ONCE)):
                ids, _ = self.encode_batch_to_numpy(
                    group,
                    threads=threads,
                    allowed_special=allowed_special,
                    disallowed_special=disallowed_special,
                )
                write(ids)
                count += len(ids)
                if progress is not None:
                    progress(file.tell(), size)
        return count
