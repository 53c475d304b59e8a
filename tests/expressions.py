"""Expressions made by chance: what people write, what nobody would, and what is meant to hurt."""

import random
from functools import partial

CHARACTERS = [
    *["a", "b", "k", "s", "S", " ", "1", "'", r"\n", r"\s", r"\S", r"\d", r"\D", r"\w", r"\W", "."],
    *["[ab]", "[^a]", r"[^\S\n]", r"[a-c1]", "[a-z&&[^k]]", r"[\p{L}&&\p{Lu}]", r"[^\s\S]", "[]b]"],
    *[r"\p{L}", r"\p{N}", r"\p{Lu}", r"\P{L}", r"\p{^L}", r"\x61", r"\u00e9", r"\x{6b}", "(?s:.)"],
    *["[ -~]", r"[\s\S]", r"[\]\-b]", "[b-]", r"[\p{M}é]", "é", r"\."],
]
QUANTIFIERS = ["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{,2}", "{2,}", "{0}", "*?", "+?", "??"]
QUANTIFIERS += ["{1,2}?", "{2,}?"]
POSSESSIVE = ["*+", "++", "?+", "{1,2}+", "{2}+"]
CONDITIONS = [r"(?!\S)", "(?=a)", "(?![ab])", "(?=b|$)", r"(?!\s|\z)", "$", "^", r"\z", r"\A"]
# What no automaton is made for.
FOREIGN = ["(?=ab)", "(?!a+b)", "(?<=a)", r"(?<!\s)", r"\b", r"\B", "(?>a|ab)", "(?:ab)*+"]
FOREIGN += ["(?:(a)|b)(?(1)b|a)", "(?>a+b?)", "(?:a?b)++", "(?m:^a)"]
FOREIGN += ["(?x: a b )", r"(a|b)\1"]


def made_expression(rng, depth=3, foreign=0.0):
    """An expression; `foreign` is how often it holds what no automaton is made for."""
    branches = rng.choices([1, 2, 3], [3, 2, 1])[0]
    return "|".join(_sequence(rng, depth, foreign) for _ in range(branches))


def _sequence(rng, depth, foreign):
    parts = rng.choices([0, 1, 2, 3], [1, 9, 6, 3])[0]
    return "".join(_part(rng, depth, foreign) for _ in range(parts))


def _part(rng, depth, foreign):
    if rng.random() < foreign:
        return rng.choice(FOREIGN)
    kind = rng.random()
    if depth == 0 or kind < 0.35:
        return rng.choice(CHARACTERS)
    inside = partial(made_expression, rng, depth - 1, foreign)
    if kind < 0.5:
        return f"(?:{inside()})"
    if kind < 0.6:
        return rng.choice(CHARACTERS) + rng.choice(QUANTIFIERS)
    if kind < 0.82:
        return f"(?:{inside()}){rng.choice(QUANTIFIERS)}"
    if kind < 0.88:
        return rng.choice(CHARACTERS) + rng.choice(POSSESSIVE)
    if kind < 0.9:
        return f"(?>{rng.choice(CHARACTERS)}{rng.choice(['', '+', '*', '{1,3}'])})"
    if kind < 0.95:
        return rng.choice(CONDITIONS)
    return f"(?{rng.choice(['i:', 's:', 'i-s:', '-i:'])}{inside()})"


def hostile_expression(rng):
    """One that is large, deep, or repeats what is repeated, in ways that multiply."""
    few = partial(made_expression, rng, 1)
    many, depth = rng.choice([3, 30, 300, 3000]), rng.randint(2, 150)
    return rng.choice(
        [
            lambda: f"(?:{few()}){{{many}}}",
            lambda: f"(?:(?:{few()}){{{many}}}|{few()}){{{rng.choice([2, 50, 5000])}}}",
            lambda: "(?:" * depth + few() + f"){rng.choice(QUANTIFIERS)}" * depth,
            lambda: "|".join(f"{few()}{rng.choice('abk')}{i}" for i in range(many)),
            lambda: "|".join(chr(0x4E00 + i) + few() for i in range(min(many, 400))),
            lambda: "".join(few() for _ in range(min(many, 300))),
            lambda: f"(?:{few()})*" * min(many, 100),
            lambda: f"[ab]*a[ab]{{{rng.randint(1, 20)}}}|{few()}",
            lambda: f"(?:{'|'.join(few() for _ in range(min(many, 60)))})+{few()}",
            lambda: f"(?i:{''.join(f'[{chr(97 + i % 26)}-{chr(300 + i)}]' for i in range(many))})",
            lambda: "".join(rng.choices("()[]{}*+?|\\^$.-&:!=<>abPs1, \n", k=rng.randint(1, 40))),
        ]
    )()


ALPHABET = "aabbkKsSſK 1\nAé'x.-]{}\u0301中"


def few_characters(rng, longest=14):
    """A text that meets what expressions are made of."""
    return "".join(rng.choices(ALPHABET, k=rng.randint(0, longest)))


def made_texts(count, seed):
    """Several of them."""
    rng = random.Random(seed)
    return [few_characters(rng) for _ in range(count)]
