"""The fastllm command: what it writes, how it ends, and what it leaves behind when stopped."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastllm
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, and a tokenizer with one special token."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_bytes(TEXT.encode())
    (folder / "plain.txt").write_bytes(WITHOUT_SPECIAL.encode())
    tokenizer = fastllm.BPETokenizer.train(TEXT, 280, special_tokens=["<|endoftext|>"])
    tokenizer.save(folder / "tok.json")
    return folder


@pytest.fixture(scope="module")
def tok(folder):
    return fastllm.BPETokenizer.from_file(folder / "tok.json")


# --- What the commands do


def test_train_learns_what_the_library_learns(folder, tmp_path, tok):
    out = tmp_path / "tok.json"
    arguments = ["--vocab-size", 280, "--special-token", "<|endoftext|>", "-o", out]
    result = succeed("train", folder / "text.txt", *arguments)
    assert result.stdout == ""
    assert result.stderr == f"fastllm: 280 tokens in {out}\n"
    assert fastllm.BPETokenizer.from_file(out) == tok


@pytest.mark.parametrize("suffix", ["json", "tiktoken", "model"])
def test_train_saves_the_format_of_the_suffix(suffix, folder, tmp_path):
    out = tmp_path / f"tok.{suffix}"
    succeed("train", folder / "plain.txt", "--vocab-size", 280, "-o", out)
    pattern = ["--pattern", "gpt2"] if suffix == "tiktoken" else []
    result = succeed("count", "-t", out, *pattern, folder / "plain.txt")
    assert int(result.stdout.split()[0]) < len(WITHOUT_SPECIAL.encode())


def test_train_takes_every_option(folder, tmp_path):
    out = tmp_path / "tok.json"
    options = [
        *("--pattern", "cl100k", "--tie-break", "first-seen", "--min-frequency", 2),
        *("--max-token-bytes", 3, "--threads", 1, "--errors", "replace"),
        *("--special-token", "<a>", "--special-token", "<b>"),
    ]
    succeed("train", folder / "text.txt", "--vocab-size", 270, *options, "-o", out)
    tok = fastllm.BPETokenizer.from_file(out)
    assert set(tok.special_tokens) == {"<a>", "<b>"}
    assert max(map(len, tok.mergeable_ranks)) <= 3


def test_train_reads_standard_input(tmp_path, folder):
    out, same = tmp_path / "out.json", tmp_path / "same.json"
    succeed("train", "-", "--vocab-size", 270, "-o", out, stdin=WITHOUT_SPECIAL.encode())
    succeed("train", folder / "plain.txt", "--vocab-size", 270, "-o", same)
    assert out.read_bytes() == same.read_bytes()


def test_train_says_when_nothing_is_left_to_merge(tmp_path):
    out = tmp_path / "tok.json"
    result = succeed("train", "-", "--vocab-size", 300, "-o", out, stdin=b"aab")
    assert "warning: training ended after 2 of 44 merges" in result.stderr
    assert "258 tokens" in result.stderr


@pytest.mark.parametrize("suffix", ["bin", "npy"])
def test_encode_and_decode_give_the_same_bytes(suffix, folder, tmp_path, tok):
    ids, text = tmp_path / f"ids.{suffix}", tmp_path / "text.txt"
    succeed("encode", "-t", folder / "tok.json", folder / "plain.txt", "-o", ids)
    found = np.load(ids) if suffix == "npy" else np.fromfile(ids, "<u2")
    assert found.tolist() == tok.encode(WITHOUT_SPECIAL)
    succeed("decode", "-t", folder / "tok.json", ids, "-o", text)
    assert text.read_bytes() == WITHOUT_SPECIAL.encode()
    printed = succeed("decode", "-t", folder / "tok.json", ids)
    assert printed.stdout_bytes == WITHOUT_SPECIAL.encode()


def test_ids_take_four_bytes_where_two_are_too_few(tmp_path):
    ranks = {bytes([byte]): byte for byte in range(255)} | {b"\xff": 70_000}
    fastllm.BPETokenizer(ranks, pattern="gpt2").save(tmp_path / "tok.json")
    (tmp_path / "text.txt").write_text("wide")
    succeed("encode", "-t", tmp_path / "tok.json", tmp_path / "text.txt", "-o", tmp_path / "i.bin")
    assert np.fromfile(tmp_path / "i.bin", "<u4").tolist() == [ord(c) for c in "wide"]
    assert succeed("decode", "-t", tmp_path / "tok.json", tmp_path / "i.bin").stdout == "wide"


def test_encode_prints_ids_that_decode_reads(folder, tok):
    data = WITHOUT_SPECIAL.encode()
    ids = succeed("encode", "-t", folder / "tok.json", stdin=data).stdout
    assert list(map(int, ids.split())) == tok.encode(WITHOUT_SPECIAL)
    assert ids.count("\n") == 1
    assert succeed("decode", "-t", folder / "tok.json", stdin=ids).stdout_bytes == data


def test_encode_reads_standard_input_into_a_file(folder, tmp_path, tok):
    data = WITHOUT_SPECIAL.encode()
    succeed("encode", "-t", folder / "tok.json", "-", "-o", tmp_path / "i.npy", stdin=data)
    assert np.load(tmp_path / "i.npy").tolist() == tok.encode(WITHOUT_SPECIAL)


@pytest.mark.parametrize("output", ["-", "ids.npy", "ids.bin"])
def test_encode_of_nothing_is_nothing(output, folder, tmp_path):
    out = "-" if output == "-" else tmp_path / output
    result = succeed("encode", "-t", folder / "tok.json", "-", "-o", out, stdin=b"")
    if output == "-":
        assert result.stdout == "\n"
    else:
        assert succeed("decode", "-t", folder / "tok.json", out).stdout == ""


@pytest.mark.parametrize("output", ["-", "ids.npy"])
def test_special_tokens_are_refused_unless_allowed(output, folder, tmp_path, tok):
    out = "-" if output == "-" else tmp_path / output
    arguments = ["encode", "-t", folder / "tok.json", folder / "text.txt", "-o", out]
    assert "<|endoftext|>" in fail(*arguments)
    assert not (tmp_path / "ids.npy").exists()
    printed = succeed(*arguments, "--allow-special").stdout
    ids = list(map(int, printed.split())) if output == "-" else np.load(out).tolist()
    assert ids == tok.encode(TEXT, allowed_special="all")


def test_count_counts_each_file_and_all(folder, tok):
    count = len(tok.encode(WITHOUT_SPECIAL))
    plain, tokenizer = folder / "plain.txt", folder / "tok.json"
    assert succeed("count", "-t", tokenizer, plain).stdout == f"{count} {plain}\n"
    two = succeed("count", "-t", tokenizer, plain, plain).stdout
    assert two.splitlines()[-1] == f"{2 * count} total"
    assert succeed("count", "-t", tokenizer, stdin=WITHOUT_SPECIAL).stdout == f"{count}\n"
    allowed = succeed("count", "-t", tokenizer, "--allow-special", folder / "text.txt")
    assert int(allowed.stdout.split()[0]) == tok.count(TEXT, allowed_special="all")


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", r"\p{L}+"])
def test_split_prints_a_json_string_for_each_piece(pattern, folder):
    result = succeed("split", "--pattern", pattern, folder / "text.txt")
    pieces = [json.loads(line) for line in result.stdout.splitlines()]
    assert pieces == fastllm.split(TEXT, pattern)


def test_files_larger_than_a_chunk_are_the_same_as_one_text(folder, tmp_path, tok):
    large = "".join(f"line {number} of the cat\n" for number in range(120_000))
    (tmp_path / "large.txt").write_text(large)
    tokenizer = folder / "tok.json"
    assert large.encode().__len__() > 2_000_000
    printed = succeed("encode", "-t", tokenizer, tmp_path / "large.txt").stdout
    assert np.array_equal(np.array(printed.split(), np.int64), tok.encode_to_numpy(large))
    assert succeed("count", "-t", tokenizer, stdin=large).stdout == f"{tok.count(large)}\n"


def test_attend_shows_the_worked_example():
    result = succeed("attend", "Your journey starts with one step")
    assert "worked example" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("journey"))
    assert row.split() == ["journey", "14", "24", "23", "12", "11", "16"]


def test_attend_causal_sees_no_future():
    result = succeed("attend", "--causal", "one two three")
    rows = [line.split() for line in result.stdout.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["one", "two", "three"]
    assert rows[0][1:] == ["100", "0", "0"]
    assert rows[1][3] == "0"
    assert all(98 <= sum(map(int, row[1:])) <= 102 for row in rows)


@pytest.mark.parametrize("sentence", ["", " ", "word", "a " * 300, "😀[bold]\x1b[31m"])
def test_attend_takes_any_sentence(sentence, folder):
    for options in ([], ["--tokenizer", str(folder / "tok.json")]):
        result = succeed("attend", *options, sentence)
        assert "\x1b" not in result.stdout


def test_attend_reads_standard_input():
    assert "journey" in succeed("attend", "-", stdin="Your journey starts with one step\n").stdout


def test_info_names_backends_and_why():
    lines = succeed("info").stdout.splitlines()
    for topic, backend in fastllm.backends().items():
        assert any(line.startswith(f"{topic} backend:") and backend in line for line in lines)
    assert any(line.startswith("instruction set:") for line in lines)


def test_info_says_when_the_reference_was_asked_for():
    environment = os.environ | {"FASTLLM_BACKEND": "reference"}
    done = subprocess.run([*COMMAND, "info"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.count("reference (FASTLLM_BACKEND=reference)") == 2


def test_version_is_the_package_version():
    assert succeed("--version").stdout == f"fastllm {fastllm.__version__}\n"


@pytest.mark.parametrize(
    "command", ["demo", "train", "encode", "decode", "count", "split", "attend", "info"]
)
def test_every_command_has_help(command):
    assert "Usage" in succeed(command, "--help").stdout


# --- How they fail: one line, no traceback, an exit code


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


# --- As a process: pipes, terminals, full disks, signals


@POSIX
def test_a_reader_that_leaves_early_ends_the_writer_quietly(tmp_path):
    (tmp_path / "long.txt").write_text("word " * 200_000)
    process = subprocess.Popen(
        [*COMMAND, "split", str(tmp_path / "long.txt")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b'"word"\n'
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["split", "count", "encode", "decode"])
def test_a_full_disk_behind_standard_output_is_one_line(command, folder):
    arguments = [] if command == "split" else ["-t", str(folder / "tok.json")]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, command, *arguments, "-"],
            input=b"1 2 3",
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == 1
    assert done.stderr == b"fastllm: standard output: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", ["tok.json", "ids.bin", "ids.npy", "text.txt"])
def test_a_full_disk_behind_a_file_is_one_line(name, folder, tmp_path):
    out = tmp_path / name
    out.symlink_to("/dev/full")
    arguments = {
        "tok.json": ["train", folder / "plain.txt", "--vocab-size", 260],
        "ids.bin": ["encode", "-t", folder / "tok.json", folder / "plain.txt"],
        "ids.npy": ["encode", "-t", folder / "tok.json", folder / "plain.txt"],
        "text.txt": ["decode", "-t", folder / "tok.json"],
    }[name]
    stdin = "1 2 3" if name == "text.txt" else None
    assert fail(*arguments, "-o", out, stdin=stdin) == f"{out}: No space left on device"
    assert out.is_symlink()


@POSIX
def test_writing_to_a_device_does_not_replace_it(folder, tmp_path):
    out = tmp_path / "ids.bin"
    out.symlink_to(os.devnull)
    succeed("encode", "-t", folder / "tok.json", folder / "plain.txt", "-o", out)
    assert not Path(os.devnull).is_file()
    assert out.is_symlink()


STOPPED = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@POSIX
@pytest.mark.parametrize(("number", "code"), STOPPED)
@pytest.mark.parametrize("command", ["train", "encode", "decode"])
def test_a_stopped_command_leaves_no_half_written_file(command, number, code, folder, tmp_path):
    source = tmp_path / ("ids" if command == "decode" else "text.txt")
    out = tmp_path / {"train": "tok.json", "encode": "ids.bin", "decode": "out.txt"}[command]
    out.write_text("as it was")
    os.mkfifo(source)
    arguments = {
        "train": [str(source), "--vocab-size", "300"],
        "encode": ["-t", str(folder / "tok.json"), str(source)],
        "decode": ["-t", str(folder / "tok.json"), "-"],
    }[command]
    process = subprocess.Popen(
        [*COMMAND, command, *arguments, "-o", str(out)],
        stdin=subprocess.PIPE if command == "decode" else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        # Opening returns when the command has opened its end.
        pipe = process.stdin if command == "decode" else source.open("wb")
        pipe.write(b"1 2 3 " * 10_000 if command == "decode" else b"some text\n" * 10_000)
        pipe.flush()
        # A signal between Python's look for signals and its call of read() would wait for the read.
        _wait_until_reading(process)
        process.send_signal(number)
        try:
            process.wait(20)
        finally:
            process.kill()
        error = process.stderr.read()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    assert process.returncode == code, error
    assert b"Traceback" not in error
    assert out.read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {source.name, out.name}


def _wait_until_reading(process):
    """Wait until a process sleeps in a read of a pipe; two seconds where nothing tells."""
    waiting = Path(f"/proc/{process.pid}/wchan")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        if waiting.exists() and "pipe" in waiting.read_text():
            return
        time.sleep(0.02)


@contextlib.contextmanager
def on_a_terminal(command):
    """A process whose standard error is a terminal, and a call that reads what it shows there."""
    import pty

    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        os.close(theirs)

        def read():
            try:
                return os.read(ours, 4096)
            except OSError:  # the other end is closed
                return b""

        yield process, read
        process.kill()
    os.close(ours)


def everything(read):
    """All that a process shows until it ends."""
    return b"".join(iter(read, b""))


@POSIX
def test_progress_is_on_standard_error_and_only_on_a_terminal(folder, tmp_path):
    command = [*COMMAND, "count", "-t", str(folder / "tok.json"), str(folder / "plain.txt")]
    plain = subprocess.run(command, capture_output=True)
    assert plain.stderr == b""
    with on_a_terminal(command) as (process, read):
        shown = everything(read)
        assert process.stdout.read() == plain.stdout
    assert b"counting" in shown


@POSIX
def test_progress_of_training_goes_through_counting_and_merging(folder, tmp_path):
    texts = [str(folder / "plain.txt")] * 3
    command = [*COMMAND, "train", *texts, "--vocab-size", "290", "-o", str(tmp_path / "tok.json")]
    with on_a_terminal(command) as (process, read):
        shown = everything(read).decode()
        assert process.wait() == 0
    assert re.search(r"counting words [^\n]*100%[^\n]* 0:00:00 left", shown)
    assert re.search(r"learning merges [^\n]*100%", shown)
    assert subprocess.run(command, capture_output=True).stderr.splitlines()[:-1] == []


@POSIX
@pytest.mark.parametrize("step", ["counting words", "learning merges"])
def test_training_stopped_in_either_step_ends_soon_and_leaves_no_file(step, tmp_path):
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=10)) for _ in range(150_000)]
    source, out = tmp_path / "text.txt", tmp_path / "tok.json"
    source.write_text("\n".join(words * 10))
    out.write_text("as it was")
    command = [*COMMAND, "train", str(source), "--vocab-size", "600000", "-o", str(out)]
    with on_a_terminal(command) as (process, read):
        shown = b""
        while step.encode() not in shown:
            shown += read()
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode == 130
    assert out.read_text() == "as it was"
    assert {path.name for path in tmp_path.iterdir()} == {source.name, out.name}


def test_output_that_the_encoding_lacks_is_escaped(folder):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*COMMAND, "split"], input="naïve 😀".encode(), env=environment, capture_output=True
    )
    assert done.returncode == 0
    assert b"na\\xefve" in done.stdout


def test_importing_the_package_imports_no_typer():
    code = "import sys, fastllm; assert not {'typer', 'rich', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
