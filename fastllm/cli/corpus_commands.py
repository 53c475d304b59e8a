"""The commands that read a corpus and need a tokenizer: ``encode`` and ``count``."""

import glob
import json
import os
import shlex
import sys
from contextlib import ExitStack
from enum import Enum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from fastllm.cli import files, tokenizers
from fastllm.cli.app import with_ray_address
from fastllm.cli.files import STREAM, UsageError
from fastllm.cli.options import (
    AddSpecialOption,
    AsTextOption,
    Documents,
    Errors,
    ErrorsOption,
    LoadPatternOption,
    RayOption,
    SpecialIdsOption,
    SpecialsOption,
    ThreadsOption,
    TokenizerOption,
    check_ray_options,
)
from fastllm.cli.progress import corpus_progress, plain_console, progress_bars
from fastllm.corpus.encoded.documents import RECORDS, DocumentOptions, read_batches
from fastllm.corpus.encoded.encoding import SHARD_TOKENS, WORKERS, encode_corpus
from fastllm.corpus.encoded.file_formats import FORMATS, SUFFIXES
from fastllm.corpus.encoded.inputs import find_sources
from fastllm.corpus.sources import kind_of
from fastllm.tokenizers.encoding import SubwordTokenizer

PACKED = (".gz", ".zst")
WITH_VALUE = ("--workers", "--threads", "--ray")
WITHOUT_COMMAND = (*WITH_VALUE, "--json", "--resume", "--no-resume")
Format = Enum("Format", {name: name for name in FORMATS}, type=str)  # type: ignore[misc]

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders, patterns or URLs: text, .jsonl, .json, .csv, .parquet, also .gz and "
        ".zst; - is stdin.",
    ),
]
FieldOption = Annotated[
    str | None,
    typer.Option(help="Field of objects, or column of tables, with the texts; text if not given."),
]
SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Go on after records and files that cannot be read."),
]


def encode(
    tokenizer: TokenizerOption,
    inputs: InputsArgument = None,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="A folder for shards, or one file, .bin or .npy; - prints ids."
        ),
    ] = STREAM,
    pattern: LoadPatternOption = None,
    special: SpecialIdsOption = None,
    format: Annotated[
        Format | None, typer.Option(help="How ids lie in files; bin if not given.")
    ] = None,
    documents: Annotated[
        Documents, typer.Option(help="Whether each text file is a document, or each line.")
    ] = Documents.files,
    field: FieldOption = None,
    separator: Annotated[
        str | None, typer.Option(help="Put this token, or id, behind each document.")
    ] = None,
    begin: Annotated[
        str | None, typer.Option(help="Put this token, or id, before each document.")
    ] = None,
    allow_special: SpecialsOption = False,
    special_as_text: AsTextOption = False,
    add_special_tokens: AddSpecialOption = False,
    errors: ErrorsOption = Errors.strict,
    skip_bad: SkipBadOption = False,
    shard_tokens: Annotated[
        int, typer.Option(min=1, help="Shards end with the document that brings them to this.")
    ] = SHARD_TOKENS,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FRACTION",
            help="Put this part of the documents, by a hash, into a split of its own; repeatable.",
        ),
    ] = None,
    shuffle: Annotated[
        int | None,
        typer.Option(metavar="SEED", min=0, help="Write all documents in random order."),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on where an earlier run of this command was stopped.")
    ] = True,
    workers: Annotated[
        int, typer.Option(min=1, help="Threads that read, unpack and parse.")
    ] = WORKERS,
    threads: ThreadsOption = None,
    ray: RayOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the index, as JSON, when all is done.")
    ] = False,
) -> None:
    """Turn text into ids: one text, or a whole corpus into shards with an index."""
    paths = inputs or [STREAM]
    options: dict[str, Any] = {
        "format": format and format.value,
        "documents": None if documents is Documents.files else documents.value,
        "field": field,
        "separator": separator,
        "begin": begin,
        "skip_bad": skip_bad or None,
        "split": _fractions(split) if split else None,
        "shuffle": shuffle,
    }
    options = {name: value for name, value in options.items() if value is not None}
    _check_output(output)
    in_text = tokenizers.special_tokens_in_text(allow_special, special_as_text)
    tok = tokenizers.load(tokenizer, pattern, special)
    if (
        not options
        and not as_json
        and ray is None
        and _is_one_text(paths)
        and not _is_folder(output)
    ):
        _encode_text(tok, paths[0], output, add_special_tokens, errors.value, threads, in_text)
        return
    if add_special_tokens:
        raise UsageError(
            "--add-special-tokens is for one text: --begin and --separator put a token around "
            "each document"
        )
    if output == STREAM:
        raise UsageError("only one text is printed as ids: give a folder or a file with -o")
    if ray is not None:
        check_ray_options(paths, threads if workers == WORKERS else workers)
    with ExitStack() as stack:
        if STREAM in paths:  # cannot be read again
            paths = [str(stack.enter_context(files.as_file(path))) for path in paths]
            resume = False
        here: dict[str, Any] = {"workers": workers, "threads": threads}
        encode_all: Any = encode_corpus
        if ray is not None:
            from fastllm.integrations.ray import encode_corpus as encode_all

            here = {"address": ray}
        index = encode_all(
            paths,
            tok,
            output,
            allow_special=allow_special,
            errors=errors.value,
            shard_tokens=shard_tokens,
            resume=resume,
            **here,
            progress=stack.enter_context(corpus_progress("encoding")),
            command=_command(),
            **options,
        )
    if as_json:
        print(json.dumps(index, indent=1))
    else:
        from fastllm.cli.tables import corpus_table

        plain_console(stderr=True).print(corpus_table(index, output))


