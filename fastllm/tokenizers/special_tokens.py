"""The rules for when special tokens may stand in text."""

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, Literal, NoReturn

from fastllm.checks import tokenization as arguments

Allowed = Literal["all"] | Collection[str]
Cuts = list[tuple[str, str | None]]


@lru_cache(maxsize=128)
def finder(kind: Any, tokens: frozenset[str]) -> Any:
    """A `TokenFinder` of `tokens`, made once; None if there are none."""
    return kind(tokens) if tokens else None


class SpecialRules:
    """What a call does about special tokens in its text.

    Parameters
    ----------
    kind : type
        A backend's `TokenFinder`.
    forbidden : frozenset of str
        Tokens that raise an error.
    whole : frozenset of str
        Tokens that become their ids.
    late : frozenset of str
        Which of them are looked for only after all others are, and in normalized text.
    normalize : callable
        From a text to the normalized text.

    Examples
    --------
    >>> from fastllm import TokenFinder
    >>> rules = SpecialRules(TokenFinder, frozenset(), frozenset(["<s>"]), frozenset(), str)
    >>> rules.cut("a<s>b"), rules.cut("a")
    ([('a', '<s>'), ('b', None)], None)
    """

    def __init__(
        self,
        kind: Any,
        forbidden: frozenset[str],
        whole: frozenset[str],
        late: frozenset[str],
        normalize: Callable[[str], str],
    ) -> None:
        self.whole = whole
        self.early = finder(kind, whole - late)
        self._forbidden = finder(kind, forbidden)
        self._late = finder(kind, whole & late)
        self._normalize = normalize
        # Joining surrogates, or replacing them, makes no other characters than these.
        self._joins = bool(whole & late) or any(max(token) >= "\ufffd" for token in whole)

    def cut(self, text: str) -> Cuts | None:
        """Each stretch of `text` before a token to take whole, with that token; None at the end.

        Returns
        -------
        list of (str, str or None), or None
            None if there is no such token: all of the text is ordinary.

        Raises
        ------
        ValueError
            If `text` holds a forbidden token.
        """
        if self._forbidden is not None:  # as `refuse_forbidden`, without a call
            found = self._forbidden.find(text)
            if found is not None:
                raise_disallowed(found)
        if not self.whole:
            return None
        cuts = self.cut_at_tokens(arguments.check_text(text) if self._joins else text)
        return cuts if len(cuts) > 1 else None

    def refuse_forbidden(self, text: str) -> None:
        """A ValueError if `text` holds a forbidden token."""
        found = self.forbidden_in(text)
        if found is not None:
            raise_disallowed(found)

    def forbidden_in(self, text: str) -> str | None:
        """The first forbidden token in `text`; None if it holds none."""
        found: str | None = self._forbidden.find(text) if self._forbidden is not None else None
        return found

    def cut_at_tokens(self, text: str) -> Cuts:
        """The same for a text with nothing forbidden in it, and for one without tokens as well."""
        cuts: Cuts = self.early.cut(text) if self.early else [(text, None)]
        if self._late is not None:
            cuts = [each for stretch in cuts for each in self._cut_late(*stretch)]
        return cuts

    def _cut_late(self, stretch: str, token: str | None) -> Cuts:
        *cuts, (last, _) = self._late.cut(self._normalize(stretch))
        return [*cuts, (last, token)]


def check_allowed(value: Allowed, name: str) -> Literal["all"] | frozenset[str]:
    """What ``allowed_special`` or ``disallowed_special`` says, in a form that can be a key."""
    if isinstance(value, frozenset):
        return value
    if isinstance(value, str):
        if value != "all":
            raise ValueError(f'{name} must be "all" or a collection of str, not {value!r}')
        return "all"
    return frozenset(arguments.check_special_tokens(value)) if value else frozenset()


def raise_disallowed(token: str) -> NoReturn:
    """What encoding raises at a special token that text may not hold."""
    raise ValueError(
        f"the text holds {token!r}, which is a special token and not allowed. To encode it as the "
        f'special token, pass allowed_special={{{token!r}}} (or "all"); to encode it as ordinary '
        "text, pass disallowed_special=() or a collection without it."
    )
