"""When special tokens may stand in text, and where a text is cut at those that do."""

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, Literal, NoReturn

from fastllm.checks import tokenization as arguments

Allowed = Literal["all"] | Collection[str]
Choice = Literal["all"] | frozenset[str]
PartsAndTokens = list[tuple[str, str | None]]

NOTHING: frozenset[str] = frozenset()
MAX_POLICIES = 64
WAYS_ON = "To encode it as the special token, pass "  # from here on the command line says its own


@lru_cache(maxsize=128)
def finder(kind: Any, tokens: frozenset[str]) -> Any:
    """A `TokenFinder` of `tokens`, made once; None if there are none."""
    return kind(tokens) if tokens else None


class SpecialTokenPolicy:
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
    >>> nothing = frozenset()
    >>> policy = SpecialTokenPolicy(TokenFinder, nothing, frozenset(["<s>"]), nothing, str)
    >>> policy.cut("a<s>b"), policy.cut("a")
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
        # What finds all tokens to take whole, if it needs no help.
        self.finder = self.early if not self._joins else None

    def cut(self, text: str) -> PartsAndTokens | None:
        """Each part of `text` before a token to take whole, with that token; None at the end.

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

    def uncut(self, text: str) -> PartsAndTokens:
        """A text without tokens to take whole, among others that are cut."""
        return [(text, None)]

    def refuse_forbidden(self, text: str) -> None:
        """A ValueError if `text` holds a forbidden token."""
        found = self.forbidden_in(text)
        if found is not None:
            raise_disallowed(found)

    def forbidden_in(self, text: str) -> str | None:
        """The first forbidden token in `text`; None if it holds none."""
        found: str | None = self._forbidden.find(text) if self._forbidden is not None else None
        return found

    def cut_at_tokens(self, text: str) -> PartsAndTokens:
        """The same for a text with nothing forbidden in it, and for one without tokens as well."""
        cuts: PartsAndTokens = self.early.cut(text) if self.early else [(text, None)]
        if self._late is not None:
            cuts = [cut for part, token in cuts for cut in self._cut_late(part, token)]
        return cuts

    def _cut_late(self, part: str, token: str | None) -> PartsAndTokens:
        *cuts, (last, _) = self._late.cut(self._normalize(part))
        return [*cuts, (last, token)]


class SpecialTokenPolicies:
    """The policies of one tokenizer, each made once for all calls alike.

    Parameters
    ----------
    kind : type
        A backend's `TokenFinder`.
    special, added : frozenset of str
        The special tokens, and the tokens that are taken whole in every call.
    late, normalize
        As for `SpecialTokenPolicy`.
    """

    def __init__(
        self,
        kind: Any,
        special: frozenset[str],
        added: frozenset[str],
        late: frozenset[str],
        normalize: Callable[[str], str],
    ) -> None:
        self._kind = kind
        self._special = special
        self._added = added
        self._late = late
        self._normalize = normalize
        self._made: dict[tuple[Choice, Choice], SpecialTokenPolicy] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, allowed: Allowed, disallowed: Allowed) -> SpecialTokenPolicy:
        """The policy of a call with these `allowed_special` and `disallowed_special`."""
        key = (
            check_allowed(allowed, "allowed_special"),
            check_allowed(disallowed, "disallowed_special"),
        )
        policy = self._made.get(key)
        if policy is None:
            if len(self._made) >= MAX_POLICIES:
                self._made.clear()
            policy = self._made[key] = self._make(*key)
        return policy

    def _make(self, allowed: Choice, disallowed: Choice) -> SpecialTokenPolicy:
        may_stand = self._special if allowed == "all" else self._special & allowed
        return SpecialTokenPolicy(
            self._kind,
            self._special - may_stand if disallowed == "all" else disallowed,
            self._added | may_stand,
            self._late,
            self._normalize,
        )


def check_allowed(value: Allowed, name: str) -> Choice:
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
        f"the text holds {token!r}, which is a special token and not allowed. {WAYS_ON}"
        f'allowed_special={{{token!r}}} (or "all"); to encode it as ordinary text, pass '
        "disallowed_special=() or a collection without it."
    )
