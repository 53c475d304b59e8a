"""Mistral's tekken.json: ranks and split pattern in one file, special tokens numbered first."""

import binascii
import json
from typing import Any

from fastllm.formats.source_file import SourceFile
from fastllm.formats.vocabulary import Vocabulary

# Files up to version 7 do not list their special tokens; these are meant.
UNLISTED = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)


def is_tekken(file: SourceFile) -> bool:
    """Whether a file is a tekken.json: its vocab is a list, its pattern in a "config"."""
    if not file.should_be_json or not isinstance(file.json, dict):
        return False
    return isinstance(file.json.get("config"), dict) and isinstance(file.json.get("vocab"), list)


def read_file(file: SourceFile) -> Vocabulary:
    """What a tekken.json says."""
    return read_tekken(file.data)


def read_tekken(data: bytes) -> Vocabulary:
    """What a tekken.json says.

    The file lists more tokens than the model has: ``default_vocab_size`` says where to cut. Ids
    that no special token takes are called ``<SPECIAL_n>``, as Mistral's own reader does.

    Raises
    ------
    ValueError
        If it is not such a file.

    Examples
    --------
    >>> config = {"pattern": ".", "default_vocab_size": 4, "default_num_special_tokens": 2}
    >>> vocab = [{"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "YWE="}]
    >>> special = [{"rank": 0, "token_str": "<s>"}]
    >>> content = {"config": config, "vocab": vocab, "special_tokens": special}
    >>> found = read_tekken(json.dumps(content).encode())
    >>> found.ranks, found.special_tokens
    ({b'a': 2, b'aa': 3}, {'<s>': 0, '<SPECIAL_1>': 1})
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ValueError('not a tekken.json: no "config" in it')
    pattern = config.get("pattern")
    if not isinstance(pattern, str):
        raise ValueError(f"pattern is {pattern!r}, not a regular expression")
    size = _number(config, "default_vocab_size")
    specials = _number(config, "default_num_special_tokens")
    return Vocabulary(
        ranks=_ranks(content.get("vocab"), size - specials, specials),
        pattern=pattern,
        special_tokens=_special_tokens(content.get("special_tokens"), specials),
    )


def _number(config: dict[str, Any], field: str) -> int:
    value = config.get(field)
    if type(value) is not int or value < 0:
        raise ValueError(f"{field} is {value!r}, not a number")
    return value


def _ranks(entries: Any, count: int, first_id: int) -> dict[bytes, int]:
    """The first `count` tokens, numbered from `first_id`."""
    if not isinstance(entries, list) or not 0 < count <= len(entries):
        listed = len(entries) if isinstance(entries, list) else "none"
        raise ValueError(f"vocab should list at least {count} tokens, but lists {listed}")
    ranks: dict[bytes, int] = {}
    for rank, entry in enumerate(entries[:count]):
        try:
            token = binascii.a2b_base64(entry["token_bytes"], strict_mode=True)
            in_order = entry["rank"] == rank
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"entry {rank} of vocab is not a token in base64: {error}") from None
        if not in_order:
            raise ValueError(f"entry {rank} of vocab has rank {entry['rank']}, not {rank}")
        if ranks.setdefault(token, rank + first_id) != rank + first_id:
            raise ValueError(
                f"entry {rank} of vocab is {token!r}, like entry {ranks[token] - first_id}"
            )
    return ranks


def _special_tokens(entries: Any, count: int) -> dict[str, int]:
    """The special tokens, ids from 0 to `count`."""
    if entries is None:
        tokens = {text: number for number, text in enumerate(UNLISTED[:count])}
    else:
        try:
            tokens = {entry["token_str"]: entry["rank"] for entry in entries}
        except (KeyError, TypeError) as error:
            raise ValueError(f"special_tokens is not a list of tokens: {error}") from None
        if sorted(tokens.values()) != list(range(len(entries))) or len(tokens) > count:
            raise ValueError(
                f"special_tokens should list different tokens ranked from 0, at most {count}"
            )
    return tokens | {f"<SPECIAL_{number}>": number for number in range(len(tokens), count)}
