"""Special tokens that share an id, which tiktoken allows and one published vocabulary has."""

from fastllm.tokenizers.bpe import BPETokenizer


class SharedIdsTokenizer(BPETokenizer):
    """A `BPETokenizer` in which several special tokens may have the same id.

    Each of them is encoded as the id; decoding gives the last one.

    Examples
    --------
    >>> tokens = {"<old>": 300, "<new>": 300}
    >>> tokenizer = SharedIdsTokenizer({b"a": 0}, pattern="gpt2", special_tokens=tokens)
    >>> tokenizer.encode("<old>a<new>", allowed_special="all")
    [300, 0, 300]
    >>> tokenizer.decode([300, 0, 300])
    '<new>a<new>'
    """

    def _check_collisions(self) -> None:
        token_of = {number: token for token, number in self._ranks.items()}
        for text, number in self._id_of.items():
            token = text.encode()
            if token_of.get(number, token) != token:
                raise ValueError(
                    f"id {number} belongs to both {token_of[number]!r} and {token!r}, which is a "
                    "special token"
                )
