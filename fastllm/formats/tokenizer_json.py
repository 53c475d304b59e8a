"""Hugging Face's tokenizer.json: byte-level BPE is read and written, all else refused by name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastllm.corpus.atomic_write import replacing
from fastllm.formats.byte_level import byte_level_ranks, to_bytes, to_characters
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import json_text
from fastllm.formats.vocabulary import Merge, Vocabulary
from fastllm.patterns.dialects import from_oniguruma, to_oniguruma
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern, pattern_of_steps, split_pattern
from fastllm.patterns.steps import Behavior, Step, as_step, digits, punctuation

GPT2 = split_pattern("gpt2").steps[0]
BEHAVIOR_OF: dict[str, Behavior] = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
Json = dict[str, Any]


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
    top = _section(
        data,
        "the file",
        version=None,
        truncation=None,
        padding=None,
        added_tokens=[],
        normalizer=None,
        pre_tokenizer=None,
        post_processor=None,
        decoder=None,
        model=None,
    )
    for name in ("truncation", "padding"):
        _require(top, "the file", name, None)
    _check_decoder(top["decoder"])
    if not ignore_post_processor:
        _check_post_processor(top["post_processor"])
    normalization = _read_normalizer(top["normalizer"])
    steps = _read_pre_tokenizer(top["pre_tokenizer"])
    # ByteLevel alone, told not to split, leaves all of the text one pre-token.
    pattern = pattern_of_steps(tuple(steps) or (WHOLE_TEXT,), normalization)
    return _read_model(top["model"], top["added_tokens"], pattern)


def _section(value: object, where: str, **known: Any) -> Json:
    """The fields of an object, with the default of those that are missing; no others."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {_shown(value)}, not an object")
    for field in value:
        if field not in known and field != "type":
            raise ValueError(f"{where} has {field!r}, which is not supported")
    return known | value


def _require(section: Json, where: str, field: str, *values: Any) -> None:
    """Refuse any value of a field but the given ones."""
    if not any(section[field] is value or section[field] == value for value in values):
        raise ValueError(f"{where} with {field} {_shown(section[field])} is not supported")


def _shown(value: object) -> str:
    """A value as messages show it: short."""
    if isinstance(value, dict):
        return f"an object of type {value['type']!r}" if "type" in value else "an object"
    text = repr(value)
    return text if len(text) <= 40 else text[:36] + " ..."


