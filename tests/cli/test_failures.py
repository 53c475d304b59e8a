"""How commands fail: one line, no traceback, an exit code."""

import subprocess
import sys

import numpy as np
import pytest
from cli.running import fail, run, succeed


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "missing"],
        ["train", "missing", "--vocab-size", "300", "-o", "{tmp}/t.json"],
        ["encode", "-t", "{tok}", "missing"],
        ["encode", "-t", "{tok}", "missing", "-o", "{tmp}/ids.bin"],
        ["encode", "-t", "missing", "{text}"],
        ["decode", "-t", "{tok}", "missing.bin"],
        ["decode", "-t", "{tok}", "missing.npy"],
        ["count", "-t", "{tok}", "missing"],
        ["split", "missing"],
        ["attend", "-t", "missing", "hello"],
    ],
)
def test_missing_files_are_named(arguments, folder, tmp_path):
    names = {"tok": folder / "tok.json", "text": folder / "plain.txt", "tmp": tmp_path}
    line = fail(*(argument.format(**names) for argument in arguments))
    assert "missing" in line
    assert "No such file" in line
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_a_text(tmp_path):
    assert "directory" in fail("split", tmp_path)


@pytest.mark.parametrize("name", ["{tmp}/none/t.json", "{tmp}/none/ids.npy"])
def test_a_folder_that_is_not_there_is_named(name, folder, tmp_path):
    out = name.format(tmp=tmp_path)
    if out.endswith("json"):
        line = fail("train", folder / "plain.txt", "--vocab-size", 260, "-o", out)
    else:
        line = fail("encode", "-t", folder / "tok.json", folder / "plain.txt", "-o", out)
    assert str(tmp_path / "none") in line
    assert ".part" not in line


BAD = b"good\xff bad\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{bad}", "--vocab-size", "256", "-o", "{tmp}/t.json"],
        ["encode", "-t", "{tok}", "{bad}"],
        ["encode", "-t", "{tok}", "{bad}", "-o", "{tmp}/ids.bin"],
        ["count", "-t", "{tok}", "{bad}"],
        ["split", "{bad}"],
    ],
)
def test_bytes_that_are_not_utf8_stop_or_are_replaced(arguments, folder, tmp_path):
    (tmp_path / "bad").write_bytes(BAD)
    names = {"tok": folder / "tok.json", "bad": tmp_path / "bad", "tmp": tmp_path}
    arguments = [argument.format(**names) for argument in arguments]
    line = fail(*arguments)
    assert "not UTF-8: byte 0xFF at position 4" in line
    assert "--errors replace" in line
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]
    succeed(*arguments, "--errors", "replace")


def test_bad_utf8_on_standard_input_is_called_by_its_name():
    assert fail("split", stdin=BAD).startswith("standard input is not UTF-8: byte 0xFF")


def test_demo_says_where_a_binary_file_stops_being_text(tmp_path):
    (tmp_path / "bad").write_bytes(BAD)
    assert "not UTF-8: byte 0xFF at position 4" in fail("demo", tmp_path / "bad")


@pytest.mark.parametrize("size", ["255", "0", "-1"])
def test_vocabularies_smaller_than_the_bytes_are_refused(size, folder, tmp_path):
    arguments = ["train", folder / "plain.txt", "--vocab-size", size, "-o", tmp_path / "t.json"]
    assert "at least 256" in fail(*arguments, code=2)
    special = ["--special-token", "<a>"]
    assert "at least 257" in fail(*arguments[:3], "256", *arguments[4:], *special, code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "{text}", "--vocab-size", "300", "-o", "tok.txt"],
        ["encode", "-t", "{tok}", "{text}", "-o", "ids.txt"],
        ["decode", "-t", "{tok}", "{text}"],
    ],
)
def test_unknown_formats_are_refused_by_their_suffix(arguments, folder):
    names = {"tok": folder / "tok.json", "text": folder / "plain.txt"}
    assert "." in fail(*(argument.format(**names) for argument in arguments), code=2)


def test_a_file_that_is_no_tokenizer_is_refused(folder):
    assert "plain.txt" in fail("count", "-t", folder / "plain.txt", folder / "plain.txt")


def test_a_pattern_that_is_none_is_refused(folder):
    assert "neither a name" in fail("split", "-p", "[", folder / "plain.txt")


@pytest.mark.parametrize("arguments", [["bogus"], ["split", "--bogus"], ["encode"], ["train"]])
def test_calls_of_the_wrong_form_exit_2(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.stderr


WRONG_IDS = {
    "odd.bin": (b"abc", "3 bytes, not a multiple of 2"),
    "high.bin": (np.array([5, 300], "<u2").tobytes(), "id 300 at place 1"),
    "text.npy": (b"no array", "is not a .npy file"),
    "empty.npy": (b"", "is not a .npy file"),
}


@pytest.mark.parametrize("name", WRONG_IDS)
def test_files_that_hold_no_ids_are_refused(name, folder, tmp_path):
    data, message = WRONG_IDS[name]
    (tmp_path / name).write_bytes(data)
    assert message in fail("decode", "-t", folder / "tok.json", tmp_path / name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([1.5]), "one row of integers"),
        (np.array([[1, 2]]), "one row of integers"),
        (np.array([1, -1]), "id -1 at place 1"),
        (np.array([2**40]), f"id {2**40} at place 0"),
    ],
)
def test_arrays_that_hold_no_ids_are_refused(array, message, folder, tmp_path):
    np.save(tmp_path / "ids.npy", array)
    assert message in fail("decode", "-t", folder / "tok.json", tmp_path / "ids.npy")


@pytest.mark.parametrize("ids", ["1 2 x", "1.5", "99999999999999999999"])
def test_text_that_is_no_ids_is_refused(ids, folder):
    assert "does not hold ids" in fail("decode", "-t", folder / "tok.json", stdin=ids)


def test_ids_of_another_tokenizer_are_refused(folder):
    assert "another tokenizer" in fail("decode", "-t", folder / "tok.json", stdin="1 300")


def test_a_missing_typer_is_named_in_one_line():
    code = "import sys; sys.modules['typer'] = None; from fastllm.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'fastllm-kernels[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1
