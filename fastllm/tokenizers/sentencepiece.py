"""SentencePiece's own models, as users see them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from fastllm.api.normalizers import SentencePieceNormalizer
from fastllm.checks import tokenization as arguments
from fastllm.corpus.atomic_write import replacing
from fastllm.formats import sentencepiece as files
from fastllm.patterns.named import WHOLE_TEXT
from fastllm.tokenizers.decoders import LaterTexts, PieceStream
from fastllm.tokenizers.model_tokenizer import ModelTokenizer, check_errors
from fastllm.tokenizers.token_texts import TokenTexts, are_plain

BLANK = "▁"


class SentencePieceTokenizer(ModelTokenizer):
    """The tokenizer of a SentencePiece model, of any of its four kinds, by SentencePiece's rules.

    Control tokens, such as ``<s>``, are special tokens here. In SentencePiece they are ordinary
    text, as with `encode_ordinary`.

    Parameters
    ----------
    data : bytes
        The content of a .model file.

    Raises
    ------
    ValueError
        If it is none.
    """

    def __init__(self, data: bytes) -> None:
        self._file = files.parse(data)
        spec = self._file.normalizer
        self._set_up(
            files.pieces_of(self._file),
            pattern=WHOLE_TEXT,
            normalizer=SentencePieceNormalizer(
                spec.charsmap,
                spec.add_dummy_prefix,
                spec.remove_extra_whitespaces,
                spec.escape_whitespaces,
                self._file.treat_whitespace_as_suffix,
                [p.text for p in self._file.pieces if p.kind == files.USER_DEFINED],
            ),
            added_tokens={
                piece.text: number
                for number, piece in enumerate(self._file.pieces)
                if piece.kind == files.CONTROL
            },
            template=None,
        )

    def _settings(self) -> dict[str, Any]:
        return {"data": self._file.source}

    @property
    def algorithm(self) -> str:
        """How pieces are found: "unigram", "bpe", "words" or "characters"."""
        return files.ALGORITHMS[self._file.model_type]

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a .model file, as it was read.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If the name asks for another format.
        """
        path = Path(path)
        if path.suffix != ".model":
            raise ValueError(f"{path}: a SentencePiece model is saved as .model")
        with replacing(path, "wb") as file:
            file.write(self._file.source)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the tokenizer of a .model file.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is no such file, or asks for what is not supported; the message says so.
        """
        from fastllm.formats import files as formats
        from fastllm.formats import text

        with text.naming(path):
            return cls(**formats.read_settings(path, "SentencePiece"))

    # Ids to text

    def decode(
        self, ids: Iterable[int], errors: str = "replace", *, skip_special_tokens: bool = False
    ) -> str:
        """The text that `ids` stand for; control tokens stand for nothing.

        Parameters
        ----------
        ids : iterable of int
        errors : {"replace"}
            Bytes that are no characters are U+FFFD each.
        skip_special_tokens : bool
            Control tokens, the special ones, are left out either way; ids that no token has are so,
            too, with this.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary.
        ValueError
            If `errors` asks for something else.
        """
        check_errors(errors)
        if are_plain(ids):
            text = self._texts.join(self._without_control_at_ends(ids))
            if text is not None:
                return text
        return self._text_of(self._tokens_kept(ids, skip_special_tokens))

    @cached_property
    def _texts(self) -> TokenTexts:
        """The tokens by look-up, but for control tokens, which keep bytes apart."""
        shown: dict[int, str | bytes] = {}
        for number, token in self._token_with.items():
            kind = self._kind_of.get(token, files.NORMAL)
            if kind == files.BYTE:
                shown[number] = bytes([int(token[3:5], 16)])
            elif kind == files.UNKNOWN and self._file.unk_surface:
                shown[number] = self._file.unk_surface.encode()
            elif kind not in (files.CONTROL, files.UNKNOWN) and token:
                shown[number] = token.replace(BLANK, " ").encode()
        return TokenTexts(shown, self._begin)

    def _begin(self, ids: list[int]) -> tuple[int, bytes]:
        """What stands before the first token that does not consist of blanks, and that itself."""
        later, token_with = self._texts.later, self._token_with
        count = 0
        while count < len(ids) and not later[ids[count]].strip():
            count += 1
        is_byte = count < len(ids) and self._kind_of.get(token_with[ids[count]]) == files.BYTE
        count += count < len(ids) and not is_byte
        return count, self._text_of([token_with[number] for number in ids[:count]]).encode()

    def _without_control_at_ends(self, ids: list[int]) -> list[int]:
        first, last, control = 0, len(ids), self._special_ids
        while first < last and ids[first] in control:
            first += 1
        while last > first and ids[last - 1] in control:
            last -= 1
        return ids[first:last]

    def _tokens_kept(self, ids: Iterable[int], skip_unknown: bool) -> list[str]:
        if skip_unknown:
            ids = arguments.without_unknown(ids, self._token_with)
        return self.tokens_of(ids)

    def _stream(self, skip_special_tokens: bool) -> PieceStream:
        return PieceStream(
            self._text_of,
            partial(self._tokens_kept, skip_unknown=skip_special_tokens),
            self._later,
        )

    @cached_property
    def _later(self) -> LaterTexts:
        token_with, kind_of = self._token_with, self._kind_of
        return {
            number: (token_with[number], text.decode())
            for number, text in self._texts.later.items()
            if isinstance(text, bytes) and kind_of.get(token_with[number]) != files.BYTE
        }

    def _text_of(self, tokens: Sequence[str]) -> str:
        spec = self._file.normalizer
        drops_blanks = spec.add_dummy_prefix or spec.remove_extra_whitespaces
        text, waiting, begins, dropped = "", bytearray(), True, False
        for token in tokens:
            kind = self._kind_of.get(token, files.NORMAL)
            if kind == files.BYTE:
                waiting.append(int(token[3:5], 16))
                continue
            text += characters_of(waiting)
            waiting.clear()
            begins = begins and not dropped and not text
            dropped = False
            if kind == files.CONTROL:
                continue
            if kind == files.UNKNOWN:
                text += self._file.unk_surface
                continue
            if begins and drops_blanks and token.startswith(BLANK):
                token = token.removeprefix(BLANK)
                dropped = not spec.remove_extra_whitespaces
            text += token.replace(BLANK, " ")
        return text + characters_of(waiting)

    @cached_property
    def _kind_of(self) -> dict[str, int]:
        return {piece.text: piece.kind for piece in self._file.pieces}


def characters_of(data: bytes | bytearray) -> str:
    """Bytes as characters, and U+FFFD for each that is part of none.

    >>> characters_of("ä".encode() + bytes([0xE2, 0x82])) == "ä" + 2 * chr(0xFFFD)
    True
    """
    text = ""
    start = 0
    while start < len(data):
        for end in range(min(start + 4, len(data)), start, -1):
            try:
                text += bytes(data[start:end]).decode()
            except UnicodeDecodeError:
                continue
            start = end
            break
        else:
            text += "\ufffd"
            start += 1
    return text
