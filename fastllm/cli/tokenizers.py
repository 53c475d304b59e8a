"""Which tokenizer ``-t`` means, and what commands do about special tokens: decided here, once."""

import errno
from pathlib import Path
from typing import Any

import fastllm
from fastllm.cli.files import UsageError
from fastllm.formats import tiktoken
from fastllm.formats.source_file import SourceFile
from fastllm.tokenizers.encoding import SubwordTokenizer
from fastllm.vocabularies import local_files
from fastllm.vocabularies.open_vocabularies import OPEN_VOCABULARIES
from fastllm.vocabularies.openai_encodings import ENCODINGS


def load(
    chosen: str, pattern: str | None = None, special: list[str] | None = None
) -> SubwordTokenizer:
    """The tokenizer of a file or a folder, or else a published one of this name.

    Parameters
    ----------
    chosen : str
        A path, or a name. A file that is there comes before a name.
    pattern : str, optional
        The split pattern of a file that does not name one.
    special : list of str, optional
        Special tokens of a file of ranks, each as ``NAME=ID``.

    Raises
    ------
    FileNotFoundError
        If there is no such file, nor a name; if the file of a published tokenizer is not here.
    ValueError
        As `fastllm.load_tokenizer`; for options that the tokenizer has no use for.
    """
    if Path(chosen).exists():
        return _of_file(chosen, pattern, special)
    if chosen in ENCODINGS or chosen in OPEN_VOCABULARIES:
        if pattern is not None or special:
            option = "--special" if pattern is None else "--pattern"
            raise UsageError(f"{chosen} has its own pattern and special tokens: leave {option} out")
        return _published(chosen)
    found = local_files.find(chosen)
    if found is None:
        names = ", ".join([*ENCODINGS, *OPEN_VOCABULARIES])
        raise FileNotFoundError(
            errno.ENOENT, f"No such file or folder, nor a published tokenizer ({names})", chosen
        )
    return _of_file(str(found), pattern, special)


def _published(name: str) -> SubwordTokenizer:
    """The tokenizer of a published vocabulary, whose files must be on this machine or the web."""
    if name in OPEN_VOCABULARIES and local_files.find(name) is None:
        file = OPEN_VOCABULARIES[name].file
        folders = " or ".join(map(str, local_files.own_folders()))
        raise FileNotFoundError(
            f"{name} is not on this machine, and is not downloaded. Give the model's {file} or its "
            f"folder instead (-t PATH), or put it as {name}.json into {folders} "
            "(FASTLLM_VOCAB_DIR names another folder)"
        )
    return fastllm.get_encoding(name)


def _of_file(path: str, pattern: str | None, special: list[str] | None) -> SubwordTokenizer:
    options: dict[str, Any] = {} if pattern is None else {"pattern": pattern}
    if special:
        tokens = _special_tokens(special)
        if Path(path).is_dir() or not tiktoken.is_ranks(
            SourceFile(Path(path), Path(path).read_bytes())
        ):
            raise UsageError(
                f"{path}: --special is for files of ranks (.tiktoken), which name no special "
                "tokens; this tokenizer has its own"
            )
        options["special_tokens"] = tokens
    return fastllm.load_tokenizer(path, **options)


def _special_tokens(given: list[str]) -> dict[str, int]:
    """Special tokens with their ids.

    >>> _special_tokens(["<|endoftext|>=50256", "a=b=7"])
    {'<|endoftext|>': 50256, 'a=b': 7}
    """
    tokens: dict[str, int] = {}
    for each in given:
        name, _, number = each.rpartition("=")
        if not (name and number.isascii() and number.isdecimal()):
            raise UsageError(f"--special must be NAME=ID, as '<|endoftext|>=50256', not {each!r}")
        if name in tokens:
            raise UsageError(f"--special gives {name!r} twice")
        tokens[name] = int(number)
    return tokens


def special_tokens_in_text(allow: bool, as_text: bool) -> dict[str, Any]:
    """What special tokens in a text become: their ids, ordinary text, or else an error."""
    if allow and as_text:
        raise UsageError(
            "--allow-special makes special tokens of them, --special-as-text ordinary text: "
            "give one of both"
        )
    if allow:
        return {"allowed_special": "all"}
    return {"disallowed_special": ()} if as_text else {}
