"""Random texts through every scanner and encoder until one differs: a program, not a test.

    PYTHONPATH=tests python tests/bpe/fast/fuzz_encode.py --seconds 60 --seed 0

A round is a pattern, a vocabulary, a cap on the cache and some hundred texts. Pieces at every
instruction-set level and by the scalar scanner must be the reference's; ids must be tiktoken's,
tokenizers' (from the tokenizer.json that we save) or the reference's.
Pieces are found at all levels at once; ids are made at the level in use: FASTLLM_SIMD=baseline|avx2
for another. The first difference ends the run with the shortest text that still shows it.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import tiktoken
from published_patterns import SCANNED as NAMED
from texts import TRAPS, any_scalars, edge_texts, english, mixed_texts, shortest
from tokenizers import Tokenizer
from vocabularies import published_ranks

from fastllm import BPETokenizer
from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels
from fastllm.reference import tokenization as reference

BYTES = {bytes([b]): b for b in range(256)}
LEVELS = ("scalar", *_kernels.ISAS[: _kernels.isa_number() + 1])
TIKTOKENS = ("gpt2", "cl100k", "llama3", "nanochat", "o200k")  # patterns of one expression, no more
CAPS = (0, 1 << 16, 1 << 18, 1 << 20, 64 << 20)
EDGES = list(edge_texts())


# ---- texts ---------------------------------------------------------------------------------------


def texts_of_round(rng, pattern):
    longest = rng.choice([6, 15, 30, 60, 60, 150, 400])
    texts = [*mixed_texts(300, seed=rng.random(), longest=longest)]
    texts += rng.choices(EDGES, k=40)
    if pattern != "qwen2":  # normalization is Python's, whose Unicode may be another
        alphabet = any_scalars(rng, 40) + list(" \n'sA1!a")
        texts += ["".join(rng.choices(alphabet, k=rng.randint(0, 120))) for _ in range(40)]
    texts += [a + b for a, b in zip(texts[:20], rng.sample(texts, 20), strict=True)]
    return texts


# ---- vocabularies --------------------------------------------------------------------------------


def random_tokens(rng, count, longest):
    """Runs of bytes that occur, some across characters and pre-tokens; most cannot be merged."""
    traps = rng.sample(list(TRAPS.values()), 6)
    sample = "".join([*traps, *mixed_texts(10, seed=rng.random())])
    data = sample.encode("utf-8", "replace") + b"  \n\n   abab1212''"
    starts = (rng.randrange(len(data)) for _ in range(count))
    return {data[i : i + rng.randint(2, longest)] for i in starts}


def ranks_at_random(rng, count):
    tokens = [*(BYTES.keys() | random_tokens(rng, count, rng.choice([2, 3, 5, 20])))]
    return dict(zip(sorted(tokens), rng.sample(range(2 * len(tokens)), len(tokens)), strict=True))


def ranks_by_joining(rng, count):
    """Tokens made of earlier tokens, so that merges reach most of them, in an order at random."""
    letters = [bytes([b]) for b in b"abcdefgnrstABST 1230'!.\n"] + ["é".encode(), "中".encode()]
    made = list(letters)
    for _ in range(count):
        made.append(b"".join(rng.choices(made, k=2))[:40])
    tokens = list(dict.fromkeys(t for t in made if len(t) > 1))
    if rng.random() < 0.5:
        rng.shuffle(tokens)
    return BYTES | {token: 256 + i for i, token in enumerate(tokens)}


def trained_ranks(rng, pattern):
    start = rng.randrange(600_000)
    sample = [english()[start : start + 20_000], *mixed_texts(100, seed=rng.random())]
    merges = fast.train(sample, rng.choice([260, 300, 700]), pattern=pattern)
    return BYTES | {left + right: 256 + i for i, (left, right) in enumerate(merges)}


class Round:
    """One setting: ours, and what to compare it with."""

    def __init__(self, seed, number):
        rng = random.Random(f"{seed} {number}")
        self.pattern = rng.choice(list(NAMED))
        self.kind = rng.choice(["published", "random", "joined", "joined", "trained", "listed"])
        if self.kind == "published" and self.pattern not in ("cl100k", "o200k"):
            self.pattern = rng.choice(["cl100k", "o200k"])
        self.ranks = self._ranks(rng)
        self.merges, self.ignore_merges = None, False
        if self.kind == "listed":
            splits = [(t[:i], t[i:]) for t in self.ranks for i in range(1, len(t))]
            known = [(a, b) for a, b in splits if a in self.ranks and b in self.ranks]
            self.merges = rng.sample(known, len(known))
            self.ignore_merges = rng.random() < 0.5
        self.cap = rng.choice(CAPS)
        self.rival, self.rival_name = self._rival(rng)
        self.texts = texts_of_round(rng, self.pattern)
        self.encoder = self.new_encoder()

    def _ranks(self, rng):
        if self.kind == "published":
            return published_ranks(f"{self.pattern}_base")
        if self.kind == "trained":
            return trained_ranks(rng, self.pattern)
        count = rng.choice([3, 30, 300, 1500])
        return (ranks_at_random if self.kind == "random" else ranks_by_joining)(rng, count)

    def _rival(self, rng):
        """Texts -> ids by another library."""
        pattern = NAMED[self.pattern]
        if self.merges is None and self.pattern in TIKTOKENS:
            encoding = published_tiktoken(self.pattern) if self.kind == "published" else None
            if encoding is None:
                encoding = new_tiktoken(self.pattern, self.ranks)
            return lambda texts: [encoding.encode_ordinary(text) for text in texts], "tiktoken"
        if rng.random() < 0.7:
            tokenizer = BPETokenizer(
                self.ranks,
                pattern=self.pattern,
                merges=self.merges,
                ignore_merges=self.ignore_merges,
            )
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "tokenizer.json")
                tokenizer.save(path)
                rival = Tokenizer.from_file(str(path))
            return lambda texts: [rival.encode(text).ids for text in texts], "tokenizers"
        slow = reference.BytePairEncoder(self.ranks, **self.options())
        return lambda texts: [slow.encode(pattern.normalize(text)) for text in texts], "reference"

    def options(self):
        return {
            "pattern": self.pattern,
            "merges": self.merges,
            "ignore_merges": self.ignore_merges,
        }

    def new_encoder(self):
        encoder = fast.BytePairEncoder(self.ranks, **self.options())
        encoder._set_cache_bytes(self.cap)
        return encoder

    def wrong_levels(self, text):
        """The levels whose pre-tokens are not the reference's."""
        pretokens = reference.split(text, self.pattern)
        encoded = "".join(pretokens).encode()
        return [n for n in LEVELS if _kernels.split_utf8(encoded, self.pattern, n) != pretokens]

    def wrong_ids(self, text, encoder=None):
        encoder = encoder or self.new_encoder()
        return encoder.encode(text) != self.rival([text])[0]

    def __str__(self):
        return (
            f"pattern {self.pattern}, vocabulary {self.kind} of {len(self.ranks)} tokens, "
            f"cap {self.cap}, ids of {self.rival_name}"
        )


