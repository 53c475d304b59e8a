"""Open vocabularies, by small stand-ins of the same shape."""

import json

import pytest
from published_patterns import SCANNED as NAMED
from vocabularies import BYTES, TOY, tiktoken_file

from fastllm import get_encoding
from fastllm.formats.byte_level import to_characters
from fastllm.patterns.named import pattern_of_steps
from fastllm.vocabularies import open_vocabularies
from fastllm.vocabularies.open_vocabularies import OpenVocabulary

RULES = ("single_word", "lstrip", "rstrip", "normalized")


def write_json(path, tokens, merges, pattern, added, post_processor=None):
    named = NAMED[pattern]
    splits = [
        {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}
        for step in named.steps
    ]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": False,
    }
    model = {
        "type": "BPE",
        "vocab": tokens,
        "merges": [list(merge) for merge in merges],
        "ignore_merges": False,
    }
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": n, "content": t, **dict.fromkeys(RULES, False), "special": s}
            for t, n, s in added
        ],
        "normalizer": {"type": "NFC"} if named.normalization else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, byte_level]},
        "post_processor": post_processor,
        "decoder": None,
        "model": model,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


SMALL = {to_characters(token): rank for token, rank in BYTES.items()} | {"th": 256}


@pytest.fixture
def small(monkeypatch):
    """Shapes of 257 ordinary tokens under the real names."""

    def shrink(name, has):
        real = open_vocabularies.OPEN_VOCABULARIES[name]
        shape = OpenVocabulary(real.file, real.pattern, 257, has)
        monkeypatch.setitem(open_vocabularies.OPEN_VOCABULARIES, name, shape)

    return shrink


@pytest.mark.parametrize("name", ["llama3", "qwen3", "deepseek-v3", "smollm2"])
def test_a_tokenizer_json_of_the_right_shape_is_read(name, small, tmp_path):
    small(name, {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    pattern = open_vocabularies.OPEN_VOCABULARIES[name].pattern
    write_json(path, SMALL, [("t", "h")], pattern, [("<s>", 257, True), ("<a>", 258, False)])
    tokenizer = get_encoding(name, path)
    assert tokenizer.split_pattern == NAMED[pattern]
    assert tokenizer.encode("th<s><a>", allowed_special="all") == [256, 257, 258]


@pytest.mark.parametrize(
    ("pattern", "added", "message"),
    [
        ("gpt2", [("<s>", 257, True)], "this is not qwen2: it splits text by gpt2, not by qwen2"),
        ("qwen2", [], "this is not qwen2: '<s>' is missing and should have id 257"),
        ("qwen2", [("<t>", 257, True), ("<s>", 258, True)], "'<s>' has id 258 and should have"),
    ],
)
def test_a_tokenizer_json_of_another_shape_is_refused(pattern, added, message, small, tmp_path):
    small("qwen2", {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    write_json(path, SMALL, [("t", "h")], pattern, added)
    with pytest.raises(ValueError, match=message) as caught:
        get_encoding("qwen2", path)
    assert str(path) in str(caught.value)


def test_a_file_with_another_number_of_tokens_is_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(TOY)
    with pytest.raises(ValueError, match="this is not llama3: it has 258 ordinary tokens, not 128"):
        get_encoding("llama3", path)


def test_what_a_post_processor_would_add_is_not_added(small, tmp_path):
    small("llama3", {"<s>": 257})
    path = tmp_path / "tokenizer.json"
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}],
        "pair": [],
        "special_tokens": {},
    }
    write_json(path, SMALL, [("t", "h")], "llama3", [("<s>", 257, True)], template)
    assert get_encoding("llama3", path).encode("th") == [256]


def test_line_ends_and_quotation_marks_of_a_pattern_may_be_spelled_otherwise():
    steps = NAMED["deepseek-v3"].steps
    spelled = tuple(
        step.replace(r"\r", "\r").replace(r"\n", "\n").replace(r"\"", '"') for step in steps
    )
    assert spelled != steps
    assert pattern_of_steps(spelled) == NAMED["deepseek-v3"]


def synthetic_ranks(count):
    """As many different tokens as a real file has; most are of no use."""
    longer = (b"%06x" % number for number in range(count - 256))
    return BYTES | {token: rank for rank, token in enumerate(longer, 256)}


@pytest.mark.parametrize(
    ("name", "count", "tokens"),
    [
        ("llama3", 128_000, {"<|eot_id|>": 128_009, "<|reserved_special_token_245|>": 128_255}),
        ("qwen2", 151_643, {"<|im_end|>": 151_645}),
        ("qwen2.5", 151_643, {"<|video_pad|>": 151_656, "<|file_sep|>": 151_664}),
        ("qwen3", 151_643, {"<think>": 151_667, "</think>": 151_668}),
    ],
)  # fmt: skip
def test_a_file_of_ranks_gets_the_tokens_it_does_not_name(name, count, tokens, tmp_path):
    path = tmp_path / "ranks"
    path.write_bytes(tiktoken_file(synthetic_ranks(count)))
    tokenizer = get_encoding(name, path)
    for text, number in tokens.items():
        assert tokenizer.encode(f"a{text}", allowed_special="all") == [97, number]
    assert tokenizer.max_token_value == max(tokens.values())
