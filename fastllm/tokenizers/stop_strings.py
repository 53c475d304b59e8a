"""Stop strings: text as it comes, up to the first of several strings that end it."""

from collections.abc import Iterable
from typing import Protocol


class Decoder(Protocol):
    """What takes ids as they come and returns text."""

    def push(self, ids: int | Iterable[int]) -> str:
        """The characters that one id or several ids complete."""

    def finish(self) -> str:
        """What is left."""


class StoppingDecoder:
    """A decoder that ends before the first of several strings.

    Parameters
    ----------
    decoder : Decoder
    stop : str or iterable of str
        As for `StopStrings`.

    Attributes
    ----------
    stopped : str or None
        The string that has ended the text; None as long as none has.
    """

    def __init__(self, decoder: Decoder, stop: str | Iterable[str]) -> None:
        self._decoder = decoder
        self._stop = StopStrings(stop)

    @property
    def stopped(self) -> str | None:
        return self._stop.found

    def push(self, ids: int | Iterable[int]) -> str:
        """The text that one id or several ids make certain to come before a stop string.

        Nothing once one has been found.

        Raises
        ------
        KeyError
            If an id is not in the vocabulary; then nothing is taken in.
        """
        return self._stop.push(self._decoder.push(ids))

    def finish(self) -> str:
        """What was kept back, unless a stop string was found; the decoder is then as new."""
        rest = self._stop.push(self._decoder.finish()) + self._stop.finish()
        self._stop.reset()
        return rest


class StopStrings:
    """Passes text on until one of several strings is complete; keeps back what may begin one.

    What is passed on does not depend on the pieces that the text comes in: it ends before the
    string that is complete first, before the longest one where several are at once.

    Parameters
    ----------
    stop : str or iterable of str
        None of them empty.

    Raises
    ------
    TypeError, ValueError
        If `stop` does not hold such strings.

    Examples
    --------
    >>> stop = StopStrings(["</s>", "User:"])
    >>> stop.push("4 < 5 </"), stop.push("i></s>, of course")
    ('4 < 5 ', '</i>')
    >>> stop.found
    '</s>'
    """

    def __init__(self, stop: str | Iterable[str]) -> None:
        self._searches = [_Search(text) for text in _check(stop)]
        self.reset()

    def reset(self) -> None:
        """As new: no text has come."""
        self.found: str | None = None
        self._held = ""
        for search in self._searches:
            search.matched = 0

    def push(self, text: str) -> str:
        """What of the text so far is certain to come before a stop string, and was not yet given.

        Nothing once a stop string has been found.
        """
        if self.found is not None:
            return ""
        text = self._held + text
        for place in range(len(self._held), len(text)):
            complete = [s.text for s in self._searches if s.take(text[place])]
            if complete:
                self.found = max(complete, key=len)
                self._held = ""
                return text[: place + 1 - len(self.found)]
        passed = len(text) - max((search.matched for search in self._searches), default=0)
        self._held = text[passed:]
        return text[:passed]

    def finish(self) -> str:
        """What was kept back and has not become a stop string."""
        rest, self._held = self._held, ""
        return rest


class _Search:
    """Looks for one string, a character at a time: Knuth, Morris and Pratt (1977).

    Attributes
    ----------
    matched : int
        How many characters of the string the text so far ends in.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.matched = 0
        # For each beginning of the string: its longest shorter end that is a beginning too.
        self._shorter = [0]
        length = 0
        for character in text[1:]:
            length = self._longer(length, character)
            self._shorter.append(length)

    def take(self, character: str) -> bool:
        """Go on by a character; whether the string is complete."""
        self.matched = self._longer(self.matched, character)
        return self.matched == len(self.text)

    def _longer(self, length: int, character: str) -> int:
        """The longest beginning that ends in `character`, after one of `length` characters."""
        while length and (length == len(self.text) or self.text[length] != character):
            length = self._shorter[length - 1]
        return length + (self.text[length] == character)


def _check(stop: object) -> list[str]:
    """The strings of `stop`."""
    if isinstance(stop, (bytes, bytearray)) or not isinstance(stop, Iterable):
        raise TypeError(f"stop must be a str or an iterable of str, not {type(stop).__name__}")
    found = [stop] if isinstance(stop, str) else list(stop)
    for text in found:
        if not isinstance(text, str):
            raise TypeError(f"stop holds {text!r}; every stop string must be a str")
        if not text:
            raise ValueError("stop holds an empty string, which would end every text at once")
    return found
