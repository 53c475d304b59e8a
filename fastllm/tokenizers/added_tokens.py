"""Tokens that are taken whole, by the rules of Hugging Face's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from fastllm.checks import tokenization as arguments
from fastllm.patterns.code_points import Characters, class_ranges
from fastllm.tokenizers.special_tokens import (
    Choice,
    PartsAndTokens,
    SpecialTokenPolicies,
    SpecialTokenPolicy,
    finder,
)


class AddedToken(NamedTuple):
    """A token that is taken whole wherever it stands in a text, and how it is looked for.

    Attributes
    ----------
    id : int
    special : bool
        Whether a call has to allow it, and decoding may leave it out.
    lstrip, rstrip : bool
        Whether the white space before it, or behind it, goes with it.
    single_word : bool
        Whether it counts only where no word character stands next to it.
    normalized : bool
        Whether it is looked for in normalized text, itself normalized, after all those that are
        not.
    """

    id: int
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


class FoundToken(NamedTuple):
    """A token, and the text that goes with it."""

    start: int
    end: int
    token: str


def find_tokens(
    text: str, tokens: Any, name_of: Mapping[str, str], rules: Mapping[str, AddedToken]
) -> list[FoundToken]:
    """The tokens in `text`, from left to right.

    Parameters
    ----------
    text : str
    tokens : TokenFinder or None
    name_of : mapping from str to str
        The token that is meant by what is found.
    rules : mapping from str to AddedToken

    Examples
    --------
    >>> from fastllm import TokenFinder
    >>> rules = {"<m>": AddedToken(9, lstrip=True)}
    >>> find_tokens("a <m> b", TokenFinder(rules), {"<m>": "<m>"}, rules)
    [FoundToken(start=1, end=5, token='<m>')]
    """
    found: list[FoundToken] = []
    place = done = 0
    for part, text_found in tokens.cut(text) if tokens is not None else ():
        if text_found is None:
            break
        start = place + len(part)
        end = place = start + len(text_found)
        token = name_of[text_found]
        rule = rules[token]
        if rule.single_word and (is_word(text[start - 1 : start]) or is_word(text[end : end + 1])):
            continue  # no shorter token is looked for here
        if rule.lstrip:
            while start > done and is_space(text[start - 1]):
                start -= 1
            start = max(start, done)
        while rule.rstrip and end < len(text) and is_space(text[end]):
            end += 1
        if start < end:  # else it is white space that went with the token before
            found.append(FoundToken(start, end, token))
            done = end
    return found


def is_space(character: str) -> bool:
    """Whether a character is white space to Unicode."""
    return character.isspace() and not "\x1c" <= character <= "\x1f"


def is_word(character: str) -> bool:
    r"""Whether a character, or nothing, is a word character of Rust's regular expressions.

    >>> is_word("é"), is_word("_"), is_word("-"), is_word("")
    (True, True, False, False)
    """
    if character.isascii():
        return character.isalnum() or character == "_"
    return any(ord(character) in characters for characters in _word_characters())


@lru_cache(maxsize=1)
def _word_characters() -> list[Characters]:
    from fastllm.patterns.bert_characters import OTHER_WORD_CHARACTERS

    classes = [class_ranges(name) for name in ("L", "M", "Nd")]
    edges = [tuple(edge for run in runs for edge in run) for runs in classes]
    return [Characters(each) for each in (*edges, OTHER_WORD_CHARACTERS)]


class AddedTokenPolicy(SpecialTokenPolicy):
    """`SpecialTokenPolicy` with the rules of each token.

    Parameters
    ----------
    kind, forbidden, whole, normalize
        As for `SpecialTokenPolicy`.
    rules : mapping from str to AddedToken
        Of all tokens.
    """

    def __init__(
        self,
        kind: Any,
        forbidden: frozenset[str],
        whole: frozenset[str],
        normalize: Callable[[str], str],
        rules: Mapping[str, AddedToken],
    ) -> None:
        late = frozenset(token for token in whole if rules[token].normalized)
        super().__init__(kind, forbidden, whole, late, normalize)
        self._rules = rules
        self._early_names = {token: token for token in whole - late}
        self._late_names = {normalize(token): token for token in sorted(late)}
        self._late = finder(kind, frozenset(self._late_names) - {""})
        if any(rules[token][2:] != AddedToken(0)[2:] for token in whole):
            self.finder = None

    @property
    def is_late(self) -> bool:
        """Whether tokens are looked for in normalized text: then all parts are normalized."""
        return self._late is not None

    def early_tokens(self, text: str) -> list[FoundToken]:
        """The tokens that are found in the text as it is."""
        return find_tokens(text, self.early, self._early_names, self._rules)

    def late_tokens(self, normalized: str) -> list[FoundToken]:
        """The tokens that are found in a normalized part of it."""
        return find_tokens(normalized, self._late, self._late_names, self._rules)

    def uncut(self, text: str) -> PartsAndTokens:
        return [(self._normalize(arguments.check_text(text)) if self.is_late else text, None)]

    def cut_at_tokens(self, text: str) -> PartsAndTokens:
        cuts: PartsAndTokens = []
        for part, token in parts_between(text, self.early_tokens(text)):
            if self.is_late:
                normalized = self._normalize(part)
                inner = parts_between(normalized, self.late_tokens(normalized))
                cuts += [*inner[:-1], (inner[-1][0], token)]
            else:
                cuts.append((part, token))
        return cuts


class AddedTokenPolicies(SpecialTokenPolicies):
    """`SpecialTokenPolicies` of tokens with rules."""

    def __init__(self, kind: Any, tokens: Mapping[str, AddedToken], normalize: Any) -> None:
        special = frozenset(text for text, token in tokens.items() if token.special)
        super().__init__(kind, special, frozenset(tokens) - special, frozenset(), normalize)
        self._tokens = tokens

    def _make(self, allowed: Choice, disallowed: Choice) -> AddedTokenPolicy:
        may_stand = self._special if allowed == "all" else self._special & allowed
        return AddedTokenPolicy(
            self._kind,
            self._special - may_stand if disallowed == "all" else disallowed,
            self._added | may_stand,
            self._normalize,
            self._tokens,
        )


def parts_between(text: str, found: list[FoundToken]) -> PartsAndTokens:
    """Each part of `text` before a token, with that token; None after the last part.

    >>> parts_between("a<m>b", [FoundToken(1, 4, "<m>")])
    [('a', '<m>'), ('b', None)]
    """
    cuts: PartsAndTokens = []
    done = 0
    for start, end, token in found:
        cuts.append((text[done:start], token))
        done = end
    return [*cuts, (text[done:], None)]


def check_added_tokens(tokens: object) -> dict[str, AddedToken]:
    """Added tokens by their text; an int is an id, of a special token."""
    if not isinstance(tokens, Mapping):
        raise TypeError(
            f"added_tokens must be a mapping from str to AddedToken, not {type(tokens).__name__}"
        )
    checked = {}
    for text, found in tokens.items():
        if not isinstance(text, str):
            raise TypeError(f"added_tokens holds {text!r}; every token must be a str")
        if not text or arguments.check_text(text) != text:
            raise ValueError(f"added_tokens holds {text!r}, which no text can hold")
        token = found if isinstance(found, AddedToken) else AddedToken(found, special=True)
        arguments.check_id(token.id, f"the id of {text!r}")
        checked[text] = token
    return checked
