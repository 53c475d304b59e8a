"""The wire format of Protocol Buffers, as far as a SentencePiece model needs it.

A message is fields, one after the other. Each begins with a number that says which field it is and
how it is written: as an integer of seven bits a byte (``VARINT``), as 4 or 8 bytes, or as a length
and so many bytes, which hold text or another message. What a number means says a schema, which is
not in the message: fields that a reader does not know are skipped.
"""

import struct
from collections.abc import Iterator

VARINT, EIGHT_BYTES, BYTES, GROUP, END_OF_GROUP, FOUR_BYTES = range(6)
MAX_DEPTH = 100

Value = int | bytes


def fields(message: bytes) -> Iterator[tuple[int, int, Value]]:
    """Each field of a message: its number, how it is written, and its value.

    >>> list(fields(b"\\x08\\x96\\x01\\x12\\x02hi"))
    [(1, 0, 150), (2, 2, b'hi')]

    Raises
    ------
    ValueError
        If it is no message.
    """
    place = 0
    while place < len(message):
        tag, place = read_varint(message, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"no field has the number {number}")
        if kind == GROUP:
            place = end_of_group(message, place, number)
            continue
        value, place = read_value(message, place, kind)
        yield number, kind, value


def read_varint(message: bytes, place: int) -> tuple[int, int]:
    """An integer written seven bits a byte, the lowest first, and where it ends.

    >>> read_varint(b"\\x96\\x01", 0)
    (150, 2)
    """
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a number is cut off")
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF, place
    raise ValueError("a number has more than ten bytes")


def read_value(message: bytes, place: int, kind: int) -> tuple[Value, int]:
    """The value of a field, and where it ends."""
    if kind == VARINT:
        return read_varint(message, place)
    if kind == BYTES:
        size, place = read_varint(message, place)
    elif kind in (FOUR_BYTES, EIGHT_BYTES):
        size = 4 if kind == FOUR_BYTES else 8
    else:
        raise ValueError(f"a field is written in way {kind}, which does not exist")
    if size > len(message) - place:
        raise ValueError(f"a field of {size} bytes is cut off")
    return message[place : place + size], place + size


def end_of_group(message: bytes, place: int, number: int) -> int:
    """Where a group ends: fields between two marks, of old; none of it is wanted."""
    open_groups = [number]
    while open_groups:
        tag, place = read_varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == END_OF_GROUP:
            if open_groups.pop() != number:
                raise ValueError("a group does not end as it began")
        elif kind == GROUP:
            open_groups.append(number)
            if len(open_groups) > MAX_DEPTH:
                raise ValueError("groups are nested too deep")
        else:
            _, place = read_value(message, place, kind)
    return place


def write_field(number: int, kind: int, value: Value) -> bytes:
    """A field as it is read by `fields`.

    >>> write_field(2, BYTES, b"hi")
    b'\\x12\\x02hi'
    """
    tag = write_varint(number << 3 | kind)
    if isinstance(value, int):
        return tag + write_varint(value)
    return tag + (write_varint(len(value)) if kind == BYTES else b"") + value


def write_varint(number: int) -> bytes:
    """An integer seven bits a byte.

    >>> write_varint(150)
    b'\\x96\\x01'
    """
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*written, number])


def float_of(value: bytes) -> float:
    """A number in single precision.

    >>> float_of(b"\\x00\\x00\\x80\\xbf")
    -1.0
    """
    number: float = struct.unpack("<f", value)[0]
    return number


def bytes_of(number: float) -> bytes:
    """A number as the four bytes of single precision."""
    return struct.pack("<f", number)
