r"""Whether a backtracking engine may take exponential time: a repetition of what can vary.

`re` tries one way to match after the other. ``(?:a+)+b`` on "aaa" can be had in four ways, as aaa,
aa|a, a|aa and a|a|a, and before `re` gives up, for want of a "b", it tries all of them: twice as
many for each "a" more. That takes a repetition around something that can match in more than one
way, by a bar or by a repetition of its own. So such a repetition is what is looked for. Where there
is none, the time grows with a power of the text's length at worst. Where there is one, it need not
be exponential: ``(?:ab|cd)*`` can only be had in one way.
"""

import re

_TOKEN = re.compile(
    r"""
    (?P<comment> \(\?\#[^)]*\)? | \(\?[a-zA-Z]+\) )
    | (?P<quantifier> (?: (?P<sign>[*+?]) | \{(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\} )
        (?P<kind>[?+]?) )
    | (?P<open> \( (?: \?(?: P?<\w+> | [a-zA-Z-]*: | (?P<once>> | <?[=!]) | \(\w+\) ) )?
        (?! \?P= ) )
    | (?P<close> \) )
    | (?P<bar> \| )
    | (?P<character> \(\?P=\w+\) | \\. | \[\^?\]?(?:\\.|[^\]\\])*(?:\]|\Z) | . )
    """,
    re.VERBOSE | re.DOTALL,
)
FEW = 9  # times that what varies may be repeated, lest it count


def may_be_exponential(expression: str) -> bool:
    r"""Whether the time that `re` takes may grow exponentially with the length of a text.

    >>> may_be_exponential(r"(?:a+)+b"), may_be_exponential(r"(?:a|a?)+b")
    (True, True)
    >>> may_be_exponential(r"(?<=\d)(?:\d{3})*\b|\s+$"), may_be_exponential(r"(?:a++)+b")
    (False, False)
    """
    # Whether each group that is open varies, and whether it is matched once and for all.
    groups: list[tuple[bool, bool]] = []
    varies = part_varies = False  # what was read of the innermost group, and the last part of it
    for token in _TOKEN.finditer(expression):
        if token["open"]:
            groups.append((varies, bool(token["once"])))
            varies = part_varies = False
        elif token["close"] and groups:
            part_varies = varies
            varies, once = groups.pop()
            part_varies = part_varies and not once
            varies = varies or part_varies
        elif token["bar"]:
            varies = True
        elif token["quantifier"] and token["kind"] != "+":
            least, most = _bounds(token)
            if part_varies and (most is None or most > FEW):
                return True
            part_varies = part_varies or least != most
            varies = varies or part_varies
        else:
            part_varies = False
    return False


def _bounds(quantifier: re.Match[str]) -> tuple[int, int | None]:
    """How often at least and at most."""
    if quantifier["sign"]:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[quantifier["sign"]]
    least = int(quantifier["least"] or 0)
    if not quantifier["comma"]:
        return least, least
    return least, int(quantifier["most"]) if quantifier["most"] else None
