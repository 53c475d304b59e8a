"""The part of a byte-pair tokenizer that turns ids into text."""

from collections.abc import Iterable

from fastllm.checks import tokenization as arguments
from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary
from fastllm.tokenizers.streaming import StreamDecoder


class BPEDecoding(BPEVocabulary):
    """The part of `BPETokenizer` that turns ids into text."""

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
        >>> from fastllm import BPETokenizer
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
        >>> from fastllm import BPETokenizer
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
        >>> from fastllm import BPETokenizer
        >>> decoder = BPETokenizer.train("", 256).stream_decoder()
        >>> decoder.push([240, 159, 142]), decoder.push(136), decoder.finish()
        ('', '🎈', '')
        """
        return StreamDecoder(self.decode_bytes, errors)
