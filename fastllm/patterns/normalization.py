r"""Unicode normalization, in linear time whatever the text.

The interpreter puts the marks behind a character into their order by insertion: a run of 200,000,
which no language writes but anybody can send, takes it half a minute. Here such a run is put into
order first; what is in order costs the interpreter nothing.
"""

import unicodedata
from collections.abc import Iterator
from typing import Literal

# A run as long as this has a mark at one of the places that are looked at. Shorter ones cost
# less than a tenth of a millisecond.
_LONG = 512


def normalize(form: Literal["NFC"], text: str) -> str:
    r"""`text` in the normalization form.

    >>> normalize("NFC", "e\u0323\u0301") == normalize("NFC", "e\u0301\u0323")
    True
    """
    return unicodedata.normalize(form, in_order(text))


def is_normalized(form: Literal["NFC"], text: str) -> bool:
    """Whether normalization leaves `text` as it is."""
    ordered = in_order(text)
    return ordered == text and unicodedata.is_normalized(form, text)


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