def _fractions(given: list[str]) -> dict[str, float]:
    """Splits and their parts, as ``NAME=FRACTION`` says them."""
    fractions = {}
    for each in given:
        name, _, fraction = each.partition("=")
        try:
            fractions[name] = float(fraction)
        except ValueError:
            message = f"--split must be NAME=FRACTION, as validation=0.01, not {each!r}"
            raise UsageError(message) from None
    return fractions


def _check_output(output: str) -> None:
    if output != STREAM and not _is_folder(output) and Path(output).suffix not in SUFFIXES:
        raise UsageError(
            f"{output}: ids are saved as {' or '.join(SUFFIXES)}, in a folder (a name without a "
            "suffix), or printed (-o -)"
        )


def _is_folder(output: str) -> bool:
    return output != STREAM and (
        os.path.isdir(output) or output.endswith(os.sep) or not Path(output).suffix
    )


def _is_one_text(paths: list[str]) -> bool:
    """Whether this is a single text, as it lies there."""
    if len(paths) != 1 or "://" in paths[0] or os.path.isdir(paths[0]):
        return False
    name = paths[0].lower()
    if name.endswith(PACKED) or kind_of(name) in RECORDS:
        return False
    return not glob.has_magic(name) or os.path.exists(paths[0])


def _encode_text(
    tok: SubwordTokenizer,
    text: str,
    output: str,
    add_special_tokens: bool,
    errors: str,
    threads: int | None,
    in_text: dict[str, Any],
) -> None:
    with ExitStack() as stack:
        progress = stack.enter_context(progress_bars("encoding"))
        if output == STREAM:
            chunks = files.text_chunks(
                text, tok.pattern_to_cut_by, tok.special_tokens, errors, progress
            )
            before, after = tok.template.around() if add_special_tokens else ((), ())
            blank = ""
            for ids in chain([before], (tok.encode(chunk, **in_text) for chunk in chunks), [after]):
                if ids:
                    sys.stdout.write(blank + " ".join(map(str, ids)))
                    blank = " "
            sys.stdout.write("\n")
        else:
            path = stack.enter_context(files.as_file(text))
            stack.enter_context(files.naming_errors(output))
            tok.encode_file(
                path,
                output,
                add_special_tokens=add_special_tokens,
                errors=errors,
                threads=threads,
                progress=progress,
                **in_text,
            )


def count(
    tokenizer: TokenizerOption,
    inputs: InputsArgument = None,
    pattern: LoadPatternOption = None,
    special: SpecialIdsOption = None,
    field: FieldOption = None,
    allow_special: SpecialsOption = False,
    special_as_text: AsTextOption = False,
    add_special_tokens: AddSpecialOption = False,
    errors: ErrorsOption = Errors.strict,
    skip_bad: SkipBadOption = False,
    ray: RayOption = None,
) -> None:
    """Count the tokens of texts, and of all of them together."""
    in_text = tokenizers.special_tokens_in_text(allow_special, special_as_text)
    tok = tokenizers.load(tokenizer, pattern, special)
    if ray is not None:
        if add_special_tokens:
            raise UsageError("--add-special-tokens is counted on this machine: leave out --ray")
        _count_on_ray(tok, inputs or [STREAM], field, allow_special, errors.value, skip_bad, ray)
        return
    around = tok.template.added() if add_special_tokens else 0
    total = lines = 0
    for path in inputs or [STREAM]:
        if path == STREAM or (field is None and not skip_bad and _is_one_text([path])):
            with progress_bars("counting") as progress:
                chunks = files.text_chunks(
                    path, tok.pattern_to_cut_by, tok.special_tokens, errors.value, progress
                )
                found = around + sum(tok.count(chunk, **in_text) for chunk in chunks)
            print(found if path == STREAM else f"{found} {path}")
            total, lines = total + found, lines + 1
            continue
        options = DocumentOptions.checked(tok, "files", field or "text", errors.value, skip_bad)
        in_corpus = in_text or {"disallowed_special": ()}
        for source in find_sources(path):
            found = 0
            for batch in read_batches([(0, source)], options):
                found += sum(tok.count_batch(batch.texts, **in_corpus))
                found += around * batch.documents
                for message in batch.bad:
                    print(f"fastllm: left out: {message}", file=sys.stderr)
            print(f"{found} {source.path}")
            total, lines = total + found, lines + 1
    if lines > 1:
        print(f"{total} total")


def _count_on_ray(
    tok: SubwordTokenizer,
    paths: list[str],
    field: str | None,
    allow_special: bool,
    errors: str,
    skip_bad: bool,
    address: str,
) -> None:
    from fastllm.integrations.ray import count_tokens

    check_ray_options(paths)
    counts, bad = count_tokens(
        paths,
        tok,
        address=address,
        field=field or "text",
        allow_special=allow_special,
        errors=errors,
        skip_bad=skip_bad,
    )
    for message in bad:
        print(f"fastllm: left out: {message}", file=sys.stderr)
    for path, found in counts:
        print(f"{found} {path}")
    if len(counts) > 1:
        print(f"{sum(found for _, found in counts)} total")


def _command() -> str:
    """The command line, without what does not change the output."""
    words, skip = [], False
    for word in with_ray_address(sys.argv[1:]):
        name = word.split("=")[0]
        if not skip and name not in WITHOUT_COMMAND:
            words.append(word)
        skip = name in WITH_VALUE and "=" not in word
    return shlex.join(["fastllm", *words])
