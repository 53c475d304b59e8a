"""Byte-pair tokenizers as users see them; a backend does the work."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt

from fastllm import _bpe_arguments as arguments
from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary
from fastllm.tokenizers.id_files import id_dtype, writing_ids
from fastllm.tokenizers.offsets import Alignment, Places, character_runs, of_surrogates, segments
from fastllm.tokenizers.special_tokens import Allowed, check_allowed, finder, raise_disallowed
from fastllm.tokenizers.streaming import StreamDecoder
from fastllm.tokenizers.text_files import cut_is_unsafe, last_cut, read_chunks

Ids = list[int]
NOTHING: frozenset[str] = frozenset()
CHUNKS_AT_ONCE = 8


class BPETokenizer(BPEVocabulary):
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

    Raises
    ------
    TypeError, ValueError
        For an argument of the wrong type or form; for two tokens with the same id.

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

    # Text to ids

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
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            ids: Ids = self._encoder.encode(text)
            return ids
        ids = []
        for stretch, token in self._cut(text, whole):
            ids += self._encoder.encode(stretch)
            if token is not None:
                ids.append(self._id_of[token])
        return ids

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        if self._added_set:
            return self.encode(text, disallowed_special=NOTHING)
        ids: Ids = self._encoder.encode(text)
        return ids

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> npt.NDArray[np.uint32]:
        """The ids of `text` as an array of uint32; otherwise as `encode`."""
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            array: npt.NDArray[np.uint32] = self._encoder.encode_to_numpy(text)
            return array
        return self._encode_cuts([list(self._cut(text, whole))], 1)[0]

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
        out: npt.NDArray[np.uint32] | None = None,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """All ids in one array, and where each text's begin and end.

        Parameters
        ----------
        texts, threads, allowed_special, disallowed_special
            As for `encode_batch`.
        out : array of uint32, optional
            Where the ids are written, at the front, instead of into a new array. What was behind
            them may be lost.

        Returns
        -------
        ids : array of uint32
        offsets : array of int64, one more than there are texts
            The ids of text i are ``ids[offsets[i]:offsets[i+1]]``.

        Examples
        --------
        >>> ids, offsets = BPETokenizer.train("", 256).encode_batch_to_numpy(["a", "", "bc"])
        >>> ids.tolist(), offsets.tolist()
        ([97, 98, 99], [0, 1, 1, 3])
        """
        texts = arguments.check_batch(texts, threads)
        cuts = self._cut_batch(texts, allowed_special, disallowed_special)
        if cuts is None:
            flat: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
            flat = self._encoder.encode_batch_to_numpy(texts, threads, out)
            return flat
        ids, offsets = self._encode_cuts(cuts, threads)
        if out is not None:
            room = arguments.room_for_ids(out, ids.size)
            room[:] = ids
            ids = room
        return ids, offsets

    def count(
        self,
        text: str,
        *,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> int:
        """How many ids `text` has; otherwise as `encode`."""
        whole = self._whole_tokens(text, allowed_special, disallowed_special)
        if whole is None:
            return int(self._encoder.count(text))
        return sum(
            self._encoder.count(stretch) + (token is not None)
            for stretch, token in self._cut(text, whole)
        )

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
        _, offsets = self._encode_cuts(cuts, threads)
        return [int(count) for count in np.diff(offsets)]

    def split(self, text: str) -> list[str]:
        """The pieces of `text`, which merges never cross; special tokens in it are ordinary text.

        Examples
        --------
        >>> BPETokenizer.train("", 256).split("Hello world's end")
        ['Hello', ' world', "'s", ' end']
        """
        whole = self._whole_tokens(text, NOTHING, NOTHING)
        if whole is None:
            return list(self._bpe.split(text, self._pattern))
        pieces: list[str] = []
        for stretch, token in self._cut(text, whole):
            pieces += self._bpe.split(stretch, self._pattern)
            if token is not None:
                pieces.append(token)
        return pieces

    def _whole_tokens(
        self, text: str, allowed: Allowed, disallowed: Allowed
    ) -> frozenset[str] | None:
        """The tokens to take whole in `text`; None if it holds none of them."""
        if type(text) is not str:
            text = arguments.check_text(text)
        if allowed is NOTHING and disallowed == "all":  # as nearly every call has it
            may, forbidden = NOTHING, self._special_finder
        else:
            may = check_allowed(allowed, "allowed_special", self._special_set)
            rest = self._special_set - may
            forbidden = finder(check_allowed(disallowed, "disallowed_special", rest))
        if forbidden is not None:
            found = forbidden.search(text)
            if found is not None:
                raise_disallowed(found[0])
        if not may and not self._added_set:
            return None
        whole = self._added_set | (may & self._special_set)
        find = finder(whole)
        if find is None:
            return None
        may_appear = self._pattern.normalization and self._normalized and not text.isascii()
        return whole if may_appear or find.search(text) else None

    def _cut(self, text: str, whole: frozenset[str]) -> Iterator[tuple[str, str | None]]:
        """Each stretch of `text` before a token to take whole, with that token; None at the end."""
        early, late = finder(whole - self._normalized), finder(whole & self._normalized)
        text = arguments.check_text(text)
        for stretch, token in early.cut(text) if early else [(text, None)]:
            if late is None:
                yield stretch, token
            else:
                *cuts, (last, _) = late.cut(self._pattern.normalize(stretch))
                yield from cuts
                yield last, token

    def _cut_batch(
        self, texts: list[str], allowed: Allowed, disallowed: Allowed
    ) -> list[list[tuple[str, str | None]]] | None:
        """Each text cut at the tokens to take whole; None if there are none anywhere."""
        wholes = [self._whole_tokens(text, allowed, disallowed) for text in texts]
        if not any(wholes):
            return None
        return [
            list(self._cut(text, whole)) if whole else [(text, None)]
            for text, whole in zip(texts, wholes, strict=True)
        ]

    def _encode_cuts(
        self, cuts: list[list[tuple[str, str | None]]], threads: int | None
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of texts that are cut at tokens: those of all stretches, the tokens' put in."""
        stretches = [stretch for cut in cuts for stretch, _ in cut]
        ids, ends = self._encoder.encode_batch_to_numpy(stretches, threads)
        tokens = [token for cut in cuts for _, token in cut]
        places = [end for end, token in zip(ends[1:], tokens, strict=True) if token is not None]
        special = [self._id_of[token] for token in tokens if token is not None]
        # The last stretch of a text has no token behind it: a cut of n stretches has n - 1.
        last = np.cumsum([0, *map(len, cuts)])
        offsets = ends[last] + last - np.arange(len(last))
        return np.insert(ids, places, special).astype(np.uint32), offsets.astype(np.int64)

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
        whole = self._whole_tokens(text, allowed_special, disallowed_special) or NOTHING
        alignment = self._align(text, whole)
        ids: Ids = []
        spans: list[tuple[int, int]] = []
        place = 0
        for stretch, token in self._cut(text, whole):
            stretch = self._pattern.normalize(stretch)
            found = self._encoder.encode(stretch)
            if found:
                ids += found
                starts, ends = self._character_runs(stretch, found)
                spans += alignment.spans(place + starts, place + ends)
            place += len(stretch)
            if token is not None:
                ids.append(self._id_of[token])
                spans.append(alignment.span(place, place + len(token)))
                place += len(token)
        return ids, spans

    def _align(self, text: str, whole: frozenset[str]) -> Alignment:
        """Which characters of `text` each character that is encoded was made from."""
        form = self._pattern.normalization
        joined = arguments.check_text(text)
        surrogates = of_surrogates(text) if joined != text else Alignment([1] * len(text))
        if form is None:
            return surrogates
        lengths: list[tuple[int, int]] = []
        early = finder(whole - self._normalized)
        for stretch, token in early.cut(joined) if early else [(joined, None)]:
            lengths += segments(stretch, form)
            lengths += [(1, 1)] * len(token or "")
        before, after = [length for length, _ in lengths], [length for _, length in lengths]
        return Alignment.of_segments(before, after).after(surrogates)

    def _character_runs(self, stretch: str, ids: Ids) -> tuple[Places, Places]:
        """Where each token begins and ends in a stretch of ordinary text."""
        lengths = [len(self._token_of[number]) for number in ids]
        data = stretch.encode()
        if sum(lengths) == len(data):
            return character_runs(stretch, lengths)
        # Bytes were left out: all that the vocabulary lacks, but for pieces that are tokens.
        kept: list[bool] = []
        for piece in map(str.encode, self._bpe.split(stretch, self._pattern)):
            found = self._encoder.encode_piece(piece)
            whole = sum(len(self._token_of[number]) for number in found) == len(piece)
            kept += [whole or bytes([byte]) in self._ranks for byte in piece]
        return character_runs(stretch, lengths, np.array(kept, dtype=np.bool_))

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
        text = arguments.check_text(text)
        ids, spans = self.encode_with_offsets(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )
        if len(ids) <= most:
            return text
        fits_surely = spans[most][0]
        whole = self._whole_tokens(text, allowed_special, NOTHING) or NOTHING
        start = 0 if cut_is_unsafe(self._pattern, whole) else last_cut(text[: fits_surely + 1])
        left = most - bisect_right(spans, start, key=lambda span: span[1])
        inside = {
            place
            for number, (first, end) in zip(ids, spans, strict=True)
            if number in self._whole_ids and end > start
            for place in range(first + 1, end)
        }
        for end in range(min(len(text), fits_surely + 256), start, -1):
            beginning = text[start:end]
            if end not in inside and self._count_allowing(beginning, allowed_special) <= left:
                return text[:end]
        return text[:start]

    def _count_allowing(self, text: str, allowed: Allowed) -> int:
        """How many ids a part of a text has that was found to hold nothing disallowed."""
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

    # Ids to text

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text that `ids` stand for.

        Parameters
        ----------
        ids : iterable of int
        errors : str
            What `bytes.decode` does with bytes that are not UTF-8: ids may cut a character in two.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes that `ids` stand for; a KeyError if an id is not in the vocabulary."""
        return bytes(self._encoder.decode_bytes(ids))

    def decode_batch(self, batch: Iterable[Iterable[int]], errors: str = "replace") -> list[str]:
        """The text that each sequence of ids stands for."""
        return [self.decode(ids, errors) for ids in batch]

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes that one id stands for; a KeyError if it is not in the vocabulary."""
        return self.decode_bytes([token])

    def decode_tokens_bytes(self, ids: Iterable[int]) -> list[bytes]:
        """The bytes that each id stands for.

        Examples
        --------
        >>> BPETokenizer.train("aa", 257).decode_tokens_bytes([256, 97])
        [b'aa', b'a']
        """
        try:
            return [self._token_of[number] for number in arguments.check_ids(ids)]
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None

    def decode_with_offsets(self, ids: Iterable[int]) -> tuple[str, list[int]]:
        """The text that `ids` stand for, and where in it each token begins, in characters.

        A token that begins inside a character begins where the character does.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        UnicodeDecodeError
            If the bytes are not UTF-8.

        Examples
        --------
        >>> BPETokenizer.train("aa", 257).decode_with_offsets([98, 256, 195, 169])
        ('baaé', [0, 1, 3, 3])
        """
        tokens = self.decode_tokens_bytes(ids)
        offsets = []
        length = 0
        for token in tokens:
            begun = [byte for byte in token if not 0x80 <= byte < 0xC0]
            offsets.append(length if token[0] in begun[:1] else max(0, length - 1))
            length += len(begun)
        return b"".join(tokens).decode(), offsets

    def stream_decoder(self, errors: str = "replace") -> StreamDecoder:
        """A decoder that takes ids as they come and returns complete characters.

        Examples
        --------
        >>> decoder = BPETokenizer.train("", 256).stream_decoder()
        >>> decoder.push([240, 159, 142]), decoder.push(136), decoder.finish()
        ('', '🎈', '')
        """
        return StreamDecoder(self.decode_bytes, errors)
