"""The commands of fastllm, and how each of them ends: 0 done, 1 failed, 2 called the wrong way."""

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

import fastllm
from fastllm.cli import files
from fastllm.cli.explain_command import explain
from fastllm.cli.files import STREAM, UsageError
from fastllm.corpus.atomic_write import replacing

INTERRUPTED = 130  # 128 + SIGINT, as shells count
TRACEBACK = "FASTLLM_TRACEBACK"


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


class Commands(TyperGroup):
    """The group of commands: whatever goes wrong in one becomes a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings(), _unwinding():
            warnings.simplefilter("default")
            warnings.showwarning = lambda message, *_: _say(f"warning: {message}")
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
                _say(_in_one_line(error))
                _close_stdout()
                raise typer.Exit(2 if isinstance(error, UsageError) else 1) from None


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, past the code that removes temporary files."""

    def unwind(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(line: str) -> None:
    print(f"fastllm: {line}", file=sys.stderr)


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'standard output'}: {error.strerror}"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    # Messages name the argument of the library; here it is an option.
    text = text.replace('errors="replace"', "--errors replace")
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

TokenizerOption = Annotated[
    Path,
    typer.Option(
        "--tokenizer", "-t", help="A tokenizer: tokenizer.json, .tiktoken, .model or vocab.json."
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


def _console(stderr: bool = False) -> Console:
    """A console that writes text as it is: user text is no markup."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


@contextmanager
def _progress(*steps: str) -> Iterator[Any]:
    """Bars on standard error, if that is a terminal: for each step a callback (done, total).

    A step is shown from its first call on; the first one at once.
    """
    console = _console(stderr=True)
    if not console.is_terminal:
        silent = [lambda done, total: None for _ in steps]
        yield silent if len(steps) > 1 else silent[0]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        shown = [_shown_step(bar, step, number == 0) for number, step in enumerate(steps)]
        yield shown if len(steps) > 1 else shown[0]


def _shown_step(bar: Progress, step: str, visible: bool) -> fastllm.TimeLeft:
    """A callback (done, total) that moves a bar of its own and says how long it will take."""
    task = bar.add_task(step, total=None, start=visible, visible=visible, left="")

    def show(done: int, total: int, seconds: float | None) -> None:
        if not bar.tasks[task].started:
            bar.start_task(task)
        left = "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
        bar.update(task, completed=done, total=total, visible=True, left=left)

    return fastllm.TimeLeft(show)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Give errors of writing, a full disk above all, the name of the file they have none of."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or path
        raise


def _load(path: Path, pattern: str | None = None) -> fastllm.BPETokenizer:
    return fastllm.BPETokenizer.from_file(path, pattern=pattern)


@app.command()
def demo(
    file: Annotated[
        str | None, typer.Argument(help="Any UTF-8 text; by default one that comes with Python.")
    ] = None,
) -> None:
    """See everything at work on one text, on both backends, and how far they agree."""
    from fastllm.cli.demo_view import show_demo
    from fastllm.explain import demo as chapters

    if file is None:
        source = chapters.built_in_text()
    else:
        with files.as_file(file) as path:
            source = chapters.read_text(path, files.shown_name(file))
    if not show_demo(_console(), source):
        raise typer.Exit(1)


@app.command()
def train(
    texts: Annotated[list[str], typer.Argument(metavar="FILE...", help="UTF-8 text; - is stdin.")],
    vocab_size: Annotated[
        int, typer.Option(help="Tokens wanted in all, bytes and specials included.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Where to save: .json, .tiktoken or .model.")
    ],
    pattern: PatternOption = "gpt2",
    tie_break: Annotated[
        TieBreak, typer.Option(help="Which of several pairs as frequent is merged first.")
    ] = TieBreak.lowest_ids,
    min_frequency: Annotated[int, typer.Option(help="Merge no pair that occurs less often.")] = 1,
    max_token_bytes: Annotated[int | None, typer.Option(help="Make no longer token.")] = None,
    special_token: Annotated[
        list[str] | None, typer.Option(help="A token of its own, never merged; may be repeated.")
    ] = None,
    documents: Annotated[
        Documents, typer.Option(help="Whether each file is a document, or each line.")
    ] = Documents.files,
    field: Annotated[
        str | None, typer.Option(help="Field of .jsonl, or column of .parquet, with the texts.")
    ] = None,
    errors: ErrorsOption = Errors.strict,
    threads: ThreadsOption = None,
) -> None:
    """Learn a byte-pair vocabulary from text files."""
    specials = special_token or []
    if vocab_size < 256 + len(specials):
        raise UsageError(
            f"--vocab-size must be at least {256 + len(specials)} (256 bytes and {len(specials)} "
            f"special tokens), not {vocab_size}"
        )
    if Path(output).suffix not in (".json", ".tiktoken", ".model"):
        raise UsageError(f"{output}: a tokenizer is saved as .json, .tiktoken or .model")
    with ExitStack() as stack:
        paths = [stack.enter_context(files.as_file(text)) for text in texts]
        counting, learning = stack.enter_context(_progress("counting words", "learning merges"))
        tokenizer = fastllm.BPETokenizer.train_from_files(
            paths,
            vocab_size,
            pattern=pattern,
            special_tokens=specials,
            tie_break=tie_break.value,
            min_frequency=min_frequency,
            max_token_bytes=max_token_bytes,
            threads=threads,
            count_progress=counting,
            progress=learning,
            documents=documents.value,
            field=field,
            errors=errors.value,
        )
        with _naming(output):
            tokenizer.save(output)
    _say(f"{tokenizer.n_vocab:,} tokens in {output}")


@app.command()
def encode(
    tokenizer: TokenizerOption,
    file: TextArgument = STREAM,
    output: Annotated[
        str, typer.Option("--output", "-o", help="Ids as .bin or .npy; - prints them.")
    ] = STREAM,
    pattern: LoadPatternOption = None,
    allow_special: SpecialsOption = False,
    errors: ErrorsOption = Errors.strict,
    threads: ThreadsOption = None,
) -> None:
    """Turn text into ids."""
    if output != STREAM and Path(output).suffix not in (".bin", ".npy"):
        raise UsageError(f"{output}: ids are saved as .bin or .npy, or printed (-o -)")
    tok = _load(tokenizer, pattern)
    specials = _specials(tok, allow_special)
    with ExitStack() as stack:
        progress = stack.enter_context(_progress("encoding"))
        if output == STREAM:
            chunks = files.text_chunks(
                file, tok.pattern, tok.special_tokens, errors.value, progress
            )
            blank = ""
            for chunk in chunks:
                ids = tok.encode(chunk, **specials)
                if ids:
                    sys.stdout.write(blank + " ".join(map(str, ids)))
                    blank = " "
            sys.stdout.write("\n")
        else:
            path = stack.enter_context(files.as_file(file))
            stack.enter_context(_naming(output))
            tok.encode_file(
                path, output, errors=errors.value, threads=threads, progress=progress, **specials
            )


@app.command()
def decode(
    tokenizer: TokenizerOption,
    file: Annotated[
        str, typer.Argument(help="Ids in .bin or .npy; - reads them as text from stdin.")
    ] = STREAM,
    output: Annotated[str, typer.Option("--output", "-o", help="A file; - is stdout.")] = STREAM,
    pattern: LoadPatternOption = None,
) -> None:
    """Turn ids back into the bytes they were made from."""
    tok = _load(tokenizer, pattern)
    ids = files.read_ids(file, tok.max_token_value)
    with ExitStack() as stack:
        out: Any = sys.stdout.buffer
        if output != STREAM:
            stack.enter_context(_naming(output))
            out = stack.enter_context(replacing(output, "wb"))
        progress = stack.enter_context(_progress("decoding"))
        for start in range(0, len(ids), files.CHUNK):
            out.write(tok.decode_bytes(ids[start : start + files.CHUNK]))
            progress(min(start + files.CHUNK, len(ids)), len(ids))
        out.flush()


@app.command()
def count(
    tokenizer: TokenizerOption,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="FILE...", help="UTF-8 text; - is stdin.")
    ] = None,
    pattern: LoadPatternOption = None,
    allow_special: SpecialsOption = False,
    errors: ErrorsOption = Errors.strict,
) -> None:
    """Count the tokens of text files, and of all of them together."""
    tok = _load(tokenizer, pattern)
    specials = _specials(tok, allow_special)
    total = 0
    for text in texts or [STREAM]:
        with _progress("counting") as progress:
            chunks = files.text_chunks(
                text, tok.pattern, tok.special_tokens, errors.value, progress
            )
            found = sum(tok.count(chunk, **specials) for chunk in chunks)
        print(found if text == STREAM else f"{found} {text}")
        total += found
    if texts and len(texts) > 1:
        print(f"{total} total")


@app.command()
def split(
    file: TextArgument = STREAM,
    pattern: PatternOption = "gpt2",
    errors: ErrorsOption = Errors.strict,
) -> None:
    """Cut text into the pieces that merges never cross: one JSON string on each line."""
    with _progress("splitting") as progress:
        for chunk in files.text_chunks(file, pattern, (), errors.value, progress):
            for piece in fastllm.split(chunk, pattern):
                sys.stdout.write(json.dumps(piece, ensure_ascii=False) + "\n")


@app.command()
def attend(
    sentence: Annotated[str, typer.Argument(help="A sentence; - reads it from stdin.")],
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", "-t", help="Whose tokens; else words.")
    ] = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Each token sees only itself and earlier ones.")
    ] = False,
    pattern: LoadPatternOption = None,
) -> None:
    """Show how much each token of a sentence attends to each other one."""
    from fastllm.cli.sentences import show_attention

    if sentence == STREAM:
        sentence = sys.stdin.buffer.read().decode()
    tok = None if tokenizer is None else _load(tokenizer, pattern)
    show_attention(_console(), sentence.rstrip("\n"), tok, causal=causal)


@app.command()
def check_book(
    story: Annotated[
        Path | None,
        typer.Option(
            help="the-verdict.txt, the story that chapter 2 of the book works on; else it is "
            "looked for where vocabularies are, and downloaded."
        ),
    ] = None,
    gpt: Annotated[
        bool,
        typer.Option("--gpt", help="Make the untrained GPT-2 of chapters 4 and 5 as well."),
    ] = False,
    numbers: Annotated[
        bool, typer.Option("--numbers", help="Show all numbers, not how each fact begins.")
    ] = False,
) -> None:
    """Compute again, on both backends, what the book prints in its chapters 2 and 3.

    The book is "Build a Large Language Model (From Scratch)" by Sebastian Raschka.
    """
    from fastllm.cli import check_book as book

    if not book.check_book(story, gpt, numbers):
        raise typer.Exit(1)


app.command()(explain)


@app.command()
def info() -> None:
    """Say which versions and backends are at work here, and on what machine."""
    from fastllm._machine import facts

    for name, value in facts().items():
        print(f"{name + ':':<20}{value}")


def _specials(tok: fastllm.BPETokenizer, allow: bool) -> dict[str, Any]:
    """What special tokens in a text become: their ids, or the error that the library raises."""
    return {"allowed_special": "all"} if allow else {}
