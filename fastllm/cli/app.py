"""The command line as a whole, and how each command ends: 0 done, 1 failed, 2 called wrongly."""

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import fastllm
from fastllm.cli.files import UsageError
from fastllm.tokenizers.special_tokens import WAYS_ON

INTERRUPTED = 130  # 128 + SIGINT, as shells count
TRACEBACK = "FASTLLM_TRACEBACK"
RAY = "--ray"
RAY_ADDRESS = re.compile(r"auto|local|ray://.*|[\w.-]+:\d+|\[[\da-fA-F:]+\]:\d+")
# Messages name the argument of the library; here it is an option.
OPTIONS = {
    'errors="replace"': "--errors replace",
    "give pattern=": "give --pattern",
    "resume=False": "--no-resume",
}


class Commands(TyperGroup):
    """The group of commands: whatever goes wrong in one becomes a line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Let the value of ``--ray`` be left out."""
        return super().parse_args(ctx, with_ray_address(args))

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings(), _exit_on_sigterm():
            warnings.simplefilter("default")
            warnings.showwarning = lambda message, *_: say(f"warning: {message}")
            try:
                result = super().invoke(ctx)
                sys.stdout.flush()  # a full disk or a closed pipe may show only now
                return result
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:  # whoever read has seen enough
                _close_stdout()
                raise typer.Exit(1) from None
            except (OSError, ValueError, KeyError, TypeError, MemoryError, ImportError) as error:
                if os.environ.get(TRACEBACK):
                    raise
                say(_one_line(error))
                _close_stdout()
                raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, past the code that removes temporary files."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def with_ray_address(args: list[str]) -> list[str]:
    """The words of a command line with an address behind each ``--ray``.

    >>> with_ray_address(["encode", "--ray", "corpus", "--ray", "head:6379"])
    ['encode', '--ray', 'local', 'corpus', '--ray', 'head:6379']
    """
    made = []
    for number, word in enumerate(args):
        made.append(word)
        following = args[number + 1] if number + 1 < len(args) else ""
        if word == RAY and not RAY_ADDRESS.fullmatch(following):
            made.append("local")
    return made


def say(line: str) -> None:
    print(f"fastllm: {line}", file=sys.stderr)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    said, in_the_way_of_python, _ = text.partition(WAYS_ON)
    if in_the_way_of_python:
        text = f"{said}--allow-special makes that token of it, --special-as-text ordinary text"
    for argument, option in OPTIONS.items():
        text = text.replace(argument, option)
    return " ".join(text.split()) or type(error).__name__


def _close_stdout() -> None:
    """Let what is still buffered vanish, or the interpreter would stumble over it at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tokenizers and attention: a pure-Python textbook and a compiled twin, proved equal.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fastllm {fastllm.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")
    ] = False,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its code; it does not stop the work.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
