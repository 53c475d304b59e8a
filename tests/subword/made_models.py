"""Models and texts made at random, small enough that all that can happen does."""

import struct

from fastllm.api.models import CharacterBPE, SentencePieces, Unigram, WordLevel, byte_token
from fastllm.api.normalizers import Metaspace, Precompiled, Prepend, Replace

LETTERS = ["a", "b", "c", "é", "株", "▁", "x", "😀"]
# What normalization, splitting and clusters have rules about.
STRANGE = [
    *("a", "e", "\u0301", "\u0302", "\u200d", "\xa9", "क", "\u094d", "\u0903", "\u1100", "\u1161"),
    *("\u11a8", "가", "각", "\U0001f1e6", "\r", "\n", " ", "  ", "\u0600", "\u200b", "ﬁ", "①", "é"),
    *(
        "Å",
        "\u3000",
        "\t",
        "株",
        "\U0001f469",
        "ＡＢ",
        "½",
        "\u1e9b\u0323",
        "<x>",
        "<x>y",
        "▁",
        "▁x",
    ),
]


def word(rng, longest):
    """A word of few different letters."""
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, longest)))


def strange_text(rng, longest):
    """A text of characters with rules of their own, and of any others."""
    blocks = [(32, 0x2FF), (0x300, 0xD7FF), (0xF900, 0xFFFF), (0x1F000, 0x1FFFF)]
    return "".join(
        rng.choice(STRANGE) if rng.random() < 0.8 else chr(rng.randint(*rng.choice(blocks)))
        for _ in range(rng.randint(0, longest))
    )


def some_bytes(rng, share):
    """Tokens for bytes of the letters, some of them missing."""
    letters = "é株😀x▁".encode()
    return {byte_token(byte) for byte in letters if rng.random() < share}


def word_level(rng):
    """A vocabulary of words, with a token for unknown or without."""
    words = sorted({"▁" * rng.randint(0, 1) + word(rng, 3) for _ in range(rng.randint(1, 60))})
    numbers = rng.sample(range(3 * len(words) + 3), len(words))
    return WordLevel(dict(zip(words, numbers, strict=True)), rng.choice([words[0], "<unk>"]))


def unigram(rng):
    """A model of few pieces, with many ties; some may be there twice."""
    scores = [-1.0, -2.0, -0.1, -0.7, -0.3, 0.0]
    pieces = {word(rng, rng.choice([1, 2, 2, 3, 4])) for _ in range(rng.randint(2, 25))}
    byte_fallback = rng.random() < 0.5
    tokens = sorted(pieces | (some_bytes(rng, 0.8) if byte_fallback else set()))
    rng.shuffle(tokens)
    tokens += rng.choices(tokens, k=rng.choice([0, 0, 2]))
    with_scores = [(token, rng.choice([*scores, rng.uniform(-9, 0)])) for token in tokens]
    return Unigram(with_scores, rng.randrange(len(tokens)), byte_fallback)


def character_bpe(rng):
    """A model of few merges, with holes."""
    prefix, suffix = rng.choice(["", "", "##"]), rng.choice(["", "", "</w>"])
    tokens = {rng.choice(LETTERS) for _ in range(6)}
    tokens |= {prefix + token for token in tokens}
    tokens |= {token + suffix for token in tokens}
    byte_fallback = rng.random() < 0.5
    tokens |= some_bytes(rng, 0.85) if byte_fallback else set()
    unknown = rng.choice([None, "<unk>", "<unk>"])
    vocabulary = {token: i for i, token in enumerate(sorted(tokens | ({unknown} - {None})))}
    merges = []
    for _ in range(rng.randint(1, 25)):
        left, right = rng.choices(list(vocabulary), k=2)
        if right.startswith(prefix):
            vocabulary.setdefault(left + right[len(prefix) :], len(vocabulary))
            merges.append((left, right))
    return CharacterBPE(
        vocabulary,
        merges,
        unknown=unknown,
        byte_fallback=byte_fallback,
        fuse_unknown=rng.random() < 0.5,
        prefix=prefix,
        suffix=suffix,
        ignore_merges=rng.random() < 0.3,
    )


def character_map(rules):
    """The bytes of a character map, from a dict; as in files, though larger than need be."""
    replacements, values = b"", {}
    children, ends = [{}], {}
    for key, value in rules.items():
        values[key] = len(replacements)
        replacements += value.encode() + b"\0"
        node = 0
        for byte in key.encode():
            if byte not in children[node]:
                children[node][byte] = len(children)
                children.append({})
            node = children[node][byte]
        ends[node] = values[key]
    base = [512 * (node + 1) for node in range(len(children))]
    trie = [0] * (base[-1] + 512)
    trie[0] = base[0] << 10
    for node, steps in enumerate(children):
        for byte, child in steps.items():
            place = base[node] ^ byte
            trie[place] = (place ^ base[child]) << 10 | (child in ends) << 8 | byte
            if child in ends:
                trie[base[child]] = ends[child] | 1 << 31
    packed = struct.pack(f"<{len(trie)}I", *trie)
    return struct.pack("<I", len(packed)) + packed + replacements


def some_rules(rng):
    """Rules for a character map: keys that begin others, and some that become nothing."""
    rules = {
        rng.choice(STRANGE): rng.choice(["", "X", "YZ", "é", "ABCDEF", " "]) for _ in range(12)
    }
    pairs = {rng.choice(STRANGE) + rng.choice(STRANGE) for _ in range(12)}
    return rules | {pair: rng.choice(["", "Q", "YZ"]) for pair in pairs}


def sentence_pieces(rng):
    """A model of SentencePiece's own rules: ties, unused pieces, pieces of a user."""
    byte_fallback = rng.random() < 0.5
    texts = {word(rng, rng.choice([1, 2, 2, 3, 4])) for _ in range(rng.randint(3, 25))}
    every_byte = map(byte_token, range(256)) if byte_fallback else ()
    tokens = ["<unk>", "<s>", *every_byte, *sorted(texts)]
    numbers = range(len(tokens) - len(texts), len(tokens))
    kinds = {number: rng.choice(["", "", "", "", "unused", "user"]) for number in numbers}
    scores = rng.choice([[-0.1, -0.2, -0.3, -1.1], [-rng.random() for _ in range(400)]])
    return SentencePieces(
        [(token, rng.choice(scores)) for token in tokens],
        rng.choice(["unigram", "unigram", "bpe", "bpe", "words", "characters"]),
        unknown=0,
        byte_fallback=byte_fallback,
        user_defined=frozenset(n for n in numbers if kinds[n] == "user"),
        unused=frozenset(n for n in numbers if kinds[n] == "unused"),
        no_text=frozenset(range(numbers[0])),
    )


def some_steps(rng):
    """Steps before such models: character maps, and the ways to write blanks."""
    steps = [Precompiled(character_map(some_rules(rng)))] if rng.random() < 0.4 else []
    prepend, replace = Prepend("▁"), Replace(" ", "▁")
    scheme = rng.choice(["always", "first", "never"])
    return steps + rng.choice(
        [
            [],
            [prepend, replace],
            [replace, prepend],
            [replace],
            [Metaspace(prepend=scheme)],
            [Metaspace(prepend=scheme, words=True)],
            [Metaspace(prepend=scheme, before="bert")],
        ]
    )
