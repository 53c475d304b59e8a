"""What formats read and write as plain data, and tokenizers as records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastllm.api.record import Record
from fastllm.tokenizers.added_tokens import AddedToken
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.template import Part, Template
from fastllm.tokenizers.trimming import Trimming

if TYPE_CHECKING:
    from fastllm.formats.vocabulary import Vocabulary


def of_vocabulary(found: Vocabulary) -> dict[str, Any]:
    """What a file of byte-pair encoding says, as arguments of `BPETokenizer`."""
    settings = vars(found) | {"template": _template(found.template)}
    trimming = settings["trimming"]
    settings["trimming"] = None if trimming is None else Trimming(trimming)
    settings |= _lengths(settings)
    rules = settings.pop("token_rules")
    for name in ("special_tokens", "added_tokens"):
        settings[name] = {
            text: AddedToken(number, **rules[text]) if text in rules else number
            for text, number in settings[name].items()
        }
    return settings


def with_records(settings: dict[str, Any]) -> dict[str, Any]:
    """What a format reads, with the records of this folder in the place of plain data."""
    made = dict(settings)
    if made.get("added_tokens"):
        tokens = made["added_tokens"]
        made["added_tokens"] = {text: AddedToken(**rules) for text, rules in tokens.items()}
    if "template" in made:
        made["template"] = _template(made["template"])
    if made.get("trimming") is not None:
        made["trimming"] = Trimming(made["trimming"])
    return made | _lengths(made)


def _lengths(settings: dict[str, Any]) -> dict[str, Any]:
    """What settings say of truncation and padding, if they do."""
    kinds: dict[str, type[Any]] = {"truncation": Truncation, "padding": Padding}
    return {name: kind(**settings[name]) for name, kind in kinds.items() if settings.get(name)}


def _template(found: Any) -> Template | None:
    if not found:
        return None
    single, pair, ids = found
    return Template([Part(*part) for part in single], [Part(*part) for part in pair], ids)


def without_records(settings: dict[str, Any]) -> dict[str, Any]:
    """What a format writes: plain data."""
    tokens = {text: token._asdict() for text, token in settings["added_tokens"].items()}
    trimming = settings["trimming"]
    trimming = None if trimming is None else trimming.add_prefix_space
    lengths = {name: plain(settings[name]) for name in ("truncation", "padding")}
    return settings | {"added_tokens": tokens, "trimming": trimming, **lengths}


def plain(record: Record | None) -> dict[str, Any] | None:
    """The fields of a record."""
    return None if record is None else record.as_dict()
