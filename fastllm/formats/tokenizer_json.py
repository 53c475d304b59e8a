"""Hugging Face's tokenizer.json: byte-level BPE is read and written, all else refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastllm.corpus.atomic_write import replacing
from fastllm.formats.byte_level import byte_level_ranks, to_bytes, to_characters
from fastllm.formats.components import (
    read_byte_level,
    read_padding,
    read_post_processor,
    read_split,
    read_trimming,
    read_truncation,
    split_component,
    write_padding,
    write_post_processor,
    write_truncation,
)
from fastllm.formats.json_fields import (
    Json,
    kind_of,
    members_of,
    require,
    section_of,
    shown,
    untyped,
)
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import json_text
from fastllm.formats.vocabulary import Merge, Vocabulary
from fastllm.patterns.dialects import to_oniguruma
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern, pattern_of_steps, split_pattern
from fastllm.patterns.steps import Step

GPT2 = split_pattern("gpt2").steps[0]
# Of added tokens: what `Vocabulary.token_rules` says of those of which one is true.
RULES = ("lstrip", "rstrip", "single_word")


def is_tokenizer(file: SourceFile) -> bool:
    """Whether a file is a tokenizer.json: in a vocab.json "model" may be a token, with an id."""
    if not file.should_be_json:
        return False
    return isinstance(file.json, dict) and isinstance(file.json.get("model"), dict)


def read_file(file: SourceFile) -> Vocabulary:
    """What a tokenizer.json says."""
    return read_tokenizer_json(file.json, ignore_post_processor=file.ignore_post_processor)


def read_tokenizer_json(data: object, *, ignore_post_processor: bool = False) -> Vocabulary:
    """What the parsed content of a tokenizer.json says.

    Raises
    ------
    ValueError
        For anything that would change ids and that byte-level BPE here does not do.
    """
    top = untyped(
        data,
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
    model = top["model"]
    if isinstance(model, dict) and model.get("type", "BPE") != "BPE":
        raise ValueError(
            f"model {shown(model['type'])} is not supported; read are BPE, Unigram, "
            "WordLevel and WordPiece"
        )
    _check_decoder(top["decoder"])
    normalization = _read_normalizer(top["normalizer"])
    steps, add_prefix_space = _read_pre_tokenizer(top["pre_tokenizer"])
    # ByteLevel alone, told not to split, leaves all of the text one pre-token.
    pattern = pattern_of_steps(tuple(steps) or (WHOLE_TEXT,), normalization)
    found = _read_model(top["model"], top["added_tokens"], pattern)
    found.add_prefix_space = add_prefix_space
    found.truncation = read_truncation(top["truncation"])
    found.padding = read_padding(top["padding"])
    if not ignore_post_processor:
        found.template = read_post_processor(top["post_processor"])
        found.trimming = read_trimming(top["post_processor"])
    return found


def _check_decoder(value: object) -> None:
    if value is None:
        return
    if (kind := kind_of(value, "decoder")) != "ByteLevel":
        raise ValueError(f"decoder {kind} is not supported")
    read_byte_level(value, "decoder ByteLevel")


def _read_normalizer(value: object) -> Literal["NFC"] | None:
    if value is None:
        return None
    kind = kind_of(value, "normalizer")
    if kind == "NFC":
        section_of(value, "normalizer NFC")
        return "NFC"
    if kind == "Sequence":
        assert isinstance(value, dict)
        members = members_of(value, "normalizers", "normalizer Sequence")
        return "NFC" if {_read_normalizer(member) for member in members} - {None} else None
    raise ValueError(f"normalizer {kind} is not supported")


def _read_pre_tokenizer(value: object) -> tuple[list[str | Step], bool]:
    """The split steps, which must end by turning text into bytes; if a blank is put before text."""
    if value is None:
        raise ValueError("pre_tokenizer null is not supported: only byte-level BPE is")
    members = [value]
    if (kind := kind_of(value, "pre_tokenizer")) == "Sequence":
        assert isinstance(value, dict)
        members = members_of(value, "pretokenizers", "pre_tokenizer Sequence")
        kind = kind_of(members[-1], "pre_tokenizer") if members else "Sequence of nothing"
    steps = [step for member in members[:-1] for step in read_split(member)]
    if kind != "ByteLevel":
        if members:
            read_split(members[-1])
        raise ValueError(f"pre_tokenizer {kind} where ByteLevel should be last is not supported")
    where = "pre_tokenizer ByteLevel"
    byte_level = read_byte_level(members[-1], where)
    if byte_level["add_prefix_space"] and steps:
        raise ValueError(
            f"{where} with add_prefix_space True behind other steps is not supported; alone it is"
        )
    return [*steps, GPT2] if byte_level["use_regex"] else steps, byte_level["add_prefix_space"]


def _read_model(value: object, added: object, pattern: SplitPattern) -> Vocabulary:
    model = section_of(
        value,
        "model",
        dropout=None,
        unk_token=None,
        continuing_subword_prefix=None,
        end_of_word_suffix=None,
        fuse_unk=False,
        byte_fallback=False,
        ignore_merges=False,
        vocab=None,
        merges=None,
    )
    where = "model BPE"
    require(model, where, "dropout", None, 0)
    if model["unk_token"] is not None and not isinstance(model["unk_token"], str):
        raise ValueError(f"{where} has unk_token {shown(model['unk_token'])}, not a text")
    require(model, where, "continuing_subword_prefix", None, "")
    require(model, where, "end_of_word_suffix", None, "")
    require(model, where, "byte_fallback", False)
    require(model, where, "fuse_unk", True, False)
    require(model, where, "ignore_merges", True, False)
    vocab = model["vocab"]
    if not isinstance(vocab, dict) or not isinstance(model["merges"], list):
        raise ValueError(f"{where} has no vocab or no merges")
    tokens = _read_added_tokens(added, vocab)
    ranks = byte_level_ranks(vocab, {token["content"] for token in tokens})
    return Vocabulary(
        ranks=ranks,
        pattern=pattern,
        special_tokens={token["content"]: token["id"] for token in tokens if token["special"]},
        added_tokens={token["content"]: token["id"] for token in tokens if not token["special"]},
        normalized_tokens=frozenset(token["content"] for token in tokens if token["normalized"]),
        token_rules={
            token["content"]: {name: token[name] for name in RULES}
            for token in tokens
            if any(token[name] for name in RULES)
        },
        merges=_read_merges(model["merges"], ranks),
        ignore_merges=model["ignore_merges"],
    )


def _read_added_tokens(value: object, vocab: Mapping[str, int]) -> list[Json]:
    if not isinstance(value, list):
        raise ValueError(f"added_tokens is {shown(value)}, not a list")
    tokens: list[Json] = []
    highest = len(vocab) - 1
    for entry in value:
        token = section_of(
            entry,
            "an added token",
            id=None,
            content=None,
            **dict.fromkeys((*RULES, "normalized", "special")),
        )
        if not isinstance(token["content"], str) or type(token["id"]) is not int:
            raise ValueError(f"added token {shown(token['content'])} needs a content and an id")
        if token in tokens:
            continue  # said again, as files that were put together have it
        where = f"added token {token['content']!r}"
        if any(other["content"] == token["content"] for other in tokens):
            raise ValueError(f"{where} is there twice, and not alike")
        for field in (*RULES, "normalized", "special"):
            require(token, where, field, True, False)
        # Hugging Face does not go by the id: it looks in the vocabulary, or counts on.
        expected = vocab.get(token["content"], highest + 1)
        if token["id"] != expected:
            raise ValueError(
                f"{where} has id {token['id']}, but the library of this format gives it {expected}"
            )
        highest = max(highest, expected)
        tokens.append(token)
    return tokens


def _read_merges(value: list[Any], ranks: Mapping[bytes, int]) -> list[Merge]:
    """Merges written as "a b", or as pairs in newer files."""
    # Nearly all files hold nothing but merges of tokens: looked up, not read anew one by one.
    token_of = {to_characters(token): token for token in ranks}
    try:
        if all(type(entry) is list for entry in value):
            return [(token_of[left], token_of[right]) for left, right in value]
        pairs = [entry.split(" ") for entry in value if not entry.startswith("#version")]
        return [(token_of[left], token_of[right]) for left, right in pairs]
    except (AttributeError, KeyError, TypeError, ValueError):
        return [
            _read_merge(place, entry)
            for place, entry in enumerate(value)
            if not (isinstance(entry, str) and entry.startswith("#version"))
        ]


def _read_merge(place: int, entry: Any) -> Merge:
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or [type(token) for token in parts] != [str, str]:
        raise ValueError(f"merge {place} is {shown(entry)}, not two tokens")
    left, right = map(to_bytes, parts)
    if left is None or right is None:
        raise ValueError(f"merge {place}, {parts}, is not written in byte-level characters")
    return left, right


def write_file(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary as a tokenizer.json; a ValueError if the format cannot hold it."""
    text = json_text(tokenizer_json(vocabulary))
    with replacing(path) as file:
        file.write(text)


