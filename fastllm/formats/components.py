"""The components of a tokenizer.json beside the model: each as data here, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastllm.api import normalizers as steps
from fastllm.api.normalizers import Normalizer
from fastllm.formats.json_fields import (
    Json,
    flags,
    kind_of,
    members_of,
    require,
    require_count,
    require_flag,
    section_of,
    shown,
    text_of,
    untyped,
)
from fastllm.patterns.dialects import from_oniguruma, to_oniguruma
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern
from fastllm.patterns.pretokenizers import NAMED_PRETOKENIZERS
from fastllm.patterns.steps import (
    BEHAVIORS,
    Behavior,
    Step,
    as_step,
    check_step,
    digits,
    punctuation,
)

BEHAVIOR_OF: dict[str, Behavior] = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}
OWNERS_NAMES = {
    "BertPreTokenizer": "bert",
    "Whitespace": "whitespace",
    "WhitespaceSplit": "whitespace-split",
}

# Lines of nothing but marks. To the owner's engine "^" and "$" are at each line; this says so.
MARKS_ALONE, MARKS_ALONE_HERE = "^▁+$", r"(?<![^\n])▁+(?![^\n])"

# --- Normalizers ---------------------------------------------------------------------------------


def read_normalizer(value: object) -> tuple[Normalizer, ...]:
    """The steps of a normalizer."""
    if value is None:
        return ()
    kind = kind_of(value, "normalizer")
    where = f"normalizer {kind}"
    assert isinstance(value, dict)
    if kind == "Sequence":
        members = members_of(value, "normalizers", where)
        return tuple(step for member in members for step in read_normalizer(member))
    if kind in steps.FORMS:
        section_of(value, where)
        return (steps.UnicodeForm(kind),)
    if kind == "Lowercase":
        section_of(value, where)
        return (steps.Lowercase(),)
    if kind == "StripAccents":
        section_of(value, where)
        return (steps.StripAccents(),)
    if kind == "Strip":
        section = flags(value, where, "strip_left", "strip_right")
        return (steps.Strip(section["strip_left"], section["strip_right"]),)
    if kind == "Prepend":
        return (steps.Prepend(text_of(section_of(value, where, prepend=None), "prepend", where)),)
    if kind == "Replace":
        section = section_of(value, where, pattern=None, content=None)
        content = text_of(section, "content", where)
        pattern = section["pattern"]
        if isinstance(pattern, dict) and [*pattern] == ["String"]:
            if not pattern["String"]:
                raise ValueError(f"{where} of an empty String is not supported")
            return (steps.Replace(text_of(pattern, "String", where), content),)
        if pattern == {"Regex": MARKS_ALONE}:  # as SeamlessM4T has it
            return (steps.Replace(MARKS_ALONE_HERE, content, is_regex=True),)
        return (steps.Replace(expression_of(pattern, where), content, is_regex=True),)
    if kind == "BertNormalizer":
        return (read_bert_normalizer(value, where),)
    raise ValueError(
        f"{where} is not supported; read are {', '.join(steps.FORMS)}, Lowercase, Strip, "
        "StripAccents, Prepend, Replace, BertNormalizer and a Sequence of them"
    )


def read_bert_normalizer(value: Json, where: str) -> steps.BertNormalizer:
    section = section_of(
        value,
        where,
        clean_text=None,
        handle_chinese_chars=None,
        strip_accents=None,
        lowercase=None,
    )
    for name in ("clean_text", "handle_chinese_chars", "lowercase"):
        require_flag(section, where, name)
    if section["strip_accents"] is not None:
        require_flag(section, where, "strip_accents")
    return steps.BertNormalizer(
        section["clean_text"],
        section["handle_chinese_chars"],
        section["strip_accents"],
        section["lowercase"],
    )


def write_normalizer(normalizer: Sequence[Normalizer]) -> Json | None:
    """A normalizer as the file has it."""
    written = [_write_step(step) for step in normalizer]
    if len(written) > 1:
        return {"type": "Sequence", "normalizers": written}
    return written[0] if written else None


def _write_step(step: Normalizer) -> Json:
    if isinstance(step, steps.UnicodeForm):
        return {"type": step.form}
    if isinstance(step, steps.Strip):
        return {"type": "Strip", "strip_left": step.left, "strip_right": step.right}
    if isinstance(step, steps.Prepend):
        return {"type": "Prepend", "prepend": step.text}
    if isinstance(step, steps.Replace):
        pattern = to_oniguruma(step.pattern) if step.is_regex else step.pattern
        kind = "Regex" if step.is_regex else "String"
        return {"type": "Replace", "pattern": {kind: pattern}, "content": step.content}
    if isinstance(step, steps.BertNormalizer):
        return {
            "type": "BertNormalizer",
            "clean_text": step.clean_text,
            "handle_chinese_chars": step.handle_chinese_chars,
            "strip_accents": step.strip_accents,
            "lowercase": step.lowercase,
        }
    return {"type": type(step).__name__}


# --- Pre-tokenizers ------------------------------------------------------------------------------


def read_pre_tokenizer(value: object) -> SplitPattern:
    """The split pattern of a pre-tokenizer."""
    steps = tuple(_read_pre_tokenizer(value))
    for pattern in NAMED_PRETOKENIZERS.values():
        if pattern.steps == steps:
            return pattern
    return SplitPattern(steps or (WHOLE_TEXT,))


def _read_pre_tokenizer(value: object) -> list[str | Step]:
    if value is None:
        return []
    kind = kind_of(value, "pre_tokenizer")
    where = f"pre_tokenizer {kind}"
    assert isinstance(value, dict)
    if kind == "Sequence":
        members = members_of(value, "pretokenizers", where)
        return [step for member in members for step in _read_pre_tokenizer(member)]
    if kind in OWNERS_NAMES:
        section_of(value, where)
        return list(NAMED_PRETOKENIZERS[OWNERS_NAMES[kind]].steps)
    if kind == "Digits":
        flags(value, where, "individual_digits")
    elif kind == "Split":
        untyped(value.get("pattern"), where, Regex=None, String=None)
    elif kind != "Punctuation":
        raise ValueError(
            f"{where} is not supported here; read are BertPreTokenizer, Whitespace, "
            "WhitespaceSplit, Punctuation, Digits, Split and a Sequence of them"
        )
    return read_split(value)


def read_split(value: object) -> list[str | Step]:
    """The step of a pre-tokenizer that only splits."""
    kind = kind_of(value, "pre_tokenizer")
    where = f"pre_tokenizer {kind}"
    if kind == "Digits":
        section = section_of(value, where, individual_digits=None)
        require(section, where, "individual_digits", True, False)
        return [digits(section["individual_digits"])]
    if kind == "Punctuation":
        section = section_of(value, where, behavior="Isolated")
        require(section, where, "behavior", *BEHAVIOR_OF)
        return [punctuation(BEHAVIOR_OF[section["behavior"]])]
    if kind != "Split":
        raise ValueError(f"{where} is not supported")
    section = section_of(value, where, pattern=None, behavior=None, invert=None)
    require(section, where, "behavior", *BEHAVIOR_OF)
    require(section, where, "invert", True, False)
    expression = read_split_pattern(section["pattern"], where)
    return [Step(expression, BEHAVIOR_OF[section["behavior"]], section["invert"])]


def read_split_pattern(value: object, where: str) -> str:
    section = section_of(value, f"{where} pattern", Regex=None, String=None)
    regex, string = section["Regex"], section["String"]
    if isinstance(string, str) and regex is None:
        return re.escape(string)
    if isinstance(regex, str) and string is None:
        return from_oniguruma(regex)
    raise ValueError(f"{where} has neither a Regex nor a String as its pattern")


def split_component(step: str | Step) -> Json:
    """A step as a component of the format."""
    for name, behavior in BEHAVIOR_OF.items():
        if step == punctuation(behavior):
            return {"type": "Punctuation", "behavior": name}
    expression, behavior, invert = as_step(step)
    name = next(name for name, known in BEHAVIOR_OF.items() if known == behavior)
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": name, "invert": invert}


def write_pre_tokenizer(pattern: SplitPattern) -> Json | None:
    """A split pattern as the file has it; a ValueError if it cannot."""
    steps, written = [step for step in pattern.steps if step != WHOLE_TEXT], []
    while steps:
        for name, found in OWNERS_NAMES.items():  # those of most steps come first
            known = NAMED_PRETOKENIZERS[found].steps
            if tuple(steps[: len(known)]) == known:
                written.append({"type": name})
                del steps[: len(known)]
                break
        else:
            written.append(split_component(_in_owners_syntax(steps.pop(0))))
    if len(written) > 1:
        return {"type": "Sequence", "pretokenizers": written}
    return written[0] if written else None


def _in_owners_syntax(step: str | Step) -> str | Step:
    """A step as Oniguruma reads it, if it has no component of its own."""
    if step in (punctuation(behavior) for behavior in BEHAVIORS):
        return step
    expression, behavior, invert = as_step(step)
    return check_step(Step(to_oniguruma(expression), behavior, invert))


# --- Post-processors -----------------------------------------------------------------------------

# Parts of a template: the name, the type, and whether it is a text.
Parts = list[tuple[str, int, bool]]


def read_post_processor(value: object) -> tuple[Parts, Parts, dict[str, list[int]]] | None:
    """What surrounds one text and two, and the ids of the special tokens; None for nothing."""
    if value is None:
        return None
    kind = kind_of(value, "post_processor")
    where = f"post_processor {kind}"
    assert isinstance(value, dict)
    if kind == "Sequence":
        found = [read_post_processor(each) for each in members_of(value, "processors", where)]
        templates = [each for each in found if each is not None]
        if len(templates) > 1:
            raise ValueError(f"{where} of several that add tokens is not supported")
        return templates[0] if templates else None
    if kind == "ByteLevel":  # it only says where tokens stand
        read_byte_level(value, where)
        return None
    if kind in ("BertProcessing", "RobertaProcessing"):
        return _read_pair_processor(value, kind, where)
    if kind == "TemplateProcessing":
        return _read_template(value, where)
    raise ValueError(f"{where} is not supported")


def _read_pair_processor(
    value: Json, kind: str, where: str
) -> tuple[Parts, Parts, dict[str, list[int]]]:
    roberta = kind == "RobertaProcessing"
    offsets = dict.fromkeys(("trim_offsets", "add_prefix_space")) if roberta else {}
    section = section_of(value, where, sep=None, cls=None, **offsets)
    for name in offsets:
        require_flag(section, where, name)
    ids: dict[str, list[int]] = {}
    names = []
    for field in ("cls", "sep"):
        pair = section[field]
        if not (isinstance(pair, list) and [type(each) for each in pair] == [str, int]):
            raise ValueError(f"{where} has {field} {shown(pair)}, not a token and its id")
        names.append(pair[0])
        if ids.setdefault(pair[0], [pair[1]]) != [pair[1]]:
            raise ValueError(f"{where} gives {pair[0]!r} two ids")
    cls, sep = names
    second = 0 if roberta else 1
    single = [(cls, 0, False), ("A", 0, True), (sep, 0, False)]
    between = [(sep, 0, False)] if roberta else []
    return single, [*single, *between, ("B", second, True), (sep, second, False)], ids


def _read_template(value: Json, where: str) -> tuple[Parts, Parts, dict[str, list[int]]]:
    section = section_of(value, where, single=None, pair=None, special_tokens=None)
    ids: dict[str, list[int]] = {}
    tokens = section["special_tokens"]
    if not isinstance(tokens, dict):
        raise ValueError(f"{where} has no special_tokens")
    for name, entry in tokens.items():
        token = untyped(entry, f"{where} token {name!r}", id=None, ids=None, tokens=None)
        numbers, texts = token["ids"], token["tokens"]
        if not (
            token["id"] == name
            and isinstance(numbers, list)
            and all(type(number) is int for number in numbers)
            and isinstance(texts, list)
            and all(isinstance(text, str) for text in texts)
            and len(texts) == len(numbers)
        ):
            raise ValueError(f"{where} token {name!r} needs its id, ids and tokens")
        ids[name] = numbers
    return _read_parts(section["single"], where), _read_parts(section["pair"], where), ids


def _read_parts(value: object, where: str) -> Parts:
    if not isinstance(value, list):
        raise ValueError(f"{where} has a template {shown(value)}, not a list")
    parts: Parts = []
    for entry in value:
        part = untyped(entry, f"{where} part", SpecialToken=None, Sequence=None)
        is_text = part["SpecialToken"] is None
        named = untyped(
            part["Sequence" if is_text else "SpecialToken"], f"{where} part", id=None, type_id=None
        )
        if (is_text and named["id"] not in ("A", "B")) or len(entry) != 1:
            raise ValueError(f"{where} has the part {shown(entry)}")
        type_id = named["type_id"]
        if not isinstance(named["id"], str) or type(type_id) is not int:
            raise ValueError(f"{where} has a part without id or type_id")
        if not 0 <= type_id < 1 << 32:
            raise ValueError(f"{where} has the type_id {type_id}, which is not of 32 bits")
        parts.append((named["id"], type_id, is_text))
    return parts


def read_byte_level(value: object, where: str) -> Json:
    """A ByteLevel component, its fields checked for being known."""
    section = section_of(value, where, add_prefix_space=None, trim_offsets=None, use_regex=True)
    for field in ("add_prefix_space", "trim_offsets", "use_regex"):
        require(section, where, field, True, False)
    return section


def read_trimming(value: object) -> bool | None:
    """Whether tokens stand without their blanks, but for one that may have been added.

    >>> read_trimming({"type": "ByteLevel", "trim_offsets": True, "add_prefix_space": False})
    False
    >>> read_trimming(None)
    """
    if not isinstance(value, dict):
        return None
    kind = kind_of(value, "post_processor")
    if kind == "Sequence":
        found = map(read_trimming, members_of(value, "processors", f"post_processor {kind}"))
        return next((each for each in found if each is not None), None)
    if kind not in ("ByteLevel", "RobertaProcessing") or not value.get("trim_offsets", True):
        return None
    return bool(value.get("add_prefix_space", True))


def write_post_processor(
    single: Sequence[Sequence[Any]],
    pair: Sequence[Sequence[Any]],
    ids: Mapping[str, Sequence[int]],
    trimming: bool | None = None,
) -> Json | None:
    """A template and a trimming as the file has them; None if there is neither."""
    written = [] if trimming is None else [_trimming(trimming)]
    written += [_template(single, pair, ids)] if ids else []
    if len(written) > 1:
        return {"type": "Sequence", "processors": written}
    return written[0] if written else None


def _trimming(add_prefix_space: bool) -> Json:
    return {
        "type": "ByteLevel",
        "add_prefix_space": add_prefix_space,
        "trim_offsets": True,
        "use_regex": True,
    }


def _template(
    single: Sequence[Sequence[Any]], pair: Sequence[Sequence[Any]], ids: Mapping[str, Sequence[int]]
) -> Json:

    def written(parts: Sequence[Sequence[Any]]) -> list[Json]:
        return [
            {"Sequence" if is_text else "SpecialToken": {"id": name, "type_id": type_id}}
            for name, type_id, is_text in parts
        ]

    return {
        "type": "TemplateProcessing",
        "single": written(single),
        "pair": written(pair),
        "special_tokens": {
            name: {"id": name, "ids": list(numbers), "tokens": [name] * len(numbers)}
            for name, numbers in ids.items()
        },
    }


# --- Added tokens, truncation, padding -----------------------------------------------------------

RULES = ("special", "lstrip", "rstrip", "single_word", "normalized")


def read_added_tokens(value: object, vocabulary: Mapping[str, int]) -> dict[str, Json]:
    """The added tokens: of each its id and its rules."""
    if not isinstance(value, list):
        raise ValueError(f"added_tokens is {shown(value)}, not a list")
    tokens: dict[str, Json] = {}
    highest = len(vocabulary) - 1
    for entry in value:
        token = untyped(entry, "an added token", id=None, content=None, **dict.fromkeys(RULES))
        content = token["content"]
        if not isinstance(content, str) or not content or type(token["id"]) is not int:
            raise ValueError(f"added token {shown(content)} needs a content and an id")
        where = f"added token {content!r}"
        for field in RULES:
            require_flag(token, where, field)
        # Hugging Face does not go by the id: it looks in the vocabulary, or counts on.
        expected = vocabulary.get(content, highest + 1)
        rules = {"id": token["id"], **{field: token[field] for field in RULES}}
        if tokens.get(content, rules) != rules:
            raise ValueError(f"{where} is there twice, and not alike")
        if content in tokens:
            continue
        if token["id"] != expected:
            raise ValueError(
                f"{where} has id {token['id']}, but the library of this format gives it {expected}"
            )
        highest = max(highest, expected)
        tokens[content] = rules
    return tokens


def write_added_tokens(tokens: Mapping[str, Json]) -> list[Json]:
    """Added tokens as the file has them, by their ids."""
    return [
        {"id": rules["id"], "content": content, **{field: rules[field] for field in RULES}}
        for content, rules in sorted(tokens.items(), key=lambda item: item[1]["id"])
    ]


STRATEGY_OF = {
    "LongestFirst": "longest_first",
    "OnlyFirst": "only_first",
    "OnlySecond": "only_second",
}


def read_truncation(value: object) -> Json | None:
    """How the file cuts encodings off, checked for its form."""
    if value is None:
        return None
    where = "truncation"
    section = untyped(value, where, direction="Right", max_length=None, strategy=None, stride=None)
    require(section, where, "direction", "Left", "Right")
    require(section, where, "strategy", *STRATEGY_OF)
    require_count(section, where, "max_length")
    require_count(section, where, "stride")
    if section["max_length"] and section["stride"] >= section["max_length"]:
        raise ValueError("truncation has a stride that is not below its max_length")
    return {
        "max_length": section["max_length"],
        "strategy": STRATEGY_OF[section["strategy"]],
        "stride": section["stride"],
        "direction": section["direction"].lower(),
    }


def write_truncation(truncation: Json | None) -> Json | None:
    """A truncation as the file has it."""
    if truncation is None:
        return None
    names = {ours: name for name, ours in STRATEGY_OF.items()}
    return {
        "direction": truncation["direction"].capitalize(),
        "max_length": truncation["max_length"],
        "strategy": names[truncation["strategy"]],
        "stride": truncation["stride"],
    }


def read_padding(value: object) -> Json | None:
    """How the file fills encodings up, checked for its form."""
    if value is None:
        return None
    where = "padding"
    section = untyped(
        value,
        where,
        strategy=None,
        direction=None,
        pad_to_multiple_of=None,
        pad_id=None,
        pad_type_id=None,
        pad_token=None,
    )
    require(section, where, "direction", "Left", "Right")
    strategy = section["strategy"]
    if strategy != "BatchLongest":
        require_count(untyped(strategy, "padding strategy", Fixed=None), where, "Fixed")
    if section["pad_to_multiple_of"] is not None:
        require_count(section, where, "pad_to_multiple_of")
    require_count(section, where, "pad_id")
    require_count(section, where, "pad_type_id")
    return {
        "id": section["pad_id"],
        "type_id": section["pad_type_id"],
        "token": text_of(section, "pad_token", where),
        "length": None if strategy == "BatchLongest" else strategy["Fixed"],
        "multiple_of": section["pad_to_multiple_of"],
        "direction": section["direction"].lower(),
    }


def write_padding(padding: Json | None) -> Json | None:
    """A padding as the file has it."""
    if padding is None:
        return None
    length = padding["length"]
    return {
        "strategy": "BatchLongest" if length is None else {"Fixed": length},
        "direction": padding["direction"].capitalize(),
        "pad_to_multiple_of": padding["multiple_of"],
        "pad_id": padding["id"],
        "pad_type_id": padding["type_id"],
        "pad_token": padding["token"],
    }


# --- Fields --------------------------------------------------------------------------------------


def expression_of(pattern: object, where: str) -> str:
    """A pattern, given as a Regex or as a String."""
    checked = untyped(pattern, where, Regex=None, String=None)
    return read_split_pattern({key: text for key, text in checked.items() if text}, where)


def vocabulary_of(model: Json, where: str) -> dict[str, int]:
    """A model's vocabulary, tokens with their ids."""
    vocabulary = model["vocab"]
    if not isinstance(vocabulary, dict):
        raise ValueError(f"{where} has no vocab")
    for token, number in vocabulary.items():
        if type(number) is not int:
            raise ValueError(f"{where} gives {token!r} the id {shown(number)}")
    return vocabulary
