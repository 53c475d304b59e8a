"""The command that follows one sentence from text to context vectors."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from fastllm.cli import tokenizers
from fastllm.cli.files import STREAM
from fastllm.cli.options import LoadPatternOption
from fastllm.cli.progress import plain_console

if TYPE_CHECKING:
    from fastllm.explain.trace import Trace

STYLES = {
    "title": "bold",
    "quiet": "dim",
    "strong": "bold cyan",
    "good": "green",
    "wrong": "bold red",
    "token 0": "black on cyan",
    "token 1": "black on yellow",
    "token 2": "black on green",
    "token 3": "black on magenta",
}


def explain(
    sentence: Annotated[
        str, typer.Argument(help="Any text; - reads it from stdin.")
    ] = "Your journey starts with one step",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write one HTML page instead of text to the terminal."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", "-t", help="Whose tokens, as for encode; else byte pairs of a novel."
        ),
    ] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Each token sees only itself and earlier ones.")
    ] = False,
    pattern: LoadPatternOption = None,
    speed: Annotated[
        bool | None,
        typer.Option(help="Time both backends as well, some seconds; only for a page if not said."),
    ] = None,
) -> None:
    """Follow a sentence from text to context vectors, every number shown."""
    from fastllm import explain as traces

    if sentence == STREAM:
        sentence = sys.stdin.buffer.read().decode().rstrip("\n")
    chosen = None if tokenizer is None else tokenizers.load(tokenizer, pattern)
    with plain_console(stderr=True).status(
        "following the text (the first time, kernels are compiled) ..."
    ):
        journey = traces.journey(
            sentence,
            chosen,
            causal=causal,
            speed=output is not None if speed is None else speed,
        )
    if output is None:
        show(plain_console(), journey)
        return
    journey.to_html(output)
    print(f"fastllm: {output.stat().st_size:,} bytes in {output}", file=sys.stderr)


def show(console: Console, trace: "Trace") -> None:
    """Print a trace, in colour where the console has it. The terminal breaks lines."""
    for line in trace.lines():
        spans = [(text, STYLES.get(role, "")) for text, role in line]
        text = Text.assemble(*spans)
        text.rstrip()
        console.print(text, soft_wrap=True)