def tokenizer_json(vocabulary: Vocabulary) -> Json:
    """A vocabulary as the content of a tokenizer.json.

    Raises
    ------
    ValueError
        If the format cannot hold it.
    """
    pattern = vocabulary.split_pattern
    steps = [_to_oniguruma(step) for step in pattern.steps if step != WHOLE_TEXT]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": vocabulary.add_prefix_space,
        "trim_offsets": True,
        "use_regex": steps == [GPT2],
    }
    if vocabulary.add_prefix_space and steps not in ([], [GPT2]):
        raise ValueError(
            "tokenizer.json holds add_prefix_space only with the pattern gpt2, or with none; this "
            f"is {pattern}"
        )
    single, pair, ids = vocabulary.template or ((), (), {})
    return {
        "version": "1.0",
        "truncation": write_truncation(vocabulary.truncation),
        "padding": write_padding(vocabulary.padding),
        "added_tokens": _added_tokens(vocabulary),
        "normalizer": {"type": pattern.normalization} if pattern.normalization else None,
        "pre_tokenizer": _pre_tokenizer(steps, byte_level),
        "post_processor": write_post_processor(single, pair, ids, vocabulary.trimming),
        "decoder": {**byte_level, "use_regex": True},
        "model": _model(vocabulary),
    }


