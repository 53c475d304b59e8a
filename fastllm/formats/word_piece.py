"""WordPiece's files: a tokenizer.json of that kind, and BERT's vocab.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastllm.api.normalizers import BertNormalizer
from fastllm.corpus.atomic_write import replacing
from fastllm.formats import components
from fastllm.formats.json_fields import (
    Json,
    flags,
    kind_of,
    require,
    section_of,
    shown,
    text_of,
    untyped,
)
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import json_text, parse_json
from fastllm.patterns.code_points import class_ranges

BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONFIG = "tokenizer_config.json"
SPACE = "".join(chr(c) for a, b in class_ranges("White_Space") for c in range(a, b + 1))

# --- tokenizer.json ------------------------------------------------------------------------------


def is_tokenizer(file: SourceFile) -> bool:
    """Whether a file is a tokenizer.json whose model is WordPiece."""
    if not file.should_be_json or not isinstance(file.json, dict):
        return False
    model = file.json.get("model")
    return isinstance(model, dict) and model.get("type") == "WordPiece"


def read_file(file: SourceFile) -> Json:
    """What a tokenizer.json says, as arguments of `WordPieceTokenizer`."""
    top = untyped(
        file.json,
        "the file",
        version="1.0",
        truncation=None,
        padding=None,
        added_tokens=[],
        normalizer=None,
        pre_tokenizer=None,
        post_processor=None,
        decoder=None,
        model=None,
    )
    require(top, "the file", "version", "1.0")
    where = "model WordPiece"
    model = section_of(
        top["model"],
        where,
        unk_token=None,
        continuing_subword_prefix=None,
        max_input_chars_per_word=None,
        vocab=None,
    )
    vocabulary = components.vocabulary_of(model, where)
    longest = model["max_input_chars_per_word"]
    if type(longest) is not int:
        raise ValueError(f"{where} has max_input_chars_per_word {shown(longest)}")
    return {
        "vocabulary": vocabulary,
        "unknown": text_of(model, "unk_token", where),
        "prefix": text_of(model, "continuing_subword_prefix", where),
        "max_word_characters": longest,
        "normalizer": components.read_normalizer(top["normalizer"]),
        "pattern": components.read_pre_tokenizer(top["pre_tokenizer"]),
        "added_tokens": components.read_added_tokens(top["added_tokens"], vocabulary),
        "template": components.read_post_processor(top["post_processor"]),
        "trimming": components.read_trimming(top["post_processor"]),
        "truncation": components.read_truncation(top["truncation"]),
        "padding": components.read_padding(top["padding"]),
        **_read_decoder(top["decoder"]),
    }


def _read_decoder(value: object) -> Json:
    if value is None:
        return {"decoder": None}
    kind = kind_of(value, "decoder")
    if kind != "WordPiece":
        raise ValueError(f"decoder {kind} is not supported with WordPiece; WordPiece or null is")
    section = section_of(value, "decoder WordPiece", prefix=None, cleanup=None)
    return {
        "decoder": "wordpiece",
        "decoder_prefix": text_of(section, "prefix", "decoder WordPiece"),
        "clean_up": flags({"cleanup": section["cleanup"]}, "decoder WordPiece", "cleanup")[
            "cleanup"
        ],
    }


def tokenizer_json(settings: Mapping[str, Any]) -> Json:
    """The arguments of a `WordPieceTokenizer` as the content of a tokenizer.json."""
    template = settings["template"]
    decoder = settings["decoder"] and {
        "type": "WordPiece",
        "prefix": settings["decoder_prefix"],
        "cleanup": settings["clean_up"],
    }
    vocabulary = settings["vocabulary"]
    return {
        "version": "1.0",
        "truncation": components.write_truncation(settings["truncation"]),
        "padding": components.write_padding(settings["padding"]),
        "added_tokens": components.write_added_tokens(settings["added_tokens"]),
        "normalizer": components.write_normalizer(settings["normalizer"]),
        "pre_tokenizer": components.write_pre_tokenizer(settings["pattern"]),
        "post_processor": components.write_post_processor(
            template.single, template.pair, template.ids, settings["trimming"]
        ),
        "decoder": decoder,
        "model": {
            "type": "WordPiece",
            "unk_token": settings["unknown"],
            "continuing_subword_prefix": settings["prefix"],
            "max_input_chars_per_word": settings["max_word_characters"],
            "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
        },
    }


# --- vocab.txt -----------------------------------------------------------------------------------


def is_vocab_txt(file: SourceFile) -> bool:
    """Whether a file is a vocab.txt: a token a line, one of them "[UNK]"."""
    return file.path.suffix == ".txt" and b"[UNK]" in file.data.split()


def read_vocab_txt(file: SourceFile) -> Json:
    """What a vocab.txt says, and a tokenizer_config.json beside it."""
    vocabulary: dict[str, int] = {}
    lines = file.text.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines):
        token = line.rstrip(SPACE)
        if token:  # an empty one is never found
            vocabulary[token] = number  # of several, the last
    config = _config_beside(file.path)
    unknown = config.get("unk_token", "[UNK]")
    return {
        "vocabulary": vocabulary,
        "unknown": unknown,
        "normalizer": BertNormalizer(
            handle_chinese_chars=config.get("tokenize_chinese_chars", True),
            strip_accents=config.get("strip_accents"),
            lowercase=config.get("do_lower_case", True),
        ),
        "added_tokens": {
            token: {"id": vocabulary[token], "special": True}
            for token in BERT_TOKENS
            if token in vocabulary
        },
        "template": _bert_template(vocabulary),
    }


def _bert_template(vocabulary: Mapping[str, int]) -> Any:
    if not {"[CLS]", "[SEP]"} <= vocabulary.keys():
        return None
    single = [("[CLS]", 0, False), ("A", 0, True), ("[SEP]", 0, False)]
    ids = {token: [vocabulary[token]] for token in ("[CLS]", "[SEP]")}
    return single, [*single, ("B", 1, True), ("[SEP]", 1, False)], ids


def _config_beside(path: Path) -> Json:
    """What a tokenizer_config.json in the same folder says of BERT's normalizer."""
    beside = path.with_name(CONFIG)
    config = parse_json(beside.read_bytes()) if beside.is_file() else {}
    return config if isinstance(config, dict) else {}


def vocab_txt(settings: Mapping[str, Any]) -> str:
    """The tokens, one a line; a ValueError if they cannot be read back with their ids."""
    by_id = {number: token for token, number in settings["vocabulary"].items()}
    lines = [by_id.get(number, "") for number in range(max(by_id) + 1)]
    for line in lines:
        if line != line.rstrip(SPACE) or "\n" in line:
            raise ValueError(f"a vocab.txt cannot hold {line!r}: lines lose white space at the end")
    return "".join(f"{line}\n" for line in lines)


# --- Both ----------------------------------------------------------------------------------------


def write_file(settings: Mapping[str, Any], path: Path) -> None:
    """Write a tokenizer to a file of the format that its name asks for."""
    if path.suffix == ".json":
        text = json_text(tokenizer_json(settings))
    elif path.suffix == ".txt":
        text = vocab_txt(settings)
    else:
        raise ValueError(
            f"{path}: a WordPiece tokenizer is saved as .json (Hugging Face's tokenizer.json) or "
            ".txt (BERT's vocab.txt, the tokens alone)"
        )
    with replacing(path) as file:
        file.write(text)
