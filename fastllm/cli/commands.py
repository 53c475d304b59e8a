"""The commands of fastllm, one function each."""

import codecs
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import fastllm
from fastllm.cli import files, tokenizers
from fastllm.cli.app import app, say
from fastllm.cli.corpus_commands import count, encode
from fastllm.cli.explain_command import explain
from fastllm.cli.files import STREAM, UsageError
from fastllm.cli.options import (
    Documents,
    Errors,
    ErrorsOption,
    LoadPatternOption,
    PatternOption,
    RayOption,
    SkipSpecialOption,
    SpecialIdsOption,
    TextArgument,
    ThreadsOption,
    TieBreak,
    TokenizerOption,
    check_ray_options,
)
from fastllm.cli.progress import plain_console, progress_bars
from fastllm.corpus.atomic_write import replacing
from fastllm.formats.files import SUFFIXES, any_of
from fastllm.tokenizers.encoding import SubwordTokenizer

__all__ = ["app"]


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
    if not show_demo(plain_console(), source):
        raise typer.Exit(1)


@app.command()
def train(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="UTF-8 text: files, folders, patterns, URLs; - is stdin."
        ),
    ],
    vocab_size: Annotated[
        int,
        typer.Option(
            help="Size of the vocabulary, everything included: bytes, specials and merges."
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help=f"Where to save: {any_of(SUFFIXES)}.")
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
    ray: RayOption = None,
) -> None:
    """Learn a byte-pair vocabulary from text files."""
    specials = special_token or []
    if vocab_size < 256 + len(specials):
        raise UsageError(
            f"--vocab-size must be at least {256 + len(specials)} (256 bytes and {len(specials)} "
            f"special tokens), not {vocab_size}"
        )
    if Path(output).suffix not in SUFFIXES:
        raise UsageError(f"{output}: a tokenizer is saved as {any_of(SUFFIXES)}")
    if ray is not None:
        check_ray_options(texts, threads)
    with ExitStack() as stack:
        paths = [path for text in texts for path in stack.enter_context(files.as_files(text))]
        counting, learning = stack.enter_context(progress_bars("counting words", "learning merges"))
        learn: Any = fastllm.BPETokenizer.train_from_files
        if ray is not None:
            from fastllm.integrations.ray import train as train_on_ray

            learn = partial(train_on_ray, address=ray)
        tokenizer = learn(
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
        with files.naming_errors(output):
            tokenizer.save(output)
    say(f"{tokenizer.n_vocab:,} tokens in {output}")


app.command()(encode)


@app.command()
def decode(
    tokenizer: TokenizerOption,
    file: Annotated[
        str, typer.Argument(help="Ids in .bin or .npy; - reads them as text from stdin.")
    ] = STREAM,
    output: Annotated[str, typer.Option("--output", "-o", help="A file; - is stdout.")] = STREAM,
    pattern: LoadPatternOption = None,
    special: SpecialIdsOption = None,
    skip_special_tokens: SkipSpecialOption = False,
) -> None:
    """Turn ids back into the bytes they were made from, or into text that is near it."""
    tok = tokenizers.load(tokenizer, pattern, special)
    decode_bytes = _bytes_decoder(tok, skip_special_tokens)
    ids = files.read_ids(file, tok.max_token_value)
    with ExitStack() as stack:
        out: Any = sys.stdout.buffer
        if output != STREAM:
            stack.enter_context(files.naming_errors(output))
            out = stack.enter_context(replacing(output, "wb"))
        progress = stack.enter_context(progress_bars("decoding"))
        for start in range(0, len(ids), files.CHUNK):
            out.write(decode_bytes(ids[start : start + files.CHUNK]))
            progress(min(start + files.CHUNK, len(ids)), len(ids))
        out.flush()


app.command()(count)


@app.command()
def split(
    file: TextArgument = STREAM,
    pattern: PatternOption = "gpt2",
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", help="Split as this tokenizer does, as for encode."),
    ] = None,
    errors: ErrorsOption = Errors.strict,
    list_patterns: Annotated[
        bool, typer.Option("--list-patterns", help="List the named patterns instead.")
    ] = False,
) -> None:
    """Cut text into pre-tokens, which merges never cross: one JSON string on each line."""
    if list_patterns:
        from fastllm.cli.tables import patterns_table

        plain_console().print(patterns_table())
        return
    escaped = codecs.lookup(sys.stdout.encoding).name != "utf-8"  # or it would not be JSON
    tok = None if tokenizer is None else tokenizers.load(tokenizer)
    cut_by = pattern if tok is None else tok.pattern_to_cut_by
    with progress_bars("splitting") as progress:
        for chunk in files.text_chunks(file, cut_by, (), errors.value, progress):
            for pretoken in fastllm.split(chunk, pattern) if tok is None else tok.split(chunk):
                sys.stdout.write(json.dumps(pretoken, ensure_ascii=escaped) + "\n")


@app.command()
def attend(
    sentence: Annotated[str, typer.Argument(help="A sentence; - reads it from stdin.")],
    tokenizer: Annotated[
        str | None,
        typer.Option("--tokenizer", "-t", help="Whose tokens, as for encode; else words."),
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
    tok = None if tokenizer is None else tokenizers.load(tokenizer, pattern)
    show_attention(plain_console(), sentence.rstrip("\n"), tok, causal=causal)


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


@app.command(name="compile")
def compile_kernels(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Where to keep them, for processes that have FASTLLM_CACHE_DIR=FOLDER; "
            "else where a first call would."
        ),
    ] = None,
) -> None:
    """Compile all kernels of attention for this processor, so that no first call has to.

    For images and clusters: a minute or so, once. What is there already is not compiled again.
    """
    from time import perf_counter

    from fastllm.fast import ahead_of_time

    start = perf_counter()
    kept_in = ahead_of_time.use_folder(folder)
    steps = ahead_of_time.steps()
    with progress_bars("compiling") as progress:
        for number, step in enumerate(steps):
            progress(number, len(steps))
            step.run()
    compiled, found = ahead_of_time.outcome()
    seconds = perf_counter() - start
    print(f"{compiled} kernels compiled, {found} found, {seconds:.1f} seconds, in {kept_in}")
    if folder is not None:
        print(f"to use them: FASTLLM_CACHE_DIR={kept_in}")


@app.command()
def info(
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            "-t",
            help="A tokenizer, as for encode, to see what it is and what splits text for it.",
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern",
            "-p",
            help="A split pattern, to see what splits by it; or that of the file, as elsewhere.",
        ),
    ] = None,
) -> None:
    """Say which versions and backends are at work here, and on what machine; or see a tokenizer."""
    from fastllm import _machine

    if tokenizer is not None:
        facts = _machine.tokenizer_facts(tokenizers.load(tokenizer, pattern))
    elif pattern is not None:
        facts = _machine.pattern_facts(pattern)
    else:
        facts = _machine.facts()
    for name, value in facts.items():
        print(f"{name + ':':<20}{value}")


def _bytes_decoder(tok: SubwordTokenizer, skip_special_tokens: bool) -> Callable[[Any], bytes]:
    """What turns ids into bytes, part by part."""
    if isinstance(tok, fastllm.BPETokenizer) and not skip_special_tokens:
        return tok.decode_bytes
    decoder = tok.stream_decoder(skip_special_tokens=skip_special_tokens)
    return lambda ids: decoder.push(ids).encode()
