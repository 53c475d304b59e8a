"""The encodings of OpenAI by name: split pattern, files with their hashes, special tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastllm.vocabularies.published_files import Files, PublishedFile

_OPENAI = "https://openaipublic.blob.core.windows.net/"
_GPT2_FILES = (
    PublishedFile(
        _OPENAI + "gpt-2/encodings/main/encoder.json",
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    ),
    PublishedFile(
        _OPENAI + "gpt-2/encodings/main/vocab.bpe",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    ),
)
_R50K = PublishedFile(
    _OPENAI + "encodings/r50k_base.tiktoken",
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
    ("gpt2.tiktoken",),
)
_P50K = PublishedFile(
    _OPENAI + "encodings/p50k_base.tiktoken",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
)
_CL100K = PublishedFile(
    _OPENAI + "encodings/cl100k_base.tiktoken",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
)
_O200K = PublishedFile(
    _OPENAI + "encodings/o200k_base.tiktoken",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)


@dataclass(frozen=True)
class Encoding:
    """What belongs to the name of an encoding of OpenAI's.

    Attributes
    ----------
    pattern : str
        The name of its split pattern.
    files : tuple of tuple of PublishedFile
        Sets of files that hold its ranks, each set all of them.
    special_tokens : mapping from str to int
    """

    pattern: str
    files: tuple[Files, ...]
    special_tokens: Mapping[str, int]


def _harmony() -> dict[str, int]:
    """The special tokens of o200k_harmony: some have a use, the others are held in reserve.

    Two have the id 200018. The one with a use is last, so that it is what the id decodes to.
    """
    used = {
        "<|startoftext|>": 199998,
        "<|endoftext|>": 199999,
        "<|return|>": 200002,
        "<|constrain|>": 200003,
        "<|channel|>": 200005,
        "<|start|>": 200006,
        "<|end|>": 200007,
        "<|message|>": 200008,
        "<|call|>": 200012,
    }
    reserved = [number for number in range(200000, 201088) if number not in used.values()]
    return {
        **used,
        **{f"<|reserved_{number}|>": number for number in reserved},
        "<|endofprompt|>": 200018,
    }


ENCODINGS = {
    "gpt2": Encoding("gpt2", ((_R50K,), _GPT2_FILES), {"<|endoftext|>": 50256}),
    "r50k_base": Encoding("gpt2", ((_R50K,), _GPT2_FILES), {"<|endoftext|>": 50256}),
    "p50k_base": Encoding("gpt2", ((_P50K,),), {"<|endoftext|>": 50256}),
    "p50k_edit": Encoding(
        "gpt2",
        ((_P50K,),),
        {
            "<|endoftext|>": 50256,
            "<|fim_prefix|>": 50281,
            "<|fim_middle|>": 50282,
            "<|fim_suffix|>": 50283,
        },
    ),
    "cl100k_base": Encoding(
        "cl100k",
        ((_CL100K,),),
        {
            "<|endoftext|>": 100257,
            "<|fim_prefix|>": 100258,
            "<|fim_middle|>": 100259,
            "<|fim_suffix|>": 100260,
            "<|endofprompt|>": 100276,
        },
    ),
    "o200k_base": Encoding(
        "o200k", ((_O200K,),), {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}
    ),
    "o200k_harmony": Encoding("o200k", ((_O200K,),), _harmony()),
}
