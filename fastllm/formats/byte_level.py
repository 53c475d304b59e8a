"""Bytes written as printable characters, as in GPT-2's and Hugging Face's vocabulary files.

A byte that is printable in Latin-1 is that character; the other 68, the space first of all, are the
characters from U+0100 on: the token " the" is written "Ġthe".
"""

from collections.abc import Collection, Mapping

from fastllm.corpus.byte_order import BYTE_CHARACTERS

# What stands for no byte becomes, or stays, a character beyond Latin-1.
_BYTE_OF = dict.fromkeys(range(256), 0xFFFF) | {
    ord(character): byte for byte, character in BYTE_CHARACTERS.items()
}


def to_characters(token: bytes) -> str:
    """The characters that stand for the bytes of a token.

    >>> to_characters(b" the")
    'Ġthe'
    """
    return token.decode("latin-1").translate(BYTE_CHARACTERS)


def to_bytes(characters: str) -> bytes | None:
    """The bytes that characters stand for; None if one of them stands for no byte.

    >>> to_bytes("Ġthe"), to_bytes(" the")
    (b' the', None)
    """
    try:
        return characters.translate(_BYTE_OF).encode("latin-1")
    except UnicodeEncodeError:
        return None


def byte_level_ranks(vocab: Mapping[str, int], others: Collection[str]) -> dict[bytes, int]:
    """The ids of byte-level tokens by their bytes; tokens among `others` need not be byte-level.

    >>> byte_level_ranks({"Ġa": 0, "<|…|>": 1}, {"<|…|>"})
    {b' a': 0}
    """
    if not set(map(type, vocab.values())) <= {int}:
        name = next(name for name, number in vocab.items() if type(number) is not int)
        raise ValueError(f"the id of {name!r} must be an int, not {vocab[name]!r}")
    ranks: dict[bytes, int] = {}
    for characters, number in vocab.items():
        token = to_bytes(characters)
        if token is not None:
            ranks[token] = number
        elif characters not in others:
            raise ValueError(
                f"vocab holds {characters!r}, which is neither written in byte-level characters "
                "nor an added token: this is not byte-level BPE"
            )
    return ranks
