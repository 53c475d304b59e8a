"""How tokens and numbers are written: the same in text, in HTML and in figures."""

import math
import unicodedata

BLANKS = {" ": "·", "\n": "↵", "\r": "␍", "\t": "→"}
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_JOINERS = "\u200d\ufe0e\ufe0f"  # they belong to the emoji before them, which should stay whole


def visible(text: str, blanks: bool = True) -> str:
    r"""Text with its white space made visible and whatever has no shape of its own as an escape.

    Text may hold anything: sequences that repaint a terminal, or marks that turn its direction.
    Without `blanks` they stay blank.

    >>> visible(" a\n\x1b[0m"), visible("\u202eabc"), visible("\u200d")
    ('·a↵\\x1b[0m', '\\u202eabc', '\\u200d')
    >>> visible("a b\n", blanks=False)
    'a b↵'
    """
    kept = _JOINERS if len(text) > 1 else ""
    if not blanks:
        kept += " "
    return "".join(c if c in kept else visible_character(c) for c in text)


def visible_character(character: str) -> str:
    """One character as `visible` writes it."""
    if character in BLANKS:
        return BLANKS[character]
    if unicodedata.category(character) in _HIDDEN or (character.isspace() and character != " "):
        return character.encode("unicode_escape").decode()
    return character


def text_of(data: bytes) -> str:
    r"""The bytes of a token as text, with those that are only a part of a character as escapes.

    >>> text_of(b" to"), text_of("é".encode()[:1])
    (' to', '\\xc3')
    """
    return data.decode(errors="backslashreplace")


def readable(data: bytes) -> str:
    r"""The bytes of a token as text that leaves nothing unseen, as `visible` writes it.

    >>> readable(b" to"), readable("é".encode()[:1])
    ('·to', '\\xc3')
    """
    return visible(text_of(data))


def hexadecimal(data: bytes) -> str:
    """Bytes as they are written in tables of characters.

    >>> hexadecimal("é".encode())
    'C3 A9'
    """
    return data.hex(" ").upper()


def decimal(number: float) -> str:
    """A number to four decimals.

    >>> decimal(1.4754), decimal(-1e-9), decimal(float("-inf"))
    ('1.4754', '0.0000', '-inf')
    """
    if not math.isfinite(number):
        return str(float(number))
    text = f"{number:.4f}"
    return "0.0000" if text == "-0.0000" else text


def given(number: float) -> str:
    """A number as it was given: with two decimals if that is all of it, or else with four.

    >>> given(0.1), given(-0.0), given(0.12345)
    ('0.10', '0.00', '0.1235')
    """
    # Adding 0 makes 0 of minus 0.
    return f"{number + 0.0:.2f}" if round(number, 2) == number else decimal(number)


def counted(number: int, noun: str) -> str:
    """A number of things, in words.

    >>> counted(1, "token"), counted(1200, "token")
    ('1 token', '1,200 tokens')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def seconds(time: float) -> str:
    """A time in a unit that suits it.

    >>> seconds(2.5), seconds(0.0123), seconds(4.5e-6)
    ('2.50 s', '12.3 ms', '4.5 µs')
    """
    if time >= 1:
        return f"{time:.2f} s"
    if time >= 1e-3:
        return f"{time * 1e3:.3g} ms"
    return f"{time * 1e6:.3g} µs"


def times(ratio: float) -> str:
    """A ratio, to two digits or to the unit.

    >>> times(0.523), times(7.77), times(1234.5)
    ('0.52x', '7.8x', '1,234x')
    """
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"
