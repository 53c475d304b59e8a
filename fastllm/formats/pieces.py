"""Files of pieces: a tokenizer.json of the kinds Unigram, WordLevel, and BPE over characters."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from fastllm.api import normalizers as steps
from fastllm.api.normalizers import Normalizer
from fastllm.corpus.atomic_write import replacing
from fastllm.corpus.byte_order import BYTE_CHARACTERS
from fastllm.formats import components
from fastllm.formats.json_fields import (
    Json,
    character_of,
    kind_of,
    members_of,
    require,
    section_of,
    shown,
    text_of,
    untyped,
)
from fastllm.formats.source_file import SourceFile
from fastllm.formats.text import json_text
from fastllm.patterns.named import WHOLE_TEXT, SplitPattern, split_pattern
from fastllm.patterns.pretokenizers import METASPACE, NAMED_PRETOKENIZERS
from fastllm.patterns.steps import Step

GPT2 = split_pattern("gpt2").steps[0]
BETWEEN_BLANKS = NAMED_PRETOKENIZERS["whitespace-split"]
AT_BLANKS = Step(" ", "removed")

# Of the decoders; the classes are those of `fastllm.tokenizers.decoders`, by name.
Decoder = list[tuple[str, tuple[Any, ...]]]


def is_unigram(file: SourceFile) -> bool:
    """Whether a file is a tokenizer.json whose model is Unigram."""
    return _model_of(file).get("type") == "Unigram"


def is_word_level(file: SourceFile) -> bool:
    """Whether a file is a tokenizer.json whose model is WordLevel."""
    return _model_of(file).get("type") == "WordLevel"


def is_character_bpe(file: SourceFile) -> bool:
    """Whether a file is a tokenizer.json whose model is BPE, but not plainly of bytes.

    Bytes that are written as characters, with more around them than `BPETokenizer` does, are such
    characters here: CLIP's end of a word, Falcon's split behind the bytes, another normal form.
    """
    model = _model_of(file)
    if not model or model.get("type", "BPE") != "BPE":
        return False
    # Without a decoder, text is the characters that bytes are written in, with blanks between.
    return file.json.get("decoder") is None or not _is_plain_byte_level(file.json, model)


def only_lacks_decoder(file: SourceFile) -> bool:
    """Whether `BPETokenizer` takes a file, though its owner decodes to something else."""
    model = _model_of(file)
    lacks = file.json.get("decoder") is None and model.get("type", "BPE") == "BPE"
    return lacks and _is_plain_byte_level(file.json, model)


def _is_plain_byte_level(content: Json, model: Json) -> bool:
    """Whether `BPETokenizer` takes a file; what is in no form at all, it refuses."""
    before = content.get("pre_tokenizer") or {}
    if "ByteLevel" not in _kinds(before):
        return False
    if _kinds(content.get("normalizer")) - {"NFC", "Sequence"}:
        return False
    if any(model.get(name) for name in ("continuing_subword_prefix", "end_of_word_suffix")):
        return False
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or model.get("byte_fallback") is True:
        return not isinstance(vocab, dict)
    if model.get("unk_token") is not None and not vocab.keys() >= set(BYTE_CHARACTERS.values()):
        return False
    steps = before.get("pretokenizers") if _kind_is(before, "Sequence") else [before]
    if not isinstance(steps, list):
        return True
    places = [place for place, step in enumerate(steps) if _kind_is(step, "ByteLevel")]
    if len(steps) > 1 and any(steps[place].get("add_prefix_space", True) for place in places):
        return False
    others = _kinds(steps) - {"ByteLevel", "Split", "Digits", "Punctuation"}
    return places == [len(steps) - 1] and not others


def _kind_is(value: object, kind: str) -> bool:
    return isinstance(value, dict) and value.get("type") == kind


def _model_of(file: SourceFile) -> Json:
    if not file.should_be_json or not isinstance(file.json, dict):
        return {}
    model = file.json.get("model")
    return model if isinstance(model, dict) else {}


def _kinds(value: object) -> set[object]:
    """The types of all components in a value."""
    if isinstance(value, list):
        return set().union(*map(_kinds, value))
    if not isinstance(value, dict):
        return set()
    kind = value.get("type")
    inner = [each for each in value.values() if isinstance(each, list)]
    return ({kind} if isinstance(kind, str) else set()).union(*map(_kinds, inner))


def _top(file: SourceFile) -> Json:
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
    return top


def read_unigram(file: SourceFile) -> Json:
    """What a tokenizer.json says, as arguments of `UnigramTokenizer`."""
    top = _top(file)
    where = "model Unigram"
    model = section_of(top["model"], where, unk_id=None, vocab=None, byte_fallback=False)
    pieces = model["vocab"]
    if not isinstance(pieces, list):
        raise ValueError(f"{where} has no vocab")
    for entry in pieces:
        if not (isinstance(entry, list) and [*map(type, entry)] in ([str, float], [str, int])):
            raise ValueError(f"{where} has {shown(entry)}, not a piece and its score")
    require(model, where, "byte_fallback", True, False)
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    return {
        "pieces": [(piece, float(score)) for piece, score in pieces],
        "unknown": model["unk_id"],
        "byte_fallback": model["byte_fallback"],
        **_read_components(top, vocabulary),
    }


def read_word_level(file: SourceFile) -> Json:
    """What a tokenizer.json says, as arguments of `WordLevelTokenizer`."""
    top = _top(file)
    where = "model WordLevel"
    model = section_of(top["model"], where, vocab=None, unk_token=None)
    vocabulary = components.vocabulary_of(model, where)
    return {
        "vocabulary": vocabulary,
        "unknown": text_of(model, "unk_token", where),
        **_read_components(top, vocabulary),
    }


def read_character_bpe(file: SourceFile) -> Json:
    """What a tokenizer.json says, as arguments of `CharacterBPETokenizer`."""
    top = _top(file)
    where = "model BPE"
    model = section_of(
        top["model"],
        where,
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
    require(model, where, "dropout", None, 0)
    for field in ("fuse_unk", "byte_fallback", "ignore_merges"):
        require(model, where, field, True, False)
    for field in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model[field] is not None:
            text_of(model, field, where)
    vocabulary = components.vocabulary_of(model, where)
    if not isinstance(model["merges"], list):
        raise ValueError(f"{where} has no merges")
    return {
        "vocabulary": vocabulary,
        "merges": _read_merges(model["merges"]),
        "unknown": model["unk_token"],
        "byte_fallback": model["byte_fallback"],
        "fuse_unknown": model["fuse_unk"],
        "prefix": model["continuing_subword_prefix"] or "",
        "suffix": model["end_of_word_suffix"] or "",
        "ignore_merges": model["ignore_merges"],
        **_read_components(top, vocabulary),
    }


def _read_merges(merges: list[Any]) -> list[tuple[str, str]]:
    pairs = set(map(type, merges)) == {list} and set(map(len, merges)) == {2}
    if pairs and set(map(type, chain.from_iterable(merges))) == {str}:  # as nearly all files are
        return list(map(tuple, merges))
    return [_read_merge(place, entry) for place, entry in enumerate(merges)]


def _read_merge(place: int, entry: Any) -> tuple[str, str]:
    parts = entry.split(" ") if isinstance(entry, str) else entry
    if not isinstance(parts, list) or [type(token) for token in parts] != [str, str]:
        raise ValueError(f"merge {place} is {shown(entry)}, not two tokens")
    return parts[0], parts[1]


def _read_components(top: Json, vocabulary: Mapping[str, int]) -> Json:
    normalizer = _read_normalizer(top["normalizer"])
    marks, pattern = _read_pre_tokenizer(top["pre_tokenizer"], normalizer)
    return {
        "normalizer": [*normalizer, *marks],
        "pattern": pattern,
        "added_tokens": components.read_added_tokens(top["added_tokens"], vocabulary),
        "template": components.read_post_processor(top["post_processor"]),
        "trimming": components.read_trimming(top["post_processor"]),
        "decoder": _read_decoder(top["decoder"]),
        "truncation": components.read_truncation(top["truncation"]),
        "padding": components.read_padding(top["padding"]),
    }


def _read_normalizer(value: object) -> list[Normalizer]:
    """The steps of a normalizer; character maps among them."""
    if value is None:
        return []
    kind = kind_of(value, "normalizer")
    where = f"normalizer {kind}"
    assert isinstance(value, dict)
    if kind == "Sequence":
        members = members_of(value, "normalizers", where)
        return [step for member in members for step in _read_normalizer(member)]
    if kind != "Precompiled":
        return [*components.read_normalizer(value)]
    section = section_of(value, where, precompiled_charsmap=None)
    text = text_of(section, "precompiled_charsmap", where)
    try:
        return [steps.Precompiled(base64.b64decode(text, validate=True))]
    except binascii.Error as error:
        raise ValueError(f"{where} has a map that is no base64: {error}") from None


def _read_pre_tokenizer(
    value: object, normalizer: Sequence[Normalizer]
) -> tuple[list[Normalizer], SplitPattern]:
    """What a pre-tokenizer writes, as a step of normalization, and how it splits."""
    members = [] if value is None else [value]
    if members and kind_of(value, "pre_tokenizer") == "Sequence":
        assert isinstance(value, dict)
        members = members_of(value, "pretokenizers", "pre_tokenizer Sequence")
    kinds = [kind_of(member, "pre_tokenizer") for member in members]
    if "ByteLevel" in kinds:
        return _read_byte_level(members, kinds.index("ByteLevel"))
    if "Metaspace" not in kinds:
        pattern = components.read_pre_tokenizer(value)
        blank_is_gone = bool(normalizer) and normalizer[-1] == steps.Replace(" ", "▁")
        if blank_is_gone and kinds == ["Split"] and _splits_at_blanks(members[0]):
            return [], SplitPattern((WHOLE_TEXT,))  # there is nothing to split by
        return [], pattern
    if kinds.count("Metaspace") > 1:
        raise ValueError(f"pre_tokenizer {' and '.join(kinds)} is not supported: one Metaspace is")
    place = kinds.index("Metaspace")
    before = components.read_pre_tokenizer({"type": "Sequence", "pretokenizers": members[:place]})
    behind = components.read_pre_tokenizer(
        {"type": "Sequence", "pretokenizers": members[place + 1 :]}
    )
    where = "pre_tokenizer Metaspace"
    section = _read_metaspace(members[place], where)
    scheme, mark = section["prepend_scheme"], section["replacement"]
    if place and scheme == "first":
        raise ValueError(
            f"{where} with prepend_scheme 'first' behind other steps is not supported; 'always' "
            "and 'never' are"
        )
    if section["split"] and mark != "▁":
        raise ValueError(f"{where} with replacement {mark!r} is not supported; '▁' is")
    split = [*METASPACE.steps] if section["split"] else []
    split += [step for step in behind.steps if step != WHOLE_TEXT]
    # Words that all begin with the mark need nothing between them.
    words = before == BETWEEN_BLANKS and scheme == "always" and bool(section["split"])
    if place and not words:
        pattern = SplitPattern((AT_BLANKS, *split))
        return [steps.Metaspace(mark, scheme, before=before)], pattern
    pattern = METASPACE if split == [*METASPACE.steps] else SplitPattern(split or (WHOLE_TEXT,))
    return [steps.Metaspace(mark, scheme, words)], pattern


def _read_metaspace(value: object, where: str) -> Json:
    """A Metaspace component, its fields checked; older files have the last two."""
    section = section_of(
        value,
        where,
        replacement=None,
        prepend_scheme="always",
        split=True,
        str_rep=None,
        add_prefix_space=None,
    )
    require(section, where, "prepend_scheme", "always", "first", "never")
    require(section, where, "split", True, False)
    require(section, where, "add_prefix_space", None, True, False)
    if section["add_prefix_space"] is False and section["prepend_scheme"] != "never":
        raise ValueError(f"{where} has add_prefix_space False, but prepend_scheme is not 'never'")
    if section["str_rep"] is not None:
        text_of(section, "str_rep", where)
    character_of(section, "replacement", where)
    return section


def _read_byte_level(members: list[Any], place: int) -> tuple[list[Normalizer], SplitPattern]:
    """Steps around ByteLevel: what splits text, and what splits the characters of its bytes."""
    before = components.read_pre_tokenizer({"type": "Sequence", "pretokenizers": members[:place]})
    behind = components.read_pre_tokenizer(
        {"type": "Sequence", "pretokenizers": members[place + 1 :]}
    )
    section = components.read_byte_level(members[place], "pre_tokenizer ByteLevel")
    rest = [step for step in behind.steps if step != WHOLE_TEXT]
    split = [GPT2] if section["use_regex"] else []
    if section["add_prefix_space"] and place:
        step = steps.ByteLevel(SplitPattern(split or (WHOLE_TEXT,)), True, before)
    else:
        split = [*(step for step in before.steps if step != WHOLE_TEXT), *split]
        step = steps.ByteLevel(SplitPattern(split or (WHOLE_TEXT,)), section["add_prefix_space"])
    return [step], SplitPattern((*BETWEEN_BLANKS.steps, *rest))


def _splits_at_blanks(split: object) -> bool:
    assert isinstance(split, dict)
    return split.get("pattern") == {"String": " "} and split.get("invert") is False


def _read_decoder(value: object) -> Decoder | None:
    if value is None:
        return None
    kind = kind_of(value, "decoder")
    where = f"decoder {kind}"
    assert isinstance(value, dict)
    if kind == "Sequence":
        members = members_of(value, "decoders", where)
        return [step for member in members for step in _read_decoder(member) or ()]
    if kind == "ByteLevel":
        components.read_byte_level(value, where)
        return [("BytesOfCharacters", ())]
    if kind in ("ByteFallback", "Fuse"):
        section_of(value, where)
        return [(kind, ())]
    if kind == "Replace":
        section = section_of(value, where, pattern=None, content=None)
        pattern = untyped(section["pattern"], where, String=None)
        found = text_of(pattern, "String", where)
        return [("ReplaceText", (found, text_of(section, "content", where)))]
    if kind == "Strip":
        section = section_of(value, where, content=None, start=None, stop=None)
        content = character_of(section, "content", where)
        return [("StripEnds", (content, section["start"], section["stop"]))]
    if kind == "Metaspace":
        section = _read_metaspace(value, where)
        return [("BlanksForMarks", (section["replacement"], section["prepend_scheme"] != "never"))]
    if kind == "BPEDecoder":
        section = section_of(value, where, suffix=None)
        return [("BlanksForSuffixes", (text_of(section, "suffix", where),))]
    raise ValueError(f"{where} is not supported with pieces")


# --- Writing -------------------------------------------------------------------------------------


def write_file(kind: str, settings: Mapping[str, Any], path: Path) -> None:
    """Write a tokenizer as a tokenizer.json."""
    if path.suffix != ".json":
        raise ValueError(f"{path}: such a tokenizer is saved as .json (tokenizer.json)")
    text = json_text(tokenizer_json(kind, settings))
    with replacing(path) as file:
        file.write(text)


def tokenizer_json(kind: str, settings: Mapping[str, Any]) -> Json:
    """The arguments of a tokenizer of pieces as the content of a tokenizer.json."""
    template = settings["template"]
    normalizer = [
        step for step in settings["normalizer"] if not isinstance(step, steps.PRE_TOKENIZER_STEPS)
    ]
    return {
        "version": "1.0",
        "truncation": components.write_truncation(settings["truncation"]),
        "padding": components.write_padding(settings["padding"]),
        "added_tokens": components.write_added_tokens(settings["added_tokens"]),
        "normalizer": _write_normalizer(normalizer),
        "pre_tokenizer": _write_pre_tokenizer(settings["normalizer"], settings["pattern"]),
        "post_processor": components.write_post_processor(
            template.single, template.pair, template.ids, settings["trimming"]
        ),
        "decoder": _write_decoder(settings["decoder"]),
        "model": _WRITE_MODEL[kind](settings),
    }


def _write_normalizer(normalizer: Sequence[Normalizer]) -> Json | None:
    written = []
    for step in normalizer:
        if isinstance(step, steps.Precompiled):
            text = base64.b64encode(step.charsmap).decode()
            written.append({"type": "Precompiled", "precompiled_charsmap": text})
        else:
            found = components.write_normalizer([step])
            written += [found] if found else []
    if len(written) > 1:
        return {"type": "Sequence", "normalizers": written}
    return written[0] if written else None


def _write_pre_tokenizer(normalizer: Sequence[Normalizer], pattern: SplitPattern) -> Json | None:
    marks = [step for step in normalizer if isinstance(step, steps.PRE_TOKENIZER_STEPS)]
    if not marks:
        return components.write_pre_tokenizer(pattern)
    if isinstance(marks[0], steps.ByteLevel):
        if marks != [normalizer[-1]] or pattern.steps[:1] != BETWEEN_BLANKS.steps:
            raise ValueError("tokenizer.json has ByteLevel only behind all other steps")
        return _write_byte_level(marks[0], pattern.steps[1:])
    if marks != [normalizer[-1]]:
        raise ValueError("tokenizer.json has Metaspace only behind all other steps")
    marked = marks[0]
    parts = pattern.steps
    if marked.before is not None:
        if parts[:1] != (AT_BLANKS,):
            raise ValueError("Metaspace behind other steps needs a split at blanks behind it")
        parts = parts[1:]
    splits = parts[:1] == METASPACE.steps
    metaspace = {
        "type": "Metaspace",
        "replacement": marked.replacement,
        "prepend_scheme": marked.prepend,
        "split": splits,
    }
    before = BETWEEN_BLANKS if marked.words else marked.before
    behind = components.write_pre_tokenizer(SplitPattern(parts[splits:] or (WHOLE_TEXT,)))
    return _sequence([before and components.write_pre_tokenizer(before), metaspace, behind])


def _sequence(parts: Iterable[Json | None]) -> Json:
    """Pre-tokenizers as one."""
    written = [
        each
        for part in parts
        if part is not None
        for each in (part["pretokenizers"] if part["type"] == "Sequence" else [part])
    ]
    return written[0] if len(written) == 1 else {"type": "Sequence", "pretokenizers": written}


def _write_byte_level(step: steps.ByteLevel, behind: Sequence[str | Step]) -> Json:
    before = [each for each in step.pattern.steps if each != WHOLE_TEXT]
    use_regex = before[-1:] == [GPT2]
    if step.before is not None:
        if before not in ([], [GPT2]):
            raise ValueError("ByteLevel behind other steps splits as GPT-2 does, or not at all")
        before = [*step.before.steps, *before]
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": step.add_prefix_space,
        "trim_offsets": True,
        "use_regex": use_regex,
    }
    first = components.write_pre_tokenizer(SplitPattern(before[:-1] if use_regex else before))
    return _sequence([first, byte_level, components.write_pre_tokenizer(SplitPattern(behind))])


def _write_decoder(decoder: Sequence[Any] | None) -> Json | None:
    if decoder is None:
        return None
    written = [_write_decoding_step(step) for step in decoder]
    return written[0] if len(written) == 1 else {"type": "Sequence", "decoders": written}


def _write_decoding_step(step: Any) -> Json:
    kind = type(step).__name__
    if kind == "ReplaceText":
        return {"type": "Replace", "pattern": {"String": step.found}, "content": step.content}
    if kind == "StripEnds":
        ends = {"start": step.start, "stop": step.stop}
        return {"type": "Strip", "content": step.content, **ends}
    if kind == "BlanksForMarks":
        scheme = "always" if step.drops_first else "never"
        return {
            "type": "Metaspace",
            "replacement": step.mark,
            "prepend_scheme": scheme,
            "split": True,
        }
    if kind == "BytesOfCharacters":
        return {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        }
    if kind == "BlanksForSuffixes":
        return {"type": "BPEDecoder", "suffix": step.suffix}
    return {"type": kind}


def _write_unigram(settings: Mapping[str, Any]) -> Json:
    return {
        "type": "Unigram",
        "unk_id": settings["unknown"],
        "vocab": [list(piece) for piece in settings["pieces"]],
        "byte_fallback": settings["byte_fallback"],
    }


def _write_bpe(settings: Mapping[str, Any]) -> Json:
    vocabulary = settings["vocabulary"]
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": settings["unknown"],
        "continuing_subword_prefix": settings["prefix"] or None,
        "end_of_word_suffix": settings["suffix"] or None,
        "fuse_unk": settings["fuse_unknown"],
        "byte_fallback": settings["byte_fallback"],
        "ignore_merges": settings["ignore_merges"],
        "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
        "merges": [list(merge) for merge in settings["merges"]],
    }


def _write_word_level(settings: Mapping[str, Any]) -> Json:
    return {
        "type": "WordLevel",
        "vocab": dict(sorted(settings["vocabulary"].items(), key=lambda item: item[1])),
        "unk_token": settings["unknown"],
    }


_WRITE_MODEL = {
    "CharacterBPE": _write_bpe,
    "Unigram": _write_unigram,
    "WordLevel": _write_word_level,
}
