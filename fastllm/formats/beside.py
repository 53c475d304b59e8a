"""What lies beside a vocab.json: added_tokens.json, special_tokens_map.json, tokenizer_config.json.

They hold what a tokenizer.json says in one place: which tokens are added and special, by which
rules they are looked for, and, by the name of a class of transformers, how text is split and what
is put around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastllm.formats.byte_level import to_characters
from fastllm.formats.json_fields import Json, shown
from fastllm.formats.text import naming, parse_json
from fastllm.formats.vocabulary import Vocabulary

# How text is split, by the class that transformers has for it.
PATTERNS = {
    **dict.fromkeys(("GPT2", "Roberta", "Bart", "Longformer", "LED", "Blenderbot"), "gpt2"),
    **dict.fromkeys(("Deberta", "Mvp", "PhobertGPT2"), "gpt2"),
    "Qwen2": "qwen2",
}
# Which of them put <s> before a text and </s> behind it, two between two texts.
AROUND = ("Roberta", "Bart", "Longformer", "LED", "Mvp")
RULES = ("lstrip", "rstrip", "single_word")
# The special tokens that these classes have where no file says others.
USUAL = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": {"content": "<mask>", "lstrip": True},
}


def read_beside(found: Vocabulary, folder: Path) -> None:
    """Add to what a vocab.json says what the files beside it do."""
    config = _object(folder / "tokenizer_config.json")
    names = _object(folder / "special_tokens_map.json")
    ids = _object(folder / "added_tokens.json")
    if not (config or names or ids):
        return
    kind = str(config.get("tokenizer_class") or "GPT2").removesuffix("Fast")
    kind = kind.removesuffix("Tokenizer")
    if kind in AROUND:
        names = {**{name: token for name, token in USUAL.items() if name not in config}, **names}
    # Of another class, the caller has to say how text is split.
    found.pattern = PATTERNS.get(kind)
    found.add_prefix_space = config.get("add_prefix_space") is True and kind != "Qwen2"
    tokens = _tokens(found, config, names, ids)
    for text, token in tokens.items():
        _add(found, text, token)
    if kind in AROUND:
        found.template = _template(found, config, names)


def tokens_in(folder: Path) -> set[str]:
    """All tokens that the files in a folder name."""
    config = _object(folder / "tokenizer_config.json")
    named = _named(config, _object(folder / "special_tokens_map.json"))
    decoder = _object_in(config, "added_tokens_decoder").values()
    return {*map(_text, [*named, *decoder]), *_object(folder / "added_tokens.json")}


def _object(path: Path) -> Json:
    """The object in a file; nothing where there is none."""
    if not path.is_file():
        return {}
    with naming(path):
        content = parse_json(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"this is {shown(content)}, not an object")
        return content


def _tokens(found: Vocabulary, config: Json, names: Json, ids: Json) -> dict[str, Json]:
    """The tokens that are taken whole: of each its id and its rules."""
    known = {to_characters(token): number for token, number in found.ranks.items()}
    tokens: dict[str, Json] = {}
    for number, rules in _object_in(config, "added_tokens_decoder").items():
        if not (number.isdecimal() and isinstance(rules, dict)):
            raise ValueError(f"tokenizer_config.json has {number!r} among its added tokens")
        tokens[_text(rules)] = {**rules, "id": int(number)}
    for text, number in ids.items():
        if type(number) is not int:
            raise ValueError(f"added_tokens.json gives {text!r} the id {shown(number)}")
        tokens.setdefault(text, {"id": number, "normalized": True})
    for entry in _named(config, names):
        text = _text(entry)
        rules = entry if isinstance(entry, dict) else {}
        listed = tokens.get(text, {})
        place = listed.get("id", known.get(text, known.get(_written(text))))
        if place is not None:  # else the model has no such token
            rules = {**listed, "normalized": False, **rules}
            tokens[text] = {**rules, "id": place, "special": True}
    return tokens


def _written(text: str) -> str:
    return to_characters(text.encode())


def _object_in(config: Json, field: str) -> Json:
    value = config.get(field) or {}
    if not isinstance(value, dict):
        raise ValueError(f"tokenizer_config.json has {field} {shown(value)}, not an object")
    return value


def _named(config: Json, names: Json) -> list[Any]:
    """The tokens that have a name, such as "bos_token": these are special."""
    named = {**{k: v for k, v in config.items() if k.endswith("_token")}, **names}
    entries = []
    for value in named.values():
        entries += value if isinstance(value, list) else [value]
    return [entry for entry in entries if isinstance(entry, str | dict)]


def _text(entry: Any) -> str:
    text = entry.get("content") if isinstance(entry, dict) else entry
    if not isinstance(text, str) or not text:
        raise ValueError(f"a special token is {shown(entry)}, not a text")
    return text


def _add(found: Vocabulary, text: str, token: Json) -> None:
    is_special = token.get("special", False) is True
    for place in (found.special_tokens, found.added_tokens):
        place.pop(text, None)
    (found.special_tokens if is_special else found.added_tokens)[text] = token["id"]
    if any(token.get(name) for name in RULES):
        found.token_rules[text] = {name: token.get(name) is True for name in RULES}
    if token.get("normalized") is True:
        found.normalized_tokens |= {text}


def _template(found: Vocabulary, config: Json, names: Json) -> Any:
    """<s> and </s> as RoBERTa has them."""
    ids = found.special_tokens | found.added_tokens
    first, last = (
        _text(names.get(name) or config.get(name) or default)
        for name, default in (("cls_token", "<s>"), ("sep_token", "</s>"))
    )
    if first not in ids or last not in ids:
        return None
    single = [(first, 0, False), ("A", 0, True), (last, 0, False)]
    pair = [*single, (last, 0, False), ("B", 0, True), (last, 0, False)]
    return single, pair, {first: [ids[first]], last: [ids[last]]}
