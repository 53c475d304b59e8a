"""Texts that trip tokenizers, each with the trap it holds, and a generator of more."""

import random
from collections.abc import Iterator
from functools import cache, lru_cache

TRAPS = {
    "empty": "",
    "one blank": " ",
    "blanks inside": "foo  bar   baz",
    "blanks at the end": "foo  ",
    "blank runs before numbers": "foo  12 bar",
    "newlines": "a\n\nb \n c\n \nd\n",
    "blanks after the last newline": "x\n  ",
    "carriage returns": "a\r\nb\r\n\r\n  c\r",
    "tabs": "\tif x:\n\t\treturn\n",
    "contractions": "it's I'll we've you're he'd I'm don't",
    "contractions in capitals": "IT'S I'LL WE'VE YOU'RE HE'D I'M DON'T",
    "long s is an s": "it'\u017f IT'\u017f'\u017f x\u017f",
    "Kelvin sign is a k": "'\u212a \u212a",
    "apostrophes in a row": "''s '''ll 's' 'S'",
    "information separators are no white space": "a\x1cb \x1d \x1e\x1f c",
    "wide blanks": "a\u3000b\u3000\u3000c\u2028d\u2029e\x85f\xa0\xa0g\u1680h\u202f",
    "wide blanks across a block": "x" * 62 + "\u3000\u3000" + "y" * 62 + "\u3000z",
    "zero width is no white space": "a\u200bb\u200cc\u200dd\ufeffe",
    "digits": "1 12 123 1234 12345 1234567",
    "digits of other scripts": "٣٤٥٦ ²³¹ ½¾ ⅧⅨ 𝟎𝟏𝟐𝟑",
    "title case letters": "ǅungla ǈubav ǋegoš",
    "modifier letters": "ʰello wʷrld ªº",
    "U+0295 changed its class": "ʕaʕ Aʕ",
    "marks": "e\u0301a\u0300 \u0301x !\u0301! A\u0301B a\u0301B A\u0301b",
    "a mark before capitals": "\u0301ABC \u0301abc",
    "capitals back up": "ABCdef ABC中DEF ABC中DEf HTTPServer中A",
    "slashes after punctuation": "http://a/b //x a/ !/\n/",
    "Han, kana and marks of kana": "中文あいアイー゛゜ 々〇 漢字かな混じり文。",
    "Hangul, composed and not": "한국어 \u1112\u1161\u11ab",
    "not in NFC": "cafe\u0301 A\u030a \u212b \u2126 \u0958",
    "emoji with joiners": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "control characters": "\x00\x01 a\x02b \x7f\x80",
    "code": "def f(x):\n    return {'a': [x**2 for _ in range(10)]}  # ok\n",
    "urls and mail": "see https://example.org/?q=1&r=%20#x or mail a.b+c@d.e",
    "private and unassigned": "\ue000 \U000f0000 \u0378 \U0001ffff \ufffe",
    "lone surrogate": "a\ud800b",
    "surrogate pair": "\ud83d\ude00",
    "punctuation and symbols": "«a» “b” …—–€£¥ ©®™ ∑∫√ ±×÷",
    "special text as plain text": "<|endoftext|> <|im_start|>",
}

_ATOMS = [
    *"aAbBzZsStTmdDlLvVrReE'' ,.!?/\\(){}[]-_0123459\n\r\t",
    *["'s", "'ll", "'RE", "'\u017f", "\u017f", "  ", "\n\n", " \n", "\r\n", "\u3000", "\u2028"],
    *["\x85", "\xa0", "\u1680", "\x1c", "\x1f", "é", "É", "ß", "ǅ", "ʰ", "ª", "中", "文", "あ"],
    *[
        "ア",
        "ー",
        "゛",
        "゠",
        "・",
        "〇",
        "々",
        "한",
        "\u0301",
        "\u0903",
        "\u20dd",
        "٣",
        "²",
        "½",
        "Ⅷ",
    ],
    *["🎉", "👩‍👩", "€", "«", "。", "\u200b", "\u00ad", "\ufffe", "\U000e0041", "𝐀", "𝐚", "𝟎", "ʕ"],
    *["\u0345", "\x00", "\u3040", "\u4db5", "\U00020000"],
]


@lru_cache(maxsize=64)
def mixed_texts(count: int, seed: int = 0, longest: int = 60) -> tuple[str, ...]:
    """Texts over random sub-alphabets of the characters above: small alphabets make long runs."""
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        alphabet = rng.sample(_ATOMS, rng.choice([1, 2, 3, 5, 8, len(_ATOMS)]))
        texts.append("".join(rng.choices(alphabet, k=rng.randint(0, longest))))
    return tuple(texts)


def english() -> str:
    """Some 700 KB of documentation that ships with Python."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


# Patterns as other projects write them, and the named ones that they mean.
SPELLINGS = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s": "gpt2",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s": "cl100k",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+": "llama3",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": "llama3",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+": "nanochat",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}

# What means one thing or another by its neighbours, so that the end of a block must not part them.
# fmt: off
_NEIGHBOURLY = [
    "'s", "it's on", "I'LL go", "we've", "''s's", "'\u017f", "x'\u017fy", "'lx", "IT'SHE", "a'sÉ",
    "1234567", "1\u0663\u0664\u0665\u06662", "½½½½", " 12", "a1b22c",
    " a", "  a", "   ", "  \n", " \n  b", "\n\n  \n x", "\r\n\r\n", "\t\ta", "\n  ", "!\n\n/\n/a",
    "\u3000a", "\u3000\u3000a", " \u3000", "\u2028 b", "\xa0\xa0c", "\x85\u1680!", "\n\u3000\n",
    "!", "!a", "?!b", " !?", "!\n\n b", "! \n", "'a", "€a", " €", "/\n//", "\x1c\x1d a",
    "Ab", "aB", "ABc", "中Ab", "中AB ", "a中B", "A\u0301b", "!\u0301a", "\u0301\u0301 ", "ªB", "𝐀𝐚",
]
# fmt: on


def edge_texts() -> Iterator[str]:
    """Short texts that matter, each across the ends of the first and of the second 64 bytes."""
    for filler in ["x", " ", "1", "\n", "!", "A", "'", "/", "é", "中", "\u3000", "\u0301"]:
        for snippet in _NEIGHBOURLY:
            for place in [*range(58, 66), *range(123, 130)]:
                fillers, rest = divmod(place, len(filler.encode()))
                yield "." * rest + filler * fillers + snippet


@cache
def scalars() -> str:
    """Every character of the planes that hold more than private ones, and some of the others."""
    full = {0, 1, 2, 3, 14}
    numbers = (n for n in range(0x110000) if n >> 16 in full or n % 251 == 0)
    return "".join(chr(n) for n in numbers if not 0xD800 <= n <= 0xDFFF)


def any_scalars(rng, count):
    """Characters from anywhere, more often from where they are assigned."""
    blocks = [(0, 0x250), (0x250, 0x3000), (0x2000, 0x3100), (0xA000, 0x10000), (0x10000, 0x1FFFF)]
    characters = [chr(rng.randrange(*rng.choice(blocks))) for _ in range(count)]
    return [c for c in characters if not "\ud800" <= c <= "\udfff"]


def shortest(text, fails):
    """`text` with parts left out, as long as it fails."""
    size = len(text)
    while size:
        start = 0
        while start < len(text):
            shorter = text[:start] + text[start + size :]
            if fails(shorter):
                text = shorter
            else:
                start += size
        size //= 2
    return text
