"""Vocabularies of open models, read from local files and checked for being what their name says.

Their files are not always the same bytes: fine-tuned models add tokens, converters write
differently. What is checked is the shape: the number of ordinary tokens, how text is split, and the
ids of a few special tokens that every version has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastllm.formats import files
from fastllm.formats.tekken import read_tekken
from fastllm.formats.text import StrPath, naming
from fastllm.formats.vocabulary import Vocabulary
from fastllm.patterns.named import split_pattern
from fastllm.tokenizers.bpe import BPETokenizer


@dataclass(frozen=True)
class OpenVocabulary:
    """The shape of a vocabulary.

    Attributes
    ----------
    file : str
        What its file is usually called.
    pattern : str, optional
        The name of its split pattern; None if the file says it and it has no name.
    ordinary : int, optional
        How many tokens are neither special nor added; None if the file may cut them off anywhere.
    has : mapping from str to int
        Ids of tokens that every version of it has.
    special_tokens, added_tokens : mapping from str to int
        What a file of ranks does not say.
    """

    file: str
    pattern: str | None
    ordinary: int | None
    has: Mapping[str, int]
    special_tokens: Mapping[str, int] = field(default_factory=dict)
    added_tokens: Mapping[str, int] = field(default_factory=dict)


def _numbered(first: int, *tokens: str) -> dict[str, int]:
    """Consecutive ids."""
    return {token: number for number, token in enumerate(tokens, first)}


_LLAMA3 = (
    *("<|begin_of_text|>", "<|end_of_text|>"),
    *("<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(2, 246)),
)
_QWEN2 = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN25 = (
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
_QWEN25_ADDED = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
)
_QWEN3_ADDED = ("<tool_response>", "</tool_response>", "<think>", "</think>")

OPEN_VOCABULARIES = {
    "llama3": OpenVocabulary(
        "tokenizer.model or tokenizer.json",
        "llama3",
        128_000,
        {
            **_numbered(128_000, "<|begin_of_text|>", "<|end_of_text|>"),
            **_numbered(128_006, "<|start_header_id|>", "<|end_header_id|>"),
            "<|eot_id|>": 128_009,
        },
        _numbered(128_000, *_LLAMA3),
    ),
    "qwen2": OpenVocabulary(
        "tokenizer.json or qwen.tiktoken",
        "qwen2",
        151_643,
        _numbered(151_643, *_QWEN2),
        _numbered(151_643, *_QWEN2),
    ),
    "qwen2.5": OpenVocabulary(
        "tokenizer.json or qwen.tiktoken",
        "qwen2",
        151_643,
        _numbered(151_643, *_QWEN2, *_QWEN25, *_QWEN25_ADDED),
        _numbered(151_643, *_QWEN2, *_QWEN25),
        _numbered(151_657, *_QWEN25_ADDED),
    ),
    "qwen3": OpenVocabulary(
        "tokenizer.json or qwen.tiktoken",
        "qwen2",
        151_643,
        _numbered(151_643, *_QWEN2, *_QWEN25, *_QWEN25_ADDED, *_QWEN3_ADDED),
        _numbered(151_643, *_QWEN2, *_QWEN25),
        _numbered(151_657, *_QWEN25_ADDED, *_QWEN3_ADDED),
    ),
    "deepseek-v3": OpenVocabulary(
        "tokenizer.json",
        "deepseek-v3",
        127_997,
        {
            **_numbered(0, "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
            **_numbered(128_803, "<｜User｜>", "<｜Assistant｜>"),
        },
    ),
    "smollm2": OpenVocabulary(
        "tokenizer.json",
        "smollm2",
        49_135,
        _numbered(0, "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    ),
    "tekken": OpenVocabulary(
        "tekken.json", None, None, _numbered(0, "<unk>", "<s>", "</s>", "[INST]", "[/INST]")
    ),
}


def open_vocabulary(
    name: str, path: StrPath | None, *, missing_bytes: str = "raise"
) -> BPETokenizer:
    """The tokenizer of an open model, from a local file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If no file is given, or it is not of the shape that the name stands for.
    """
    shape = OPEN_VOCABULARIES[name]
    if path is None:
        raise ValueError(
            f"{name} is read from a local file: give path=, the model's {shape.file}, or put it as "
            f"{name}.json into a folder that FASTLLM_VOCAB_DIR names"
        )
    with naming(path):
        found = _read(name, path)
        if found.pattern is None:
            found.pattern = shape.pattern
            found.special_tokens = dict(shape.special_tokens)
            found.added_tokens = dict(shape.added_tokens)
        found.take_out_special_tokens()
        _check_shape(name, shape, found)
        return BPETokenizer._of_vocabulary(found, missing_bytes)


def _read(name: str, path: StrPath) -> Vocabulary:
    if name == "tekken":
        with open(path, "rb") as file:
            return read_tekken(file.read())
    return files.read(path, ignore_post_processor=True)


def _check_shape(name: str, shape: OpenVocabulary, found: Vocabulary) -> None:
    """Refuse a file that holds another vocabulary."""
    if shape.ordinary not in (None, len(found.ranks)):
        raise ValueError(
            f"this is not {name}: it has {len(found.ranks)} ordinary tokens, not {shape.ordinary}"
        )
    if shape.pattern is not None and found.split_pattern != split_pattern(shape.pattern):
        raise ValueError(
            f"this is not {name}: it splits text by {found.pattern}, not by {shape.pattern}"
        )
    tokens = found.special_tokens | found.added_tokens
    for text, number in shape.has.items():
        if tokens.get(text) != number:
            at = f"has id {tokens[text]}" if text in tokens else "is missing"
            raise ValueError(f"this is not {name}: {text!r} {at} and should have id {number}")
