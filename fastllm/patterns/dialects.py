r"""Split patterns in the dialects of other regular expression engines.

Hugging Face's tokenizers reads patterns by Oniguruma, minbpe by the `regex` package. What is
written here in one dialect must mean the same in the other, or be refused: ``$`` is the end of a
line in Oniguruma, ``{1,3}+`` repeats there, ``\w`` follows another version of Unicode.
"""

import re

from fastllm.patterns.named import NAMED, pattern_of_steps

# All that Python and Oniguruma read alike. Case is ignored differently for letters that fold to two
# ("ss" is one sharp s in Oniguruma), so such a group may hold plain letters only.
_MEMBERS = r"""(?: \\[pP]\{\^?\w+\} | \\[sSdDrntf] | \\\W | \\x[0-9A-Fa-f]{2}
    | \\u[0-9A-Fa-f]{4} | &(?!&) | [^\\\[\]&] )+"""
_ALIKE = re.compile(
    rf"""
    (?P<class> \[ \^? {_MEMBERS} (?: && (?: \[ \^? {_MEMBERS} \] | {_MEMBERS} ) )* \] )
    """
    r"""
    | (?P<fold> \(\?i: [A-Za-z'|\[\]]* \) )
    | (?P<group> \( (?: \?: | \?= | \?! | \?<= | \?<! | \?> )? (?!\?) | \) )
    | (?P<repeat> [?*+] [?+]? | \{\d+\} (?![?+]) | \{\d+,\d*\} \?? (?!\+) )
    | (?P<escape> \\[pP]\{\^?\w+\} | \\[sSdDrntfzA] | \\\W | \\x[0-9A-Fa-f]{2}
        | \\u[0-9A-Fa-f]{4} )
    | (?P<other> [|.] | [^\\\[\](){}*+?|.^$] )
    """,
    re.VERBOSE | re.DOTALL,
)
_POSSESSIVE_INTERVAL = re.compile(r"\{\d+(?:,\d*)?\}\+")
_FOLDS_TO_ONE = ("ss", "st", "ff", "fi", "fl")


def check_alike(pattern: str) -> None:
    r"""Refuse what Python and Oniguruma read differently.

    Raises
    ------
    ValueError
        Naming the first such construct.

    Examples
    --------
    >>> check_alike(r"\p{L}+| ?[^\s\p{L}]+|\s+(?!\S)")
    >>> check_alike(r"\w+")
    Traceback (most recent call last):
    ...
    ValueError: '\\w+' at position 0 of the pattern '\\w+' is not read alike by all engines
    """
    place = 0
    while place < len(pattern):
        found = _ALIKE.match(pattern, place)
        folded = found and found["fold"] and found["fold"].lower()
        if not found or (folded and any(pair in folded for pair in _FOLDS_TO_ONE)):
            raise ValueError(
                f"{pattern[place : place + 6]!r} at position {place} of the pattern {pattern!r} "
                "is not read alike by all engines"
            )
        place = found.end()


def from_oniguruma(pattern: str) -> str:
    """A pattern of Oniguruma's as one of ours.

    Raises
    ------
    ValueError
        If it holds a construct that means something else here.
    """
    pattern = without_nested_sets(_SAME_HERE.get(pattern, pattern))
    # Known patterns were written for Rust, but their `$` stands behind all white space there is.
    if _POSSESSIVE_INTERVAL.search(pattern) or not is_named(pattern):
        check_alike(pattern)
    return pattern


# What one published file has, and another engine would read otherwise.
_SAME_HERE = {
    # Behind a digit, \b is where no word goes on; which characters words have differs.
    r"\d{1,3}(?=(?:\d{3})*\b)": NAMED["command-a"].sources[0],
    # `$` is the end of a line, too.
    r"\s+$": r"\s+(?=\n|\z)",
    # As many line ends as there are: no other follows.
    r"(?:\r?\n)+(?!\r?\n)": r"(?:\r?\n)+",
}


def without_nested_sets(pattern: str) -> str:
    r"""A pattern of Oniguruma's, or of Rust's regex, with sets in sets as one set.

    There a bracket in a set opens another, whose members belong to it as well; here, as in Python,
    it is a member itself. What is more than a union of members stays as it is.

    >>> without_nested_sets(r"[^(\s|[.,!?])]+|\[")
    '[^(\\s|.,!?)]+|\\['
    """
    parts: list[str] = []
    depth = 0
    for token in _SET_TOKEN.finditer(pattern):
        text = token[0]
        if token["open"] and depth:
            if (
                text.startswith("[^")
                or pattern.startswith("[:", token.start())
                or pattern[token.end() :].startswith("-")
                or parts[-1] == "-"
            ):
                return pattern
            parts.append(r"\]" if text.endswith("]") else "")
            depth += 1
        elif text == "]" and depth > 1:
            if parts[-1] == "-" or pattern[token.end() :].startswith("-"):
                return pattern
            depth -= 1
        else:
            depth += 1 if token["open"] else -1 if text == "]" and depth else 0
            parts.append(text)
    return pattern if depth else "".join(parts)


_SET_TOKEN = re.compile(r"\\.|(?P<open>\[\^?\]?)|.", re.DOTALL)


def is_named(pattern: str) -> bool:
    """Whether `pattern` spells one of the named split patterns, which match all text there is."""
    steps = (pattern,)
    return bool(pattern_of_steps(steps).name or pattern_of_steps(steps, "NFC").name)


def to_oniguruma(pattern: str) -> str:
    r"""One of our patterns as one of Oniguruma's.

    Raises
    ------
    ValueError
        If it holds a construct that means something else there.

    Examples
    --------
    >>> to_oniguruma(r"\s+$|[$]")
    '\\s+\\z|[$]'
    """
    changed = _with_end_as(r"\z", pattern)
    check_alike(changed)
    return changed


def to_regex_package(pattern: str) -> str:
    r"""One of our patterns as the `regex` package reads it, where ``\Z`` is the end of the text.

    Raises
    ------
    ValueError
        If it holds an intersection of sets, which `&&` does not mean there.

    Examples
    --------
    >>> to_regex_package(r"\s++\z|\s")
    '\\s++\\Z|\\s'
    """
    _refuse_intersections(pattern)
    return _with_end_as(r"\Z", pattern)


def from_regex_package(pattern: str) -> str:
    r"""A pattern of the `regex` package as one of ours; there ``$`` goes before a last newline too.

    Raises
    ------
    ValueError
        If it holds `&&` in a set, where it means two ampersands there.

    Examples
    --------
    >>> from_regex_package(r"\s++\Z|a$")
    '\\s++\\z|a(?=\\n?\\z)'
    """
    _refuse_intersections(pattern)
    if is_named(pattern):
        return pattern
    return _END.sub(lambda found: found[1] or (r"(?=\n?\z)" if found[0] == "$" else r"\z"), pattern)


def _refuse_intersections(pattern: str) -> None:
    if any("&&" in found[0] for found in _SET.finditer(pattern)):
        raise ValueError(
            f"the pattern {pattern!r} has && in a set: an intersection here, two ampersands in the "
            "regex package"
        )


_SET = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_END = re.compile(r"(\[\^?\]?(?:\\.|[^\]\\])*\]|\\[^zZ])|\$|\\[zZ]", re.DOTALL)


def _with_end_as(end: str, pattern: str) -> str:
    """The pattern with another spelling for the end of the text."""
    return _END.sub(lambda found: found[1] or end, pattern)
