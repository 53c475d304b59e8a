"""Arguments and options that several commands share."""

from enum import Enum
from typing import Annotated

import typer

from fastllm.cli.files import STREAM, UsageError
from fastllm.formats.files import NAMES, any_of

FILES = (*NAMES, "vocab.txt")


class Errors(Enum):
    """What to do with bytes that are not UTF-8."""

    strict = "strict"
    replace = "replace"


class TieBreak(Enum):
    """Which of several pairs that are as frequent is merged first."""

    lowest_ids = "lowest-ids"
    huggingface = "huggingface"
    first_seen = "first-seen"


class Documents(Enum):
    """What a document is: no merge crosses from one into the next."""

    files = "files"
    lines = "lines"


TokenizerOption = Annotated[
    str,
    typer.Option(
        "--tokenizer",
        "-t",
        help=f"A tokenizer: {any_of(FILES)}, a folder with one, or the name of a published one: "
        "gpt2, cl100k_base, o200k_base, llama3, ...",
    ),
]
PatternOption = Annotated[
    str,
    typer.Option(
        "--pattern", "-p", help="How text is cut first: gpt2, cl100k, o200k, ... or an expression."
    ),
]
TextArgument = Annotated[str, typer.Argument(metavar="FILE", help="UTF-8 text; - is stdin.")]
SpecialsOption = Annotated[
    bool,
    typer.Option("--allow-special", help="Special tokens in the text become their ids."),
]
AsTextOption = Annotated[
    bool,
    typer.Option("--special-as-text", help="Special tokens in the text are ordinary text."),
]
AddSpecialOption = Annotated[
    bool,
    typer.Option(
        "--add-special-tokens",
        help="Put the special tokens around that the tokenizer's model wants, as [CLS] and [SEP].",
    ),
]
SkipSpecialOption = Annotated[
    bool, typer.Option("--skip-special-tokens", help="Leave special tokens out.")
]
SpecialIdsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--special",
        metavar="NAME=ID",
        help="A special token of a file of ranks (.tiktoken), which names none; may be repeated.",
    ),
]
LoadPatternOption = Annotated[
    str | None,
    typer.Option(
        "--pattern", "-p", help="Split pattern of a tokenizer file that does not name one."
    ),
]
ErrorsOption = Annotated[
    Errors, typer.Option(help="What to do with bytes that are not UTF-8.", show_default=True)
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Threads to work with; as many as there are cores if not given."),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on a Ray cluster: HOST:PORT, ray://..., auto (the one of this machine); without "
        "an address, on one that is started for this.",
    ),
]


def check_ray_options(inputs: list[str], threads: int | None = None) -> None:
    """Refuse what a cluster cannot do, or would ignore."""
    if STREAM in inputs:
        raise UsageError("standard input is on this machine only: --ray needs files")
    if threads is not None:
        raise UsageError("--threads and --workers are for one machine: with --ray leave them out")
