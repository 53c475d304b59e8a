"""Cases for self_test.cpp, with the answers of the reference: python write_cases.py FILE."""

import random
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from published_patterns import SCANNED
from texts import TRAPS, english, mixed_texts
from vocabularies import published_ranks

from fastllm.corpus.byte_order import byte_order
from fastllm.patterns.unicode_classes import RANGES
from fastllm.reference import tokenization as reference

# As in split/characters.h; what is in none of them is 0.
CLASSES = [
    ["Lu", "Lt"],
    ["Ll"],
    ["Lm", "Lo"],
    ["M"],
    ["N"],
    ["White_Space"],
    ["P"],
    ["S"],
]


def number(value: int) -> bytes:
    return struct.pack("<I", value)


def string(text: str | bytes) -> bytes:
    encoded = text.encode() if isinstance(text, str) else text
    return number(len(encoded)) + encoded


def items(parts: Iterable[bytes]) -> bytes:
    parts = list(parts)
    return number(len(parts)) + b"".join(parts)


def texts_of(seed: int, mixed: int, long: int) -> list[str]:
    """Traps, each at the end of a block of 64 bytes too, and made texts."""
    traps = [text for text in TRAPS.values() if text.isprintable() or text.isascii()]
    traps += [text for text in TRAPS.values() if text not in traps]
    traps = [text.encode(errors="ignore").decode() for text in traps]
    return [
        *traps,
        *("x" * 60 + text for text in traps),
        *mixed_texts(mixed, seed),
        *mixed_texts(long, seed, longest=400),
    ]


def class_runs() -> bytes:
    return items(
        number(first) + number(last + 1 - first) + number(value)
        for value, names in enumerate(CLASSES, 1)
        for name in names
        for first, last in zip(RANGES[name][::2], RANGES[name][1::2], strict=True)
    )


def utf8_cases() -> bytes:
    """Texts, the same cut off or with a wrong byte, and both around the ends of blocks."""
    rng = random.Random(1)
    wrong = [
        b"\x80",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8",
        b"\xe2\x82",
        b"\xc3",
    ]
    cases = []
    for text in texts_of(2, 200, 60):
        encoded = text.encode()
        cases.append(encoded)
        place = rng.randint(0, len(encoded))
        cases.append(encoded[:place])
        cases.append(encoded[:place] + rng.choice(wrong) + encoded[place:])
    for size in (*range(70), *range(120, 135)):
        cases += [b"a" * size + one for one in ("é".encode(), "中".encode(), "😀".encode(), *wrong)]

    def valid(encoded: bytes) -> bool:
        try:
            encoded.decode()
        except UnicodeDecodeError:
            return False
        return True

    return items(string(case) + number(valid(case)) for case in cases)


def split_cases() -> bytes:
    def cases(name: str) -> Iterable[bytes]:
        for text in texts_of(3, 150, 30):
            pretokens = reference.split(text, name)
            normalized = "".join(pretokens)
            yield string(normalized) + items(number(len(part.encode())) for part in pretokens)

    return items(pattern_of(name) + items(cases(name)) for name in SCANNED)


def pattern_of(name: str) -> bytes:
    scanner, digits = SCANNED[name].scanner or ("", 0)
    return string(scanner) + number(digits)


def vocabulary_case(pattern, vocabulary, texts, merges=None, drop=False) -> bytes:
    encoder = reference.BytePairEncoder(
        vocabulary, merges=merges, pattern=pattern, missing_bytes="drop" if drop else "raise"
    )
    texts = [SCANNED[pattern].normalize(text) for text in texts]
    in_order = sorted(vocabulary.items(), key=lambda item: item[1])
    return (
        pattern_of(pattern)
        + number(drop)
        + items(string(token) + number(i) for token, i in in_order)
        + items(string(left) + string(right) for left, right in merges or ())
        + items(string(text) + items(map(number, encoder.encode(text))) for text in texts)
    )


def vocabulary_cases() -> bytes:
    texts = [*texts_of(4, 60, 12), english()[:30_000], "ab" * 3000, "a" * 3000 + "b", " " * 500]
    few = texts_of(5, 40, 10)
    cl100k = published_ranks("cl100k_base")
    merges = reference.train([*texts[:80], english()[:20_000]], 700, pattern="cl100k")
    trained = {bytes([byte]): byte for byte in range(256)}
    trained |= {left + right: 256 + i for i, (left, right) in enumerate(merges)}
    far = {token: 5 * i + (1 << 24) for token, i in trained.items()}  # ids that take 32 bits
    lacking = {token: i for token, i in trained.items() if i % 9}
    return items(
        [
            vocabulary_case("cl100k", cl100k, texts),  # ids of 24 bits
            vocabulary_case("o200k", trained, few),  # of 16
            vocabulary_case("gpt2", far, few),
            vocabulary_case("qwen3.5", trained, few, merges=merges),
            vocabulary_case("llama3", lacking, few, drop=True),
        ]
    )


def training_cases() -> bytes:
    texts = [*TRAPS.values(), *mixed_texts(100, seed=6), english()[:20_000], "a" * 200, "x" * 40]
    texts = [text.encode(errors="ignore").decode() for text in texts]

    def case(pattern: str, tie_break: str, least: int) -> bytes:
        words = reference.count_words(texts, pattern=pattern)
        merges = reference.train(
            texts, 256 + 300, pattern=pattern, tie_break=tie_break, min_frequency=least
        )
        return (
            pattern_of(pattern)
            + number(tie_break == "first-seen")
            + number(least)
            + string(byte_order(tie_break))
            + items(map(string, texts))
            + items(string(word) + number(count) for word, count in words.items())
            + number(300)
            + items(string(left) + string(right) for left, right in merges)
        )

    return items(
        [
            case("gpt2", "lowest-ids", 1),
            case("cl100k", "huggingface", 3),
            case("o200k", "first-seen", 1),
        ]
    )


def main() -> None:
    parts = [class_runs, utf8_cases, split_cases, vocabulary_cases, training_cases]
    Path(sys.argv[1]).write_bytes(b"".join(part() for part in parts))


if __name__ == "__main__":
    main()