def _to_oniguruma(step: str | Step) -> str | Step:
    """A step with its expression as the library of this format reads it."""
    if isinstance(step, str):
        return to_oniguruma(step)
    return step._replace(expression=to_oniguruma(step.expression))


def _pre_tokenizer(steps: list[str | Step], byte_level: Json) -> Json:
    """The split steps, then ByteLevel; it splits as GPT-2 does by itself."""
    if steps == [GPT2] or not steps:
        return byte_level
    return {"type": "Sequence", "pretokenizers": [*map(split_component, steps), byte_level]}


def _model(vocabulary: Vocabulary) -> Json:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": vocabulary.ignore_merges,
        "vocab": dict(sorted(_vocab(vocabulary).items(), key=lambda item: item[1])),
        "merges": [
            [to_characters(left), to_characters(right)] for left, right in vocabulary.merges or ()
        ],
    }


def _vocab(vocabulary: Vocabulary) -> dict[str, int]:
    """All tokens in one mapping: added tokens that are not in it would be numbered anew."""
    vocab = {to_characters(token): number for token, number in vocabulary.ranks.items()}
    for text, number in (vocabulary.added_tokens | vocabulary.special_tokens).items():
        if vocab.setdefault(text, number) != number:
            raise ValueError(
                f"tokenizer.json cannot hold both the special token {text!r} and the ordinary "
                f"token with id {vocab[text]}, which it writes alike"
            )
    return vocab


def _added_tokens(vocabulary: Vocabulary) -> list[Json]:
    special, added = vocabulary.special_tokens, vocabulary.added_tokens
    return [
        {
            "id": number,
            "content": text,
            **dict.fromkeys(RULES, False),
            **vocabulary.token_rules.get(text, {}),
            "normalized": text in vocabulary.normalized_tokens,
            "special": text in special,
        }
        for text, number in sorted((special | added).items(), key=lambda item: item[1])
    ]
