r"""The syntax of split patterns: an expression as a tree of what it matches.

The tree has few kinds of nodes, since much of what can be written means the same: ``\d``,
``[a-z]`` and ``(?i:k)`` are all sets of code points, ``x?`` and ``x{2,3}`` are repetitions, and the
lookaheads that split patterns use ask for one character: ``(?!\S)`` means that white space comes
next, or the end of the text. What takes more than an automaton, such as a lookbehind, has nodes of
its own.

>>> parse(r"[bc]?")
Repeat(part=Chars(runs=((98, 99),)), least=0, most=1, kind='greedy')

What has no such form raises `NoAutomatonError`, with the reason. What is written here means what it
means to `re`, but that classes follow Unicode 16, ``$`` and ``\z`` are the end of the text, and
``&&`` in a set leaves what both sides hold.
"""

import re
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from fastllm.patterns.code_points import (
    EVERYTHING,
    LAST,
    Runs,
    class_ranges,
    complement,
    intersection,
    union,
)


class NoAutomatonError(ValueError):
    """An expression that an automaton cannot serve, or not in bounds; the message is the reason."""


class Chars(NamedTuple):
    """One character of a set."""

    runs: Runs


class Look(NamedTuple):
    """No character, but a condition: the next one is in a set, or the text ends if `at_end`."""

    runs: Runs
    at_end: bool


class TextStart(NamedTuple):
    """No character, but a condition: nothing comes before."""


class Sequence(NamedTuple):
    """One part after the other."""

    parts: "tuple[Node, ...]"


class Choice(NamedTuple):
    """One of several branches, the first that leads to a match."""

    branches: "tuple[Node, ...]"


class Repeat(NamedTuple):
    """A part again and again: "greedy", "lazy", or "possessive", which gives nothing back."""

    part: "Node"
    least: int
    most: int | None
    kind: str


class Around(NamedTuple):
    """No character, but a condition: what comes next matches a part, or what came before does."""

    inside: "Node"
    ahead: bool
    negated: bool


class Once(NamedTuple):
    """A part that gives nothing back: the first way in which it matches is the only one."""

    inside: "Node"


class Foreign(NamedTuple):
    """What only the standard `re` runs, with what it is made of and why that is so."""

    inside: "Node"
    reason: str


Node = Chars | Look | TextStart | Sequence | Choice | Repeat | Around | Once | Foreign

MAX_DEPTH = 100  # how deep groups may lie in each other
MAX_FOLDED = 200  # how many sets may ignore case

_NOTHING = Sequence(())
_END = Look((), at_end=True)
_ESCAPES = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_QUANTIFIER = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})([+?]?)")
_GROUP = re.compile(r"\(\?(?:P<\w+>|([a-zA-Z]*)(?:-([a-zA-Z]+))?:|(>|[=!]|<[=!]|\(\w+\)))")
_COMMENTS = re.compile(r"(?:\(\?#[^)]*\))*")
_COMMENTS_AND_BLANKS = re.compile(r"(?:\(\?#[^)]*\)|[ \t\n\r\v\f]|#[^\n]*)*")  # where (?x) is on
_REFERENCE = re.compile(r"\(\?P=\w+\)|\\[1-9][0-9]?(?![0-9])")
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")
_OCTAL = re.compile(r"\\(0[0-7]{0,2}|[0-3][0-7]{2})")
_OCTAL_IN_SET = re.compile(r"\\([0-3]?[0-7]{1,2})")
_CODE_POINT = re.compile(
    r"\\(?:[xu]\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))"
)
_CLASS = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|()([A-Za-z]))")


def parse(pattern: str, folds: bool = True) -> Node:
    """The tree of an expression that the standard `re` takes.

    Without `folds` it is as it is written: sets that ignore case, repetitions of nothing.

    Raises
    ------
    NoAutomatonError
        If something in it has no tree.
    """
    parser = _Parser(pattern, folds)
    if found := re.match(r"\(\?([a-zA-Z]+)\)", pattern):
        parser.set_flags(found[1], "")
        parser.at = found.end()
    tree = parser.choice(0)
    if parser.at < len(pattern):
        raise NoAutomatonError(f"{pattern[parser.at]!r} closes nothing")
    return Foreign(tree, parser.foreign_flag) if parser.foreign_flag else tree


