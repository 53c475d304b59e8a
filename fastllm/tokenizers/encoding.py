"""What tokenizers of subwords share: the ways to encode, whatever the model and the file.

A class has its own encoder, special tokens and way back to text; all that encodes is here, once.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from fastllm import _backend
from fastllm.api.threads import get_num_threads
from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments
from fastllm.checks.tokenization import IdArray
from fastllm.corpus.id_files import id_dtype, writing_ids
from fastllm.corpus.text_files import read_chunks
from fastllm.patterns.named import SplitPattern
from fastllm.tokenizers.base import Tokenizer
from fastllm.tokenizers.special_token_encoder import SpecialTokenEncoder
from fastllm.tokenizers.special_tokens import (
    NOTHING,
    Allowed,
    PartsAndTokens,
    SpecialTokenPolicies,
    SpecialTokenPolicy,
)
from fastllm.tokenizers.template import Template

if TYPE_CHECKING:
    from fastllm.tokenizers.lengths import Padding, Truncation
    from fastllm.tokenizers.model_inputs import EncodedTexts, ModelInputs
    from fastllm.tokenizers.stop_strings import Decoder
    from fastllm.tokenizers.token_locator import LocatedTokens, Locator

Ids = list[int]
NO_TEMPLATE = Template()
CHUNKS_AT_ONCE = 8


class SubwordTokenizer(Tokenizer):
    """Text to ids by a backend's encoder, with special tokens where a call allows them."""

    _bpe: ClassVar[Any] = _backend.bpe
    _policies: SpecialTokenPolicies
    _template = NO_TEMPLATE  # nothing is put around texts
    _truncation: Truncation | None = None
    _padding: Padding | None = None

    # What each class has of its own

    @property
    @abstractmethod
    def _encoder(self) -> Any:
        """The backend's encoder, for text without tokens to take whole."""

    @property
    @abstractmethod
    def _locator(self) -> Locator:
        """What finds the places of tokens."""

    @property
    @abstractmethod
    def _id_of(self) -> Mapping[str, int]:
        """The ids of the tokens that are taken whole."""

    @property
    @abstractmethod
    def _added_set(self) -> frozenset[str]:
        """The tokens that are taken whole in every call."""

    @property
    @abstractmethod
    def _max_id(self) -> int:
        """The highest id; -1 where there is none."""

    @property
    @abstractmethod
    def split_pattern(self) -> SplitPattern:
        """The split pattern with all its steps."""

    @property
    def pattern_to_cut_by(self) -> SplitPattern:
        """The pattern that says where a text may be cut; one without a name: nowhere."""
        return self.split_pattern

    @property
    def default_threads(self) -> int:
        """On how many threads a batch is encoded at most, if the call does not say."""
        return get_num_threads()

    @abstractmethod
    def decode(
        self, ids: Iterable[int], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> str:
        """The text that `ids` stand for."""

    @property
    @abstractmethod
    def special_tokens(self) -> dict[str, int]:
        """The id of each special token, as a dict of its own."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """The pre-tokens of `text`; special tokens are ordinary text."""

    @abstractmethod
    def stream_decoder(
        self,
        errors: str = "replace",
        *,
        skip_special_tokens: bool = False,
        stop: str | Iterable[str] | None = None,
    ) -> Decoder:
        """A decoder that takes ids as they come and returns text."""

    # Special tokens

    def _policy(self, allowed: Allowed, disallowed: Allowed) -> SpecialTokenPolicy:
        """What a call does about special tokens."""
        if allowed is NOTHING and disallowed == "all":  # as nearly every call has it
            return self._usual_policy
        return self._policies.of(allowed, disallowed)

    @cached_property
    def _usual_policy(self) -> SpecialTokenPolicy:
        return self._policies.of(NOTHING, "all")

    @cached_property
    def _special_token_encoder(self) -> SpecialTokenEncoder:
        """What encodes texts that are cut at tokens to take whole."""
        return SpecialTokenEncoder(self._encoder, self._id_of)

    def _cut_encoder(self, policy: SpecialTokenPolicy) -> SpecialTokenEncoder:
        """What encodes texts that this policy has cut."""
        return self._special_token_encoder

    @cached_property
    def _encode_plain(self) -> Callable[[str], Ids]:
        """What encodes a text in which special tokens are ordinary: mostly the encoder itself."""
        if self._added_set:
            return partial(self.encode, disallowed_special=NOTHING)
        encode: Callable[[str], Ids] = self._encoder.encode
        return encode

    # The vocabulary

    @property
    def template(self) -> Template:
        """What a call with ``add_special_tokens=True`` puts around texts: often nothing."""
        return self._template

    @property
    def truncation(self) -> Truncation | None:
        """How the file wants texts cut off: `model_inputs` does it, `encode` does not."""
        return self._truncation

    @property
    def padding(self) -> Padding | None:
        """How the file wants batches filled up: `model_inputs` does it, `encode` does not."""
        return self._padding

    @property
    def tokens_taken_whole(self) -> frozenset[str]:
        """The tokens that are found in a text before it is split, where a call allows them."""
        return frozenset(self._id_of)

    @cached_property
    def max_token_value(self) -> int:
        """The highest id; -1 where there is none."""
        return self._max_id

    @property
    def n_vocab(self) -> int:
        """The highest id and one: the rows an embedding needs."""
        return self.max_token_value + 1

    # Text to ids

    def encode(
        self,
        text: str,
        *,
        pair: str | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> Ids:
        """The ids of `text`.

        Parameters
        ----------
        text : str
            Lone surrogates become U+FFFD, pairs of them the character they stand for.
        pair : str, optional
            A second text, whose ids follow.
        add_special_tokens : bool
            Whether the special tokens of the template are put around: see `template`.
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
        if add_special_tokens or pair is not None:
            encode = partial(
                self.encode, allowed_special=allowed_special, disallowed_special=disallowed_special
            )
            around = self._around_texts(add_special_tokens)
            return around.apply(encode(text), None if pair is None else encode(pair))
        policy = self._policy(allowed_special, disallowed_special)
        if (
            policy.finder is not None
            and (found := self._encode_between(text, policy, True)) is not None
        ):
            ids: Ids = found
            return ids
        cuts = policy.cut(text)
        if cuts is None:
            ids = self._encoder.encode(text)
            return ids
        return self._cut_encoder(policy).encode(cuts)

    def _encode_between(self, text: object, policy: SpecialTokenPolicy, as_list: bool) -> Any:
        """What is encoded in one go around tokens to take whole; None where that cannot be."""
        if type(text) is not str or not getattr(self._encoder, "_encodes_between", False):
            return None
        policy.refuse_forbidden(text)
        return self._encoder._encode_between(text, policy.finder, self._id_of, as_list)

    def _around_texts(self, add_special_tokens: bool) -> Template:
        """What a call puts around texts."""
        return self._template if add_special_tokens else self._texts_alone

    @cached_property
    def _texts_alone(self) -> Template:
        return self._template.texts_alone()

    def encode_ordinary(self, text: str) -> Ids:
        """The ids of `text`, special tokens in it being ordinary text."""
        return self._encode_plain(text)

    def encode_to_numpy(
        self,
        text: str,
        *,
        dtype: np.typing.DTypeLike | None = None,
        pair: str | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> IdArray:
        """The ids of `text` as an array.

        Parameters
        ----------
        text, pair, add_special_tokens, allowed_special, disallowed_special
            As for `encode`.
        dtype : {uint32, uint16, int32, int64}, optional
            uint32 unless given; uint16 only where all ids of the vocabulary fit.

        Raises
        ------
        TypeError, ValueError
            As `encode`; for another dtype, or one that not all ids fit.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("", 256).encode_to_numpy("ab", dtype=np.uint16)
        array([97, 98], dtype=uint16)
        """
        if dtype is not None:
            dtype = arguments.check_id_dtype(dtype, self.max_token_value)
        if add_special_tokens or pair is not None:
            encode = partial(
                self.encode_to_numpy,
                dtype=dtype,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            around = self._around_texts(add_special_tokens)
            ids = around.parts(encode(text), None if pair is None else encode(pair))
            joined: IdArray = np.concatenate(ids, dtype=dtype or np.uint32, casting="unsafe")
            return joined
        policy = self._policy(allowed_special, disallowed_special)
        if (
            policy.finder is not None
            and (found := self._encode_between(text, policy, False)) is not None
        ):
            array: IdArray = found if dtype is None else found.astype(dtype, copy=False)
            return array
        cuts = policy.cut(text)
        if cuts is None:
            array = self._encoder.encode_to_numpy(text, dtype)
            return array
        encoded = self._cut_encoder(policy).encode_to_numpy([cuts], 1)
        return encoded.ids.astype(dtype or np.uint32, copy=False)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        pairs: Iterable[str] | None = None,
        threads: int | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> list[Ids]:
        """The ids of each text.

        Parameters
        ----------
        texts : iterable of str
        pairs : iterable of str, optional
            A second text for each, as `pair` of `encode`.
        threads : int, optional
            How many threads may work at once.
        add_special_tokens, allowed_special, disallowed_special
            As for `encode`.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("", 256).encode_batch(["a", "", "bc"])
        [[97], [], [98, 99]]
        """
        texts = arguments.check_batch(texts, threads)
        if add_special_tokens or pairs is not None:
            encode = partial(
                self.encode_batch,
                threads=threads,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            put = self._around_texts(add_special_tokens).apply
            return _each_around(put, encode, texts, pairs)
        policy = self._policy(allowed_special, disallowed_special)
        cuts = _cut_batch(texts, policy)
        batch: list[Ids]
        if cuts is None:
            batch = self._encoder.encode_batch(texts, threads)
        else:
            batch = self._cut_encoder(policy).encode_batch(cuts, threads)
        return batch

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        pairs: Iterable[str] | None = None,
        threads: int | None = None,
        out: IdArray | None = None,
        dtype: np.typing.DTypeLike | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[IdArray, np.typing.NDArray[np.int64]]:
        """All ids in one array, and where each text's begin and end.

        Parameters
        ----------
        texts, pairs, threads, add_special_tokens, allowed_special, disallowed_special
            As for `encode_batch`.
        out : array of uint32, uint16, int32 or int64, optional
            Where the ids are written, at the front, instead of into a new array. What was behind
            them may be lost.
        dtype : {uint32, uint16, int32, int64}, optional
            That of `out`, or else uint32, unless given; uint16 only where all ids of the
            vocabulary fit.

        Returns
        -------
        ids : array of that type
        offsets : array of int64, one more than there are texts
            The ids of text i are ``ids[offsets[i]:offsets[i+1]]``.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> ids, offsets = BPETokenizer.train("", 256).encode_batch_to_numpy(["a", "", "bc"])
        >>> ids.tolist(), offsets.tolist()
        ([97, 98, 99], [0, 1, 1, 3])
        """
        texts = arguments.check_batch(texts, threads)
        if out is not None or dtype is not None:
            dtype = arguments.check_id_dtype(dtype, self.max_token_value, out)
        if add_special_tokens or pairs is not None:
            encode = partial(
                self.encode_batch_to_numpy,
                threads=threads,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            around = self._around_texts(add_special_tokens)
            seconds = check_pairs(texts, pairs)
            made, ends = around.apply_to_batch(
                encode(texts), None if seconds is None else encode(seconds)
            )
            ids = arguments.room_for_ids(out, made.size, dtype)
            ids[:] = made
            return ids, ends
        policy = self._policy(allowed_special, disallowed_special)
        cuts = _cut_batch(texts, policy)
        if cuts is None:
            flat: tuple[IdArray, np.typing.NDArray[np.int64]]
            flat = self._encoder.encode_batch_to_numpy(texts, threads, out, dtype)
            return flat
        encoded = self._cut_encoder(policy).encode_to_numpy(cuts, threads)
        ids = arguments.room_for_ids(out, encoded.ids.size, dtype)
        ids[:] = encoded.ids
        return ids, encoded.offsets

    def model_inputs(
        self,
        texts: Iterable[str],
        *,
        pairs: Iterable[str] | None = None,
        truncation: Truncation | bool = True,
        padding: Padding | bool = True,
        overflowing: bool = False,
        offsets: bool = False,
        add_special_tokens: bool = True,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
        threads: int | None = None,
    ) -> ModelInputs:
        """The texts as a model takes them: rows of one length, and where in them tokens are.

        Parameters
        ----------
        texts, pairs, threads, allowed_special, disallowed_special
            As for `encode_batch`.
        truncation : Truncation or bool
            How texts that are too long are cut off: True as the tokenizer's file says, if it does;
            False not at all.
        padding : Padding or bool
            How rows are filled up, likewise. Without one, all rows must have as many ids.
        overflowing : bool
            Whether what was cut off follows, in rows of its own: see `Truncation.stride`.
        offsets : bool
            Whether to say where tokens stand in their texts, as `encode_with_offsets` does.
        add_special_tokens : bool
            Whether the special tokens of the template are put around: see `template`.

        Returns
        -------
        ModelInputs
            A named tuple of arrays of int64: `ids`, `type_ids`, `attention_mask`,
            `special_tokens_mask`, `text_numbers` and, if asked for, `offsets`.

        Raises
        ------
        TypeError, ValueError
            As `encode_batch`; if rows are not of one length in the end, or cannot be cut off as
            asked: the message says what is in the way.

        Examples
        --------
        >>> from fastllm import BPETokenizer, Padding, Truncation
        >>> tokenizer = BPETokenizer.train("", 256)
        >>> made = tokenizer.model_inputs(
        ...     ["abcd", "e"], truncation=Truncation(3), padding=Padding(0)
        ... )
        >>> made.ids.tolist(), made.attention_mask.tolist()
        ([[97, 98, 99], [101, 0, 0]], [[1, 1, 1], [1, 0, 0]])
        """
        from fastllm.tokenizers.lengths import Padding, Truncation
        from fastllm.tokenizers.model_inputs import model_inputs

        batch = arguments.check_batch(texts, threads)
        seconds = check_pairs(batch, pairs)
        encode = partial(
            self._encoded_texts,
            offsets=offsets,
            threads=threads,
            allowed_special=allowed_special,
            disallowed_special=disallowed_special,
        )
        return model_inputs(
            [encode(each) for each in (batch, seconds) if each is not None],
            self._around_texts(add_special_tokens),
            _chosen(truncation, self._truncation, "truncation", Truncation),
            _chosen(padding, self._padding, "padding", Padding),
            overflowing,
        )

    def _encoded_texts(
        self,
        texts: list[str],
        *,
        offsets: bool,
        threads: int | None,
        allowed_special: Allowed,
        disallowed_special: Allowed,
    ) -> EncodedTexts:
        from fastllm.tokenizers.model_inputs import EncodedTexts

        if not offsets:
            ids, ends = self.encode_batch_to_numpy(
                texts,
                threads=threads,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            return EncodedTexts(ids, ends)
        policy = self._policy(allowed_special, disallowed_special)
        located = [self._located(text, policy) for text in texts]
        return EncodedTexts(
            np.concatenate([np.empty(0, np.uint32), *(each.ids for each in located)]),
            np.cumsum([0, *(len(each.ids) for each in located)]),
            np.concatenate(
                [
                    np.empty((0, 2), np.int64),
                    *(np.stack([each.starts, each.ends], axis=1) for each in located),
                ]
            ),
        )

    def count(
        self,
        text: str,
        *,
        pair: str | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> int:
        """How many ids `text` has; otherwise as `encode`."""
        if add_special_tokens or pair is not None:
            count = partial(
                self.count, allowed_special=allowed_special, disallowed_special=disallowed_special
            )
            around = self._around_texts(add_special_tokens)
            return around.count(count(text), None if pair is None else count(pair))
        policy = self._policy(allowed_special, disallowed_special)
        cuts = policy.cut(text)
        if cuts is None:
            return int(self._encoder.count(text))
        return self._cut_encoder(policy).count(cuts)

    def count_batch(
        self,
        texts: Iterable[str],
        *,
        pairs: Iterable[str] | None = None,
        threads: int | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> list[int]:
        """How many ids each text has; otherwise as `encode_batch`.

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("", 256).count_batch(["a", "", "bc"])
        [1, 0, 2]
        """
        texts = arguments.check_batch(texts, threads)
        if add_special_tokens or pairs is not None:
            count = partial(
                self.count_batch,
                threads=threads,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            put = self._around_texts(add_special_tokens).count
            return _each_around(put, count, texts, pairs)
        policy = self._policy(allowed_special, disallowed_special)
        cuts = _cut_batch(texts, policy)
        if cuts is None:
            counts: list[int] = self._encoder.count_batch(texts, threads)
            return counts
        return self._cut_encoder(policy).count_batch(cuts, threads)

    def encode_with_offsets(
        self,
        text: str,
        *,
        pair: str | None = None,
        add_special_tokens: bool = False,
        allowed_special: Allowed = NOTHING,
        disallowed_special: Allowed = "all",
    ) -> tuple[Ids, list[tuple[int, int]]]:
        """The ids of `text`, and where in it each token begins and ends, in characters.

        Parameters
        ----------
        text, pair, add_special_tokens, allowed_special, disallowed_special
            As for `encode`.

        Returns
        -------
        ids : list of int
        spans : list of (int, int)
            Token i stands for ``text[start:end]``. A token that holds only a part of a character
            gets all of it, and so do the tokens that hold the other parts; likewise where
            normalization made one character of several. Those of `pair` are places in it; special
            tokens that were put around stand at (0, 0).

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("aa", 257).encode_with_offsets("baaé")
        ([98, 256, 195, 169], [(0, 1), (1, 3), (3, 4), (3, 4)])
        """
        if add_special_tokens or pair is not None:
            locate = partial(
                self.encode_with_offsets,
                allowed_special=allowed_special,
                disallowed_special=disallowed_special,
            )
            around = self._around_texts(add_special_tokens)
            ids, spans = locate(text)
            others = (None, None) if pair is None else locate(pair)
            return around.apply(ids, others[0]), around.apply_spans(spans, others[1])
        policy = self._policy(allowed_special, disallowed_special)
        lists: tuple[Ids, list[tuple[int, int]]]
        if (found := self._locate_between(text, policy)) is not None:
            lists = found
            return lists
        located = self._located(text, policy)
        lists = self._encoder.as_lists(located.ids, located.starts, located.ends)
        return lists

    def _locate_between(self, text: object, policy: SpecialTokenPolicy) -> Any:
        """The same in one go around tokens to take whole; None where that cannot be."""
        if type(text) is not str or not getattr(self._encoder, "_locates_between", False):
            return None
        if policy.finder is None and policy.cut(text) is not None:  # tokens with rules
            return None
        policy.refuse_forbidden(text)
        return self._encoder._locate_between(text, policy.finder, self._id_of)

    def _located(self, text: str, policy: SpecialTokenPolicy) -> LocatedTokens:
        """The tokens of `text`, where they stand for those who ask."""
        return self._locator.locate(text, policy)

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
        fewer ids: it is looked for up to 256 characters behind the last token that fits, but not
        behind thousands of characters without a place that is known to be a pre-token's start.

        Parameters
        ----------
        text, allowed_special, disallowed_special
            As for `encode`.
        max_tokens : int

        Examples
        --------
        >>> from fastllm import BPETokenizer
        >>> BPETokenizer.train("aa", 257).truncate("aaaé", 3)
        'aaa'
        """
        from fastllm.tokenizers.truncation import Truncation

        limit = arguments.check_integer(max_tokens, "max_tokens", 0)
        self._policy(allowed_special, disallowed_special).refuse_forbidden(text)

        policy = self._policy(allowed_special, NOTHING)

        def count(part: str) -> int:
            cuts = policy.cut(part)
            if cuts is None:
                return int(self._encoder.count(part))
            return self._cut_encoder(policy).count(cuts)

        return Truncation(limit, self.pattern_to_cut_by, policy, self._locator, count).truncate(
            text
        )

    def encode_file(
        self,
        path: str | os.PathLike[str],
        out_path: str | os.PathLike[str],
        *,
        add_special_tokens: bool = False,
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
        add_special_tokens : bool
            Whether the special tokens of the template are put around the whole file.
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
        before, after = self._template.around() if add_special_tokens else ((), ())
        count = len(before) + len(after)
        with (
            open(path, "rb") as file,
            writing_ids(out_path, id_dtype(self.max_token_value)) as write,
        ):
            size = os.fstat(file.fileno()).st_size
            write(np.array(before, dtype=np.uint32))
            chunks = read_chunks(file, self.pattern_to_cut_by, tokens, errors)
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
            write(np.array(after, dtype=np.uint32))
        return count

    # Ids to text

    def decode_batch(
        self,
        batch: Iterable[Iterable[int]],
        errors: str = "replace",
        *,
        skip_special_tokens: bool = False,
    ) -> list[str]:
        """The text that each sequence of ids stands for; otherwise as `decode`."""
        return [self.decode(ids, errors, skip_special_tokens=skip_special_tokens) for ids in batch]


T = TypeVar("T")


def _chosen(given: T | bool, own: T | None, name: str, kind: type[T]) -> T | None:
    """What a call asks for: its own, the tokenizer's, or nothing."""
    if isinstance(given, bool):
        return own if given else None
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__} or a bool, not {type(given).__name__}")
    return given


def check_pairs(texts: list[str], pairs: Iterable[str] | None) -> list[str] | None:
    """The second texts, as many as there are first ones."""
    if pairs is None:
        return None
    seconds = arguments.check_batch(pairs, None)
    if len(seconds) != len(texts):
        raise ValueError(f"pairs has {len(seconds)} texts, and texts {len(texts)}: each needs one")
    return seconds


def _each_around(
    put: Callable[[Any, Any], Any],
    make: Callable[[list[str]], list[Any]],
    texts: list[str],
    pairs: Iterable[str] | None,
) -> list[Any]:
    """What `make` gives for each text and its second one, with what `put` puts around both."""
    seconds = check_pairs(texts, pairs)
    behind = [None] * len(texts) if seconds is None else make(seconds)
    return [*map(put, make(texts), behind)]


def _cut_batch(texts: list[str], policy: SpecialTokenPolicy) -> list[PartsAndTokens] | None:
    """Each text cut at the tokens to take whole; None if there are none anywhere."""
    cuts = [policy.cut(text) for text in texts]
    if not any(cuts):
        return None
    return [each or policy.uncut(text) for text, each in zip(texts, cuts, strict=True)]