_published: dict[str, tiktoken.Encoding] = {}


def published_tiktoken(pattern):
    if pattern not in _published:
        _published[pattern] = new_tiktoken(pattern, published_ranks(f"{pattern}_base"))
    return _published[pattern]


def new_tiktoken(pattern, ranks):
    return tiktoken.Encoding(
        pattern, pat_str=NAMED[pattern].steps[0], mergeable_ranks=ranks, special_tokens={}
    )


# ---- the hunt ------------------------------------------------------------------------------------


def difference(setting):
    """The first text that is cut or encoded wrong in a round, and what is wrong; or None."""
    for text in setting.texts:
        if wrong := setting.wrong_levels(text):
            text = shortest(text, setting.wrong_levels)
            return text, f"pre-tokens at {wrong} are not the reference's"
    texts = [NAMED[setting.pattern].normalize(text) for text in setting.texts]
    expected = setting.rival(texts)
    for text, ids in zip(texts * 2, expected * 2, strict=True):
        if setting.encoder.encode(text) != ids:
            if not setting.wrong_ids(text):
                return text, "ids differ, but not with a new encoder: the cache is wrong"
            return shortest(text, setting.wrong_ids), "ids differ"
    flat, _ = setting.encoder.encode_batch_to_numpy(texts)
    if flat.tolist() != [i for ids in expected for i in ids]:
        return "".join(texts), "ids of the batch differ"
    whole = "\n".join(texts)
    if setting.wrong_ids(whole, setting.encoder):
        return shortest(whole, setting.wrong_ids), "ids of all texts in one differ"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-round", type=int, default=0)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)  # should a sanitizer end the run
    counts: Counter[str] = Counter()
    end = time.monotonic() + arguments.seconds
    number = arguments.first_round
    while time.monotonic() < end:
        setting = Round(arguments.seed, number)
        found = difference(setting)
        if found:
            text, what = found
            print(f"round {number}: {setting}\n{what}\n{text!a}")
            if len(setting.ranks) < 400:
                print(f"{setting.ranks}\n{setting.options()}")
            return 1
        size = len(setting.texts)
        counts["pre-tokens, each level"] += size
        counts[f"pre-tokens of {setting.pattern}"] += size
        counts[f"ids at {_kernels.isa_name()}"] += size
        counts[f"ids of {setting.rival_name}"] += size
        counts[f"vocabulary {setting.kind}"] += size
        counts["caches emptied"] += sum(wipes - 1 for _, wipes in setting.encoder._cache_state())
        number += 1
    print(f"{number - arguments.first_round} rounds, levels {LEVELS}")
    for name, count in sorted(counts.items()):
        print(f"{count:12,}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