class BracketedSet(NamedTuple):
    """A set in brackets as it is written: all but `runs`, if it is negated."""

    runs: Runs
    negated: bool


def parse_set(pattern: str, at: int) -> tuple[BracketedSet, int]:
    """The set in brackets that begins at `at`, whatever its case, and where it ends.

    >>> parse_set("a[^b-d]", 1)
    (BracketedSet(runs=((98, 100),), negated=True), 7)
    """
    parser = _Parser(pattern, folds=False)
    parser.at = at
    return parser.bracketed_set(), parser.at


class _Parser:
    """Reads an expression from `at` on."""

    def __init__(self, pattern: str, folds: bool) -> None:
        self.pattern = pattern
        self.folds = folds
        self.at = 0
        self.ignore_case = False
        self.dot_is_all = False
        self.skips_blanks = False
        self.foreign_flag = ""  # why only `re` reads a flag there was
        self.folded_sets = 0

    # --- Branches, parts and repetitions

    def choice(self, depth: int) -> Node:
        """Branches, up to the end of the expression or of a group."""
        if depth > MAX_DEPTH:
            raise NoAutomatonError(f"groups lie more than {MAX_DEPTH} deep")
        branches = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.sequence(depth))
        if len(branches) == 1:
            return branches[0]
        if all(isinstance(branch, Chars) for branch in branches):
            return Chars(union(*(branch.runs for branch in branches if isinstance(branch, Chars))))
        return Choice(tuple(branches))

    def sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            part = self.repeated(self.part(depth))
            if not (
                self.folds and _is_nothing(part)
            ):  # else (?:){9999} would be written as often as it says
                parts.append(part)
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def repeated(self, part: Node) -> Node:
        """A part with the quantifiers that follow it."""
        self.skip()
        found = _QUANTIFIER.match(self.pattern, self.at)
        if not found or not (found[1] or found[2] or found[3]):  # "{}" is no quantifier
            return part
        self.at = found.end()
        if found[1]:
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[found[1]]
        else:
            least = int(found[2] or 0)
            most = (int(found[4]) if found[4] else None) if found[3] else least
        if most == 0 or (self.folds and _is_nothing(part)):
            return _NOTHING
        kind = {"": "greedy", "?": "lazy", "+": "possessive"}[found[5]]
        if kind == "possessive" and not isinstance(part, Chars):
            return Once(Repeat(part, least, most, "greedy"))
        return Repeat(part, least, most, kind)

    def part(self, depth: int) -> Node:
        """A character, a set, a group or a condition."""
        sign = self.peek()
        if sign == "(":
            return self.group(depth)
        if sign == "[":
            found = self.bracketed_set()
            runs = self.folded(found.runs)
            return Chars(complement(runs) if found.negated else runs)
        if sign == "\\":
            return self.escape()
        self.at += 1
        if sign == ".":
            return Chars(EVERYTHING if self.dot_is_all else complement(((10, 10),)))
        if sign == "$":
            return _END
        if sign == "^":
            return TextStart()
        return Chars(self.folded(_one(ord(sign))))

    # --- Groups

    def group(self, depth: int) -> Node:
        if reference := _REFERENCE.match(self.pattern, self.at):
            self.at = reference.end()
            return Foreign(_NOTHING, "it asks for what a group has matched")
        found = _GROUP.match(self.pattern, self.at)
        flags = self.ignore_case, self.dot_is_all, self.skips_blanks
        if found is None:
            if self.pattern.startswith("(?", self.at):
                raise NoAutomatonError(f"{self.pattern[self.at : self.at + 4]!r} is not read")
            self.at += 1
        else:
            self.at = found.end()
            self.set_flags(found[1] or "", found[2] or "")
        inside = self.choice(depth + 1)
        if self.peek() != ")":
            raise NoAutomatonError("a group is not closed")
        self.at += 1
        self.ignore_case, self.dot_is_all, self.skips_blanks = flags
        kind = found[3] if found else None
        if kind is None:
            return inside
        if kind == ">":
            return _atomic(inside)
        if kind in ("=", "!"):
            return _look(inside, negated=kind == "!")
        if kind in ("<=", "<!"):
            return Around(inside, ahead=False, negated=kind == "<!")
        return Foreign(inside, "it asks whether a group has matched")

    def set_flags(self, on: str, off: str) -> None:
        for flags, value in ((on, True), (off, False)):
            if unknown := set(flags) - {"i", "s", "u", "x"}:
                self.foreign_flag = f"the flag {min(unknown)!r} is not read"
            if "x" in flags:
                self.skips_blanks = value
            if "i" in flags:
                self.ignore_case = value
            if "s" in flags:
                self.dot_is_all = value

    # --- Characters and sets

    def skip(self) -> None:
        """Go on to what means something."""
        skipped = _COMMENTS_AND_BLANKS if self.skips_blanks else _COMMENTS
        if found := skipped.match(self.pattern, self.at):
            self.at = found.end()

    def peek(self) -> str:
        """The next sign, outside of sets, or "" at the end."""
        self.skip()
        return self.pattern[self.at : self.at + 1]

    def escape(self) -> Node:
        sign = self.pattern[self.at + 1]
        if sign in "zZ":
            self.at += 2
            return _END
        if sign == "A":
            self.at += 2
            return TextStart()
        if sign in "bB":
            self.at += 2
            return _edge_of_word(sign == "B")
        if octal := _OCTAL.match(self.pattern, self.at):
            self.at = octal.end()
            return Chars(_one(int(octal[1], 8)))
        if reference := _REFERENCE.match(self.pattern, self.at):
            self.at = reference.end()
            return Foreign(_NOTHING, "it asks for what a group has matched")
        return Chars(self.folded(self.escaped_set()))

    def escaped_set(self) -> Runs:
        """The code points that a backslash and what follows it stand for."""
        if found := _CLASS.match(self.pattern, self.at):
            self.at = found.end()
            runs = class_ranges(found[3] or found[5])
            return complement(runs) if (found[1] == "P") != (found[2] == "^") else runs
        if found := _CODE_POINT.match(self.pattern, self.at):
            self.at = found.end()
            return _one(int(next(filter(None, found.groups())), 16))
        sign = self.pattern[self.at + 1]
        self.at += 2
        if sign.lower() in _PERL:
            runs = _PERL[sign.lower()]()
            return complement(runs) if sign.isupper() else runs
        if sign in _ESCAPES:
            return _one(ord(_ESCAPES[sign]))
        if sign.isalnum() and sign.isascii():
            raise NoAutomatonError(f"\\{sign} is not read")
        return _one(ord(sign))

    def bracketed_set(self) -> BracketedSet:
        """A set in brackets: members, ranges, and `&&` between such."""
        self.at += 1
        negated = self.pattern.startswith("^", self.at)
        self.at += negated
        runs = self.members(first=True)
        intersects = self.pattern.startswith("&&", self.at)
        while self.pattern.startswith("&&", self.at):
            self.at += 2
            runs = intersection(runs, self.members(first=False))
        self.at += 1
        if intersects and negated:
            return BracketedSet(complement(runs), negated=False)
        return BracketedSet(runs, negated)

    def members(self, first: bool) -> Runs:
        """All up to the bracket that closes, or to `&&`; behind that, brackets hold a set."""
        found: list[Runs] = []
        nested = not first
        while first or not self.pattern.startswith(("]", "&&"), self.at):
            if self.at >= len(self.pattern):
                raise NoAutomatonError("a set is not closed")
            if posix := _POSIX.match(self.pattern, self.at):
                raise NoAutomatonError(
                    f"{posix[0]} inside a class is not understood; use \\p{{..}} and ranges"
                )
            if nested and self.pattern[self.at] == "[":
                inner = self.bracketed_set()
                found.append(complement(inner.runs) if inner.negated else inner.runs)
            else:
                found.append(self.member_or_range())
            first = False
        return found[0] if len(found) == 1 else union(*found)

    def member_or_range(self) -> Runs:
        low = self.member()
        if not self.pattern.startswith("-", self.at) or self.pattern.startswith("-]", self.at):
            return low
        self.at += 1
        high = self.member()
        if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1]:
            raise NoAutomatonError("a range goes from a class or to one")
        if low > high:
            raise NoAutomatonError("bad character range, from the later to the earlier")
        return ((low[0][0], high[0][0]),)

    def member(self) -> Runs:
        if self.pattern[self.at] == "\\":
            if self.pattern.startswith("\\b", self.at):
                self.at += 2
                return _one(8)
            if octal := _OCTAL_IN_SET.match(self.pattern, self.at):
                self.at = octal.end()
                return _one(int(octal[1], 8))
            return self.escaped_set()
        self.at += 1
        return _one(ord(self.pattern[self.at - 1]))

    def folded(self, runs: Runs) -> Runs:
        if not (self.ignore_case and self.folds):
            return runs
        self.folded_sets += sum(last - first for first, last in runs) > 0
        if self.folded_sets > MAX_FOLDED:
            raise NoAutomatonError(f"more than {MAX_FOLDED} of its sets ignore case")
        return _without_case(runs)


