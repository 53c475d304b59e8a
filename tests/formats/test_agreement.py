"""Any vocabulary, saved in any format that does not refuse it, loads equal and encodes alike."""

import random

import pytest
from tokenizers import Tokenizer

from fastllm import BPETokenizer

BYTES = {bytes([b]): b for b in range(256)}


def random_settings(rng):
    """Tokens over three letters with shuffled ids; ranks, or merges of which some make no sense."""
    tokens, parts = set(), [b"a", b"b", b"c", b" "]
    for _ in range(rng.randint(1, 14)):
        token = b"".join(rng.choices(parts, k=rng.choice([2, 2, 2, 3])))
        tokens.add(token)
        parts.append(token)
    ordered = rng.sample(sorted(tokens), len(tokens))
    numbers = rng.sample(range(256, 300), len(tokens))
    ranks = BYTES | dict(zip(ordered, numbers, strict=True))
    splits = [(token[:i], token[i:]) for token in ordered for i in range(1, len(token))]
    merges = [(left, right) for left, right in splits if left in ranks and right in ranks]
    rng.shuffle(merges)
    listed = rng.choice(
        [
            None,
            merges,
            merges[: len(merges) // 2] + merges[:2],
            BPETokenizer(ranks, pattern="gpt2").merges,
        ]
    )
    return {
        "ranks": ranks,
        "pattern": "gpt2",
        "special_tokens": {"<s>": 400},
        "merges": listed,
        "ignore_merges": rng.random() < 0.5,
    }


@pytest.mark.parametrize("seed", range(40))
def test_formats_hold_a_random_vocabulary_or_refuse_it(bpe_tokenizer, tmp_path, seed):
    rng = random.Random(seed)
    settings = random_settings(rng)
    tokenizer = bpe_tokenizer(**settings)
    texts = ["".join(rng.choices("abc abc", k=rng.randint(1, 14))) for _ in range(20)]
    expected = [tokenizer.encode(text) for text in texts]
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [rival.encode(text).ids for text in texts] == expected
    given = {"special_tokens": settings["special_tokens"]}
    for name, options in [
        ("tokenizer.json", {}),
        ("own.tiktoken", given | {"pattern": "gpt2"}),
        ("own.model", {}),
        ("vocab.json", given),
    ]:
        try:
            tokenizer.save(tmp_path / name)
        except ValueError:
            assert name != "tokenizer.json"
            assert name != "own.tiktoken" or settings["merges"] is not None
            continue
        loaded = bpe_tokenizer.from_file(tmp_path / name, **options)
        assert loaded == tokenizer, name
        assert [loaded.encode(text) for text in texts] == expected, name
