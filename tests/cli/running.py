"""How the tests run a command: in this process, or as one of its own."""

import os
import sys

import pytest
from typer.testing import CliRunner

from fastllm.cli.commands import app

TEXT = (
    "the cat sat on the mat\nthe hat sat on the cat\n\n  Straße, 猫が好き 😀 <|endoftext|>\r\n" * 20
)
WITHOUT_SPECIAL = TEXT.replace("<|endoftext|>", "")
COMMAND = [sys.executable, "-m", "fastllm"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals, pipes and devices")


def run(*arguments, stdin=None):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def succeed(*arguments, stdin=None):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def fail(*arguments, stdin=None, code=1):
    """Run a command that must end in one line on standard error; gives that line."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("fastllm: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("fastllm: ").rstrip()