def _one(code_point: int) -> Runs:
    return ((code_point, code_point),)


def _is_nothing(part: Node) -> bool:
    return isinstance(part, Sequence) and not part.parts


def _atomic(inside: Node) -> Node:
    """An atomic group; what matches one character, however often, is a possessive repetition."""
    if isinstance(inside, Chars):
        return inside
    if isinstance(inside, Repeat) and isinstance(inside.part, Chars) and inside.kind == "greedy":
        return inside._replace(kind="possessive")
    return Once(inside)


def _look(inside: Node, negated: bool) -> Node:
    """A lookahead; most are of one character, or of the end of the text."""
    runs: list[Runs] = []
    at_end = False
    for branch in inside.branches if isinstance(inside, Choice) else (inside,):
        if isinstance(branch, Chars):
            runs.append(branch.runs)
        elif branch == _END:
            at_end = True
        else:
            return Around(inside, ahead=True, negated=negated)
    found = union(*runs)
    return Look(complement(found), not at_end) if negated else Look(found, at_end)


def _edge_of_word(negated: bool) -> Node:
    """Where a character of a word stands on one side alone; negated, on both or on none."""
    words = _words()
    behind = [Around(Chars(words), ahead=False, negated=is_none) for is_none in (False, True)]
    ahead = [Look(words, at_end=False), Look(complement(words), at_end=True)]
    if not negated:
        ahead.reverse()
    return Choice(tuple(map(Sequence, zip(behind, ahead, strict=True))))


