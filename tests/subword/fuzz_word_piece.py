"""Made and broken tokenizer.json of WordPiece against the library that owns the format.

    python tests/subword/fuzz_word_piece.py 10000

Every file gives the owner's ids, places and texts, is written back so that the owner agrees, or is
refused by a ValueError. `test_files.py` runs a few.
"""

import copy
import json
import random
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

from fastllm import WordPieceTokenizer

LETTERS = "abcxyz éßÉİ中文!.'_-\t\n\u0301\u3000"
SPECIAL = {"[CLS]": 1, "[SEP]": 2}


def random_word(rng, least=1):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randrange(least, 5)))


def random_file(rng):
    prefix = rng.choice(["##", "##", "", "@"])
    words = ["[UNK]", *SPECIAL, *"abcxyzé中文!.'-_", *(prefix + letter for letter in "abcxyzé中")]
    words += [rng.choice(["", prefix]) + random_word(rng) for _ in range(rng.randrange(40))]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(filter(None, words)))}
    flag = lambda: rng.random() < 0.5  # noqa: E731
    added, number = [], len(vocab)
    for content in dict.fromkeys(
        [*rng.sample(["[CLS]", "<m>", "<m> x", "Ab", "é", " c", "x-"], 3), random_word(rng)]
    ):
        added.append({"id": vocab.get(content, number), "content": content})
        added[-1] |= {name: flag() for name in ("single_word", "lstrip", "rstrip", "special")}
        added[-1]["normalized"] = rng.random() < 0.3
        number += content not in vocab
    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name in SPECIAL]
    text_a, text_b = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": random_normalizer(rng),
        "pre_tokenizer": random_pre_tokenizer(rng),
        "post_processor": rng.choice(
            [
                None,
                {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
                {
                    "type": "RobertaProcessing",
                    "sep": ["[SEP]", 2],
                    "cls": ["[CLS]", 1],
                    "trim_offsets": False,
                    "add_prefix_space": False,
                },
                {
                    "type": "TemplateProcessing",
                    "single": rng.choice([[around[0], text_a], [text_a], [text_a, *around]]),
                    "pair": rng.choice([[text_b, around[1], text_a], [text_a, text_b]]),
                    "special_tokens": {
                        name: {"id": name, "ids": [number], "tokens": [name]}
                        for name, number in SPECIAL.items()
                    },
                },
            ]
        ),
        "decoder": rng.choice(
            [None, {"type": "WordPiece", "prefix": rng.choice(["##", "@"]), "cleanup": flag()}]
        ),
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": rng.choice([100, 100, 3, 1]),
            "vocab": vocab,
        },
    }


def random_normalizer(rng):
    steps = [
        {
            "type": "BertNormalizer",
            "clean_text": rng.random() < 0.5,
            "handle_chinese_chars": rng.random() < 0.5,
            "strip_accents": rng.choice([None, True, False]),
            "lowercase": rng.random() < 0.5,
        },
        *({"type": kind} for kind in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")),
        {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5},
        {"type": "Prepend", "prepend": rng.choice(["x", "_", "ab"])},
        {"type": "Replace", "pattern": {"String": rng.choice(["a", "ab"])}, "content": "yz"},
        {"type": "Replace", "pattern": {"Regex": rng.choice([" {2,}", r"\s+"])}, "content": "x"},
    ]
    if rng.random() < 0.5:
        return rng.choice([None, steps[0]])
    return {"type": "Sequence", "normalizers": rng.sample(steps, rng.randrange(4))}


def random_pre_tokenizer(rng):
    steps = [
        *({"type": kind} for kind in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")),
        {"type": "Punctuation", "behavior": rng.choice(["Isolated", "Contiguous"])},
        {"type": "Digits", "individual_digits": rng.random() < 0.5},
        {"type": "Split", "pattern": {"Regex": "b+"}, "behavior": "Isolated", "invert": False},
    ]
    if rng.random() < 0.6:
        return rng.choice([None, *steps])
    return {"type": "Sequence", "pretokenizers": rng.sample(steps, rng.randrange(1, 4))}


def broken(rng, content):
    """A file with something in it changed, taken away or doubled."""
    content = copy.deepcopy(content)
    for _ in range(rng.randrange(1, 3)):
        where, parent = content, None
        while isinstance(where, (dict, list)) and where and (parent is None or rng.random() < 0.8):
            parent = where
            key = rng.choice(list(where) if isinstance(where, dict) else range(len(where)))
            where = where[key]
        choice = rng.randrange(3)
        if choice == 0:
            parent[key] = rng.choice([None, True, 0, 1, -1, 2.5, "", "a", "[UNK]", [], {}, 2**40])
        elif choice == 1:
            del parent[key]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[rng.choice(["x", key + "s", "type"])] = copy.deepcopy(parent[key])
    return content


def texts(rng, content):
    contents = [
        entry["content"]
        for entry in content.get("added_tokens") or []
        if isinstance(entry, dict) and isinstance(entry.get("content"), str)
    ]
    vocab = content.get("model", {}).get("vocab")
    words = list(vocab) if isinstance(vocab, dict) else []
    pool = [*LETTERS, *contents, *contents, *words[:20], " "]
    return ["", *("".join(rng.choice(pool) for _ in range(rng.randrange(25))) for _ in range(8))]


def owner_of(path):
    try:
        found = Tokenizer.from_file(str(path))
    except Exception:  # the owner has one kind of error
        return None
    found.no_truncation()
    found.no_padding()
    return found


def is_encoded(owner, text):
    """Whether the owner has an answer: it panics where tokens with white space overlap."""
    try:
        owner.encode(text)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        return False
    return True


def compare(content, path, rng):
    """Whether the file is read; an AssertionError if it is not read as the owner reads it."""
    path.write_text(json.dumps(content), "utf-8")
    owner = owner_of(path)
    try:
        mine = WordPieceTokenizer.from_file(path)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert str(path) in refused
        return False
    assert owner is not None, "the owner refuses it"
    mine.save(path)
    again, theirs = WordPieceTokenizer.from_file(path), owner_of(path)
    assert again == mine
    batch = [text for text in texts(rng, content) if is_encoded(owner, text)]
    for text in batch:
        encoding, other = owner.encode(text, add_special_tokens=False), rng.choice(batch)
        ids, spans = mine.encode_with_offsets(text, allowed_special="all")
        assert ids == encoding.ids == theirs.encode(text, add_special_tokens=False).ids, text
        assert mine.encode(text, allowed_special="all") == ids, text
        assert spans == encoding.offsets, (text, spans, encoding.offsets)
        for pair in (None, other):
            full = owner.encode(text) if pair is None else owner.encode(text, pair)
            options = {"pair": pair, "add_special_tokens": True, "allowed_special": "all"}
            assert mine.encode(text, **options) == full.ids, (text, pair)
        for skip in (False, True):
            shown = owner.decode(ids, skip_special_tokens=skip)
            assert (mine.decode(ids, skip_special_tokens=skip), text) == (shown, text)
    expected = owner.encode_batch(batch, add_special_tokens=False)
    assert mine.encode_batch(batch, allowed_special="all") == [each.ids for each in expected]
    return True


def run(count, seed):
    """How many files were read, of `count` made ones and as many broken ones."""
    read = [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            content = random_file(rng)
            for kind, made in enumerate([content, broken(rng, content)]):
                try:
                    read[kind] += compare(made, Path(folder, "tokenizer.json"), rng)
                except Exception as error:
                    error.add_note(f"seed {seed} {number}: {json.dumps(made)}")
                    raise
    return read


if __name__ == "__main__":
    print(run(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "17"))
