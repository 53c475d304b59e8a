"""How the 256 bytes are numbered: by value, or as Hugging Face does."""

# Hugging Face numbers the 256 bytes by the characters ByteLevel shows them as: first the bytes that
# are printable in Latin-1, then the others.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
BYTE_LEVEL_ORDER = bytes(_PRINTABLE + [b for b in range(256) if b not in set(_PRINTABLE)])

# Those characters: a printable byte is itself, the others are U+0100 and on.
BYTE_CHARACTERS = {
    byte: chr(byte) if place < len(_PRINTABLE) else chr(0x100 + place - len(_PRINTABLE))
    for place, byte in enumerate(BYTE_LEVEL_ORDER)
}


def byte_order(tie_break: str) -> bytes:
    """The 256 bytes in the order of the ids that `tie_break` gives them."""
    return BYTE_LEVEL_ORDER if tie_break == "huggingface" else bytes(range(256))