def matching(expression: str, candidates: str) -> Runs:
    """The code points among `candidates`, in order, that the standard `re` lets a set match."""
    return union(*([(ord(c), ord(c))] for c in re.findall(expression, candidates)))


@cache
def _words() -> Runs:
    r"""What ``\w`` is to this Python's `re`: not pinned, as it is not there."""
    text = "".join(map(chr, range(LAST + 1)))
    return tuple((match.start(), match.end() - 1) for match in re.finditer(r"\w+", text))


# What a letter behind a backslash names; in capitals, all else.
_PERL: dict[str, Callable[[], Runs]] = {
    "s": lambda: class_ranges("White_Space"),
    "d": lambda: class_ranges("Nd"),
    "w": _words,
}


@lru_cache(maxsize=256)
def _without_case(runs: Runs) -> Runs:
    """The set as (?i: ) widens it, by asking `re`: U+017F is an s to it, and U+212A a k."""
    body = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in runs)
    return union(runs, matching(f"(?i:[{body}])", _cased())) if runs else runs


@cache
def _cased() -> str:
    """The characters that have a case, and those few that fold without one."""
    sets = [class_ranges(name) for name in ("Lu", "Ll", "Lt")]
    runs = union(*sets, ((0x345, 0x345), (0x2160, 0x2188), (0x24B6, 0x24E9)))
    return "".join(chr(c) for first, last in runs for c in range(first, last + 1))