def _kind(value: object, where: str) -> str:
    """The type that a component names."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"{where} is {_shown(value)}, not an object with a type")
    return kind


def _members(value: Json, field: str, where: str) -> list[Any]:
    """The components of a Sequence."""
    members = _section(value, where, **{field: None})[field]
    if not isinstance(members, list):
        raise ValueError(f"{where} has no list of {field}")
    return members


def _check_byte_level(value: object, where: str) -> Json:
    """A ByteLevel component, its fields checked for being known."""
    return _section(value, where, add_prefix_space=True, trim_offsets=True, use_regex=True)


def _check_decoder(value: object) -> None:
    if value is None:
        return
    if (kind := _kind(value, "decoder")) != "ByteLevel":
        raise ValueError(f"decoder {kind} is not supported")
    _check_byte_level(value, "decoder ByteLevel")


def _check_post_processor(value: object) -> None:
    """ByteLevel only trims offsets; others add tokens."""
    if value is None:
        return
    if (kind := _kind(value, "post_processor")) != "ByteLevel":
        raise ValueError(
            f"post_processor {kind} is not supported: it adds tokens to each text. "
            "ignore_post_processor=True reads the file without it"
        )
    _check_byte_level(value, "post_processor ByteLevel")


def _read_normalizer(value: object) -> Literal["NFC"] | None:
    if value is None:
        return None
    kind = _kind(value, "normalizer")
    if kind == "NFC":
        _section(value, "normalizer NFC")
        return "NFC"
    if kind == "Sequence":
        assert isinstance(value, dict)
        members = _members(value, "normalizers", "normalizer Sequence")
        return "NFC" if {_read_normalizer(member) for member in members} - {None} else None
    raise ValueError(f"normalizer {kind} is not supported")


def _read_pre_tokenizer(value: object) -> list[str | Step]:
    """The split steps of a pre-tokenizer, which must end by turning text into bytes."""
    if value is None:
        raise ValueError("pre_tokenizer null is not supported: only byte-level BPE is")
    members = [value]
    if (kind := _kind(value, "pre_tokenizer")) == "Sequence":
        assert isinstance(value, dict)
        members = _members(value, "pretokenizers", "pre_tokenizer Sequence")
        kind = _kind(members[-1], "pre_tokenizer") if members else "Sequence of nothing"
    steps = [step for member in members[:-1] for step in _read_split(member)]
    if kind != "ByteLevel":
        if members:
            _read_split(members[-1])
        raise ValueError(f"pre_tokenizer {kind} where ByteLevel should be last is not supported")
    where = "pre_tokenizer ByteLevel"
    byte_level = _check_byte_level(members[-1], where)
    _require(byte_level, where, "add_prefix_space", False)
    _require(byte_level, where, "use_regex", True, False)
    return [*steps, GPT2] if byte_level["use_regex"] else steps


def _read_split(value: object) -> list[str | Step]:
    """The step of a pre-tokenizer that only splits."""
    kind = _kind(value, "pre_tokenizer")
    where = f"pre_tokenizer {kind}"
    if kind == "Digits":
        section = _section(value, where, individual_digits=False)
        _require(section, where, "individual_digits", True, False)
        return [digits(section["individual_digits"])]
    if kind == "Punctuation":
        section = _section(value, where, behavior="Isolated")
        _require(section, where, "behavior", *BEHAVIOR_OF)
        return [punctuation(BEHAVIOR_OF[section["behavior"]])]
    if kind != "Split":
        raise ValueError(f"{where} is not supported")
    section = _section(value, where, pattern=None, behavior=None, invert=False)
    _require(section, where, "behavior", *BEHAVIOR_OF)
    _require(section, where, "invert", True, False)
    expression = _read_split_pattern(section["pattern"], where)
    return [Step(expression, BEHAVIOR_OF[section["behavior"]], section["invert"])]


def _read_split_pattern(value: object, where: str) -> str:
    section = _section(value, f"{where} pattern", Regex=None, String=None)
    regex, string = section["Regex"], section["String"]
    if isinstance(string, str) and regex is None:
        return re.escape(string)
    if isinstance(regex, str) and string is None:
        return from_oniguruma(regex)
    raise ValueError(f"{where} has neither a Regex nor a String as its pattern")


def _read_model(value: object, added: object, pattern: SplitPattern) -> Vocabulary:
    model = _section(
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
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"model {_shown(model['type'])} is not supported")
    where = "model BPE"
    _require(model, where, "dropout", None, 0)
    _require(model, where, "unk_token", None)
    _require(model, where, "continuing_subword_prefix", None, "")
    _require(model, where, "end_of_word_suffix", None, "")
    _require(model, where, "byte_fallback", False)
    _require(model, where, "ignore_merges", True, False)
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
        merges=_read_merges(model["merges"], ranks),
        ignore_merges=model["ignore_merges"],
    )


def _read_added_tokens(value: object, vocab: Mapping[str, int]) -> list[Json]:
    if not isinstance(value, list):
        raise ValueError(f"added_tokens is {_shown(value)}, not a list")
    tokens: list[Json] = []
    highest = len(vocab) - 1
    for entry in value:
        token = _section(
            entry,
            "an added token",
            id=None,
            content=None,
            single_word=False,
            lstrip=False,
            rstrip=False,
            normalized=True,
            special=False,
        )
        if not isinstance(token["content"], str) or type(token["id"]) is not int:
            raise ValueError(f"added token {_shown(token['content'])} needs a content and an id")
        if token in tokens:
            continue  # said again, as files that were put together have it
        where = f"added token {token['content']!r}"
        for field in ("single_word", "lstrip", "rstrip"):
            _require(token, where, field, False)
        for field in ("normalized", "special"):
            _require(token, where, field, True, False)
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
        raise ValueError(f"merge {place} is {_shown(entry)}, not two tokens")
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
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": steps == [GPT2],
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(vocabulary),
        "normalizer": {"type": pattern.normalization} if pattern.normalization else None,
        "pre_tokenizer": _pre_tokenizer(steps, byte_level),
        "post_processor": None,
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
    return {"type": "Sequence", "pretokenizers": [*map(_split_component, steps), byte_level]}


def _split_component(step: str | Step) -> Json:
    """A step as a component of the format."""
    for name, behavior in BEHAVIOR_OF.items():
        if step == punctuation(behavior):
            return {"type": "Punctuation", "behavior": name}
    expression, behavior, invert = as_step(step)
    name = next(name for name, known in BEHAVIOR_OF.items() if known == behavior)
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": name, "invert": invert}


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
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": text in vocabulary.normalized_tokens,
            "special": text in special,
        }
        for text, number in sorted((special | added).items(), key=lambda item: item[1])
    ]
