"""Ids in, complete characters out: what a model's output needs while it is being made."""

import codecs
from collections.abc import Callable, Collection, Iterable, Mapping


class StreamDecoder:
    """Decodes ids as they come, and keeps back the bytes of a character that is not complete yet.

    All that `push` and at last `finish` return, joined, is what decoding all ids at once gives.

    Parameters
    ----------
    decode_bytes : callable
        From ids to bytes, as `BPETokenizer.decode_bytes`.
    errors : str
        What to do with bytes that are not UTF-8, as for `bytes.decode`.
    bytes_of : mapping from int to bytes, optional
        The bytes of each id, by which single ids are decoded several times as fast.
    left_out : collection of int
        But not of these.
    texts : dict from int to str, optional
        For all decoders with the same of both: filled with tokens that are whole characters.

    Examples
    --------
    >>> from fastllm import BPETokenizer
    >>> decoder = BPETokenizer.train("", 256).stream_decoder()
    >>> [decoder.push(number) for number in "né".encode()]
    ['n', '', 'é']
    >>> decoder.finish()
    ''
    """

    def __init__(
        self,
        decode_bytes: Callable[[Iterable[int]], bytes],
        errors: str = "replace",
        bytes_of: Mapping[int, bytes] | None = None,
        left_out: Collection[int] = (),
        texts: dict[int, str] | None = None,
    ) -> None:
        self._decode_bytes = decode_bytes
        self._bytes_of = {} if bytes_of is None else bytes_of
        self._left_out = left_out
        self._texts = {} if texts is None else texts
        self._characters = codecs.getincrementaldecoder("utf-8")(errors)
        self._is_whole = True  # no character has begun

    def push(self, ids: int | Iterable[int]) -> str:
        """The characters that one id or several ids complete.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary; then nothing is taken in.
        """
        if type(ids) is int:
            if self._is_whole and (text := self._texts.get(ids)) is not None:
                return text
            if ids in self._bytes_of and ids not in self._left_out:
                return self._take(self._bytes_of[ids], ids)
        numbers = ids if isinstance(ids, Iterable) else [ids]
        return self._take(self._decode_bytes(numbers), None)

    def _take(self, data: bytes, number: int | None) -> str:
        """The characters that bytes complete; those of an id are kept if they are whole."""
        was_whole = self._is_whole
        text = self._characters.decode(data)
        self._is_whole = not self._characters.getstate()[0]
        if number is not None and was_whole and self._is_whole and text.encode() == data:
            self._texts[number] = text
        return text

    def finish(self) -> str:
        """What is left, complete or not; the decoder is then as new."""
        rest = self._characters.decode(b"", final=True)
        self._characters.reset()
        self._is_whole = True
        return rest


class TokenStreamDecoder:
    """`StreamDecoder` for tokens that are text each: nothing is ever kept back.

    Parameters
    ----------
    decode : callable
        From ids, and whether nothing came before them, to their text, and whether that still holds.
    later : mapping from int to str
        The text of each id behind others, by which single ids are decoded several times as fast.
    left_out : collection of int
        But not these.
    """

    def __init__(
        self,
        decode: Callable[[Iterable[int], bool], tuple[str, bool]],
        later: Mapping[int, str | bytes],
        left_out: Collection[int] = (),
    ) -> None:
        self._decode = decode
        self._later = later
        self._left_out = left_out
        self._is_first = True

    def push(self, ids: int | Iterable[int]) -> str:
        """The text of one id or several ids.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary; then nothing is taken in.
        """
        if type(ids) is int and not self._is_first and ids not in self._left_out:
            text = self._later.get(ids)
            if isinstance(text, str):
                return text
        numbers = ids if isinstance(ids, Iterable) else [ids]
        text, self._is_first = self._decode(numbers, self._is_first)
        return text

    def finish(self) -> str:
        """What is left: nothing; the decoder is then as new."""
        self._is_first = True
        return ""
