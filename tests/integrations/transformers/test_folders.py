"""Folders with vocab.json and merges.txt and what lies beside them, against transformers."""

import json

import pytest
from formats.shapes import byte_level
from transformers import GPT2Tokenizer, Qwen2Tokenizer, RobertaTokenizer

import fastllm

TEXTS = [
    *("", " ", "Hello world's end", "the <mask> end<mask>", "<s>a</s> <tool>b  <unk> 12345"),
    "e\u0301 株式会社  \n x<|im_start|>y",
]
MASK = {"content": "<mask>", "lstrip": True, "rstrip": False, "single_word": False}


def folder(path, kind, **config):
    """A folder as models have it that come without a tokenizer.json."""
    model = byte_level()
    path.joinpath("vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    path.joinpath("merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    count = len(model["vocab"])
    files = {
        "tokenizer_config.json": {"tokenizer_class": kind, **config},
        "special_tokens_map.json": {
            "mask_token": {**MASK, "lstrip": kind != "Qwen2Tokenizer", "normalized": False}
        },
        "added_tokens.json": {"<tool>": count, "<|im_start|>": count + 1},
    }
    for name, content in files.items():
        path.joinpath(name).write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (GPT2Tokenizer, {"unk_token": "<unk>", "eos_token": "</s>", "bos_token": "<s>"}),
        (GPT2Tokenizer, {"add_prefix_space": True, "unk_token": "<unk>"}),
        (RobertaTokenizer, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}),
        (RobertaTokenizer, {"add_prefix_space": True}),
        (Qwen2Tokenizer, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}),
    ],
)
def test_ids_are_those_of_transformers(tmp_path, kind, config):
    path = folder(tmp_path, kind.__name__, **config)
    owner, ours = kind.from_pretrained(path), fastllm.load_tokenizer(path)
    for text in TEXTS:
        for add in (False, True):
            expected = owner.encode(text, add_special_tokens=add)
            found = ours.encode(text, allowed_special="all", add_special_tokens=add)
            assert found == expected, (text, add)


def test_a_class_that_splits_in_its_own_way_needs_a_pattern(tmp_path):
    path = folder(tmp_path, "SomeTokenizer")
    with pytest.raises(ValueError, match="does not say how text is split"):
        fastllm.load_tokenizer(path)
    assert fastllm.load_tokenizer(path, pattern="cl100k").pattern == "cl100k"
