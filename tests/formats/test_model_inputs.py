"""Texts cut off and filled up for a model, against the owner of the format."""

import json
import random

import numpy as np
import pytest
from formats.shapes import SHAPES, padding
from tokenizers import Tokenizer

import fastllm
from fastllm import Padding, Truncation

WORDS = ["the", "brother", "of", "a", "word,", "low", "é", "1234", "don't", "中文", "end"]
NAMES = ("bert", "roberta", "llama-2", "xlm-r", "gpt2", "word-level")


@pytest.fixture(scope="module", params=NAMES)
def both(request, tmp_path_factory):
    """The owner's tokenizer and ours, of the same file."""
    content = json.dumps(SHAPES[request.param]())
    path = tmp_path_factory.mktemp("inputs") / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    has_template = request.param != "roberta"
    return Tokenizer.from_str(content), fastllm.load_tokenizer(path), has_template


def some_texts(rng, count):
    return [" ".join(rng.choices(WORDS, k=rng.choice([0, 1, 3, 9]))) for _ in range(count)]


def owners_rows(owner, texts, add, overflowing):
    """All that the owner says of each row."""
    found = []
    for number, each in enumerate(owner.encode_batch(texts, add_special_tokens=add)):
        for row in [each, *(each.overflowing if overflowing else [])]:
            found.append((number, row))
    return [
        (r.ids, r.type_ids, r.attention_mask, r.special_tokens_mask, number, r.offsets)
        for number, r in found
    ]


def our_rows(made):
    spans = [[tuple(span) for span in row] for row in made.offsets.tolist()]
    return [*zip(*(array.tolist() for array in made[:5]), spans, strict=True)]


def without_types(rows):
    return [(ids, *others) for ids, _, *others in rows]


def random_call(rng, overflowing):
    """How to cut off and fill up, for the owner and for us."""
    cut = {
        "max_length": rng.randint(5, 24),
        "strategy": rng.choice(["longest_first", "longest_first", "only_first", "only_second"]),
        "stride": rng.choice([0, 0, 1, 2]) if overflowing else 0,
        "direction": rng.choice(["right", "left"]),
    }
    fill = {
        "pad_id": rng.randint(0, 9),
        "pad_type_id": rng.randint(0, 2),
        "pad_to_multiple_of": rng.choice([None, None, 4, 7]),
        "direction": rng.choice(["right", "left"]),
        "length": rng.choice([None, None, 99]),
    }
    filling = Padding(
        fill["pad_id"],
        fill["pad_type_id"],
        length=fill["length"],
        multiple_of=fill["pad_to_multiple_of"],
        direction=fill["direction"],
    )
    return cut, fill, {"truncation": Truncation(**cut), "padding": filling}


def test_random_calls_give_what_the_owner_gives(both):
    owner, ours, has_template = both
    rng = random.Random(31)
    equal = 0
    for _ in range(60):
        overflowing, add = rng.random() < 0.5, rng.random() < 0.8
        cut, fill, options = random_call(rng, overflowing)
        texts = some_texts(rng, rng.randint(1, 4))
        pairs = some_texts(rng, len(texts)) if rng.random() < 0.5 else None
        owner.enable_truncation(**cut)
        owner.enable_padding(**fill)
        inputs = texts if pairs is None else [*zip(texts, pairs, strict=True)]
        options |= {"pairs": pairs, "overflowing": overflowing, "add_special_tokens": add}
        try:
            expected = owners_rows(owner, inputs, add, overflowing)
        except BaseException:  # a panic, if the stride is too long
            with pytest.raises(ValueError, match=r"strategy|stride"):
                ours.model_inputs(texts, offsets=True, **options)
            continue
        found = our_rows(ours.model_inputs(texts, offsets=True, **options))
        if pairs and overflowing:
            # Its parts of second texts have the type 1 where the template says another.
            found, expected = without_types(found), without_types(expected)
            if not has_template:  # their order is another
                found, expected = sorted(found), sorted(expected)
        assert found == expected, (texts, options)
        equal += 1
    assert equal > 20


def test_files_that_say_how_to_fill_up(tmp_path):
    path = tmp_path / "tokenizer.json"
    for name in ("bert", "roberta"):
        content = SHAPES[name]()
        content["truncation"] = content["truncation"] | {"max_length": 7, "direction": "Left"}
        content["padding"] = padding(strategy={"Fixed": 9}, pad_id=1, direction="Left")
        path.write_text(json.dumps(content), encoding="utf-8")
        texts = ["the brother of a word, low", "end", ""]
        found = our_rows(fastllm.load_tokenizer(path).model_inputs(texts, offsets=True))
        assert found == owners_rows(Tokenizer.from_file(str(path)), texts, True, False)


def test_a_call_that_cannot_be_done_says_why():
    tokenizer = fastllm.BPETokenizer.train("", 256)
    with pytest.raises(ValueError, match="rows have from 1 to 2 ids, and the tokenizer has no pad"):
        tokenizer.model_inputs(["a", "bc"])
    with pytest.raises(ValueError, match="a row has 2 ids, and padding makes rows of 1"):
        tokenizer.model_inputs(["a", "bc"], padding=Padding(length=1))
    with pytest.raises(ValueError, match="stride must be below 2, the number of ids that stay"):
        tokenizer.model_inputs(
            ["abc"], pairs=["abc"], truncation=Truncation(4, stride=2), overflowing=True
        )
    with pytest.raises(ValueError, match="'only_second' cuts the second text, and there is none"):
        tokenizer.model_inputs(["abc"], truncation=Truncation(2, "only_second"))
    with pytest.raises(ValueError, match="would leave nothing of a text"):
        tokenizer.model_inputs(["a"], pairs=["abc"], truncation=Truncation(2, "only_first"))
    with pytest.raises(TypeError, match="padding must be a Padding or a bool, not dict"):
        tokenizer.model_inputs(["a"], padding={})
    with pytest.raises(ValueError, match="stride must be below max_length, 4, not 4"):
        Truncation(4, stride=4)
    made = tokenizer.model_inputs([])
    assert made.ids.shape == (0, 0)
    assert {array.dtype for array in made[:5]} == {np.dtype(np.int64)}
