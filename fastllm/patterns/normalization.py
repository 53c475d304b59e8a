r"""Unicode normalization by the tables of Hugging Face tokenizers, in linear time for any text.

Those are of Unicode 9: characters that came later are not taken apart there, nor put into order.
The interpreter's tables are newer, and differ from one Python to the next. So `_NEWER`, which holds
all such characters up to Unicode 15.1, cuts a text that is to be changed: nothing combines across.

The interpreter puts the marks behind a character into their order by insertion: a run of 200,000,
which no language writes but anybody can send, takes it half a minute. Here such a run is put into
order first; what is in order costs the interpreter nothing.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Literal

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

# A run as long as this has a mark at one of the places that are looked at. Shorter ones cost
# less than a tenth of a millisecond.
_LONG = 512

# Marks, or made of others, to newer tables.
_NEWER = (
    "(["
    "\u07fd\u0898-\u089f\u08ca-\u08d3\u09fe\u0c3c\u0d3b-\u0d3c\u0eba\u1715\u1abf-\u1ace"
    "\u1df6-\u1dfa\u32ff\ua7f2-\ua7f4\ua82c\uab69\U00010781-\U00010785"
    "\U00010787-\U000107b0\U000107b2-\U000107ba\U00010d24-\U00010d27\U00010eab-\U00010eac"
    "\U00010efd-\U00010eff\U00010f46-\U00010f50\U00010f82-\U00010f85\U00011070\U0001133b"
    "\U0001145e\U00011839-\U0001183a\U00011930\U00011935\U00011938\U0001193d-\U0001193e"
    "\U00011943\U000119e0\U00011a34\U00011a47\U00011a99\U00011d42\U00011d44-\U00011d45"
    "\U00011d97\U00011f41-\U00011f42\U00016ff0-\U00016ff1\U0001e030-\U0001e06d\U0001e08f"
    "\U0001e130-\U0001e136\U0001e2ae\U0001e2ec-\U0001e2ef\U0001e4ec-\U0001e4ef\U0001f16c"
    "\U0001fbf0-\U0001fbf9"
    "])"
)


def normalize(form: Form, text: str) -> str:
    r"""`text` in the normalization form.

    >>> normalize("NFC", "e\u0323\u0301") == normalize("NFC", "e\u0301\u0323")
    True
    >>> normalize("NFKC", "\u32fe\u32ff") == "\u30f2\u32ff"
    True
    """
    if unicodedata.is_normalized(form, text):  # then it is so by older tables, too
        return text
    parts = newer_apart(text)
    parts[::2] = [unicodedata.normalize(form, in_order(part)) for part in parts[::2]]
    return "".join(parts)


@cache
def _newer() -> re.Pattern[str]:
    """`_NEWER`, compiled by its first use: that takes some milliseconds, and few texts need it."""
    return re.compile(_NEWER)


def newer_apart(text: str) -> list[str]:
    """What lies between characters that Unicode 9 did not have, and these: every second one."""
    return [text] if text.isascii() else _newer().split(text)


def is_normalized(form: Form, text: str) -> bool:
    """Whether normalization leaves `text` as it is."""
    if text.isascii():
        return True
    return unicodedata.is_normalized(form, text) or normalize(form, text) == text


def in_order(text: str) -> str:
    r"""An equivalent text, the marks of long runs in the order that all forms have them in.

    >>> in_order("a" + "\u0301" * 1000 + "\u0323") == "a" + "\u0323" + "\u0301" * 1000
    True
    """
    if text.isascii():
        return text
    parts = []
    done = 0
    for start, end in _long_runs(text):
        apart = "".join(unicodedata.normalize("NFD", mark) for mark in text[start:end])
        parts += [text[done:start], *sorted(apart, key=unicodedata.combining)]
        done = end
    return "".join([*parts, text[done:]]) if parts else text


def _long_runs(text: str) -> Iterator[tuple[int, int]]:
    """Where runs of many marks begin and end."""
    is_mark = unicodedata.combining
    end = 0
    for place in range(0, len(text), _LONG):
        if place < end or not is_mark(text[place]):
            continue
        start = place
        while start > end and is_mark(text[start - 1]):
            start -= 1
        end = place + 1
        while end < len(text) and is_mark(text[end]):
            end += 1
        if end - start >= _LONG:
            yield start, end
