"""Commands as processes: pipes, terminals, full disks, signals."""

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

import pytest
from cli.running import COMMAND, POSIX, fail, succeed


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


INTERRUPTED, TERMINATED = (signal.SIGINT, 130), (signal.SIGTERM, 143)


@POSIX
@pytest.mark.parametrize(
    ("command", "number", "code"),
    [
        ("train", *INTERRUPTED),
        ("encode", *INTERRUPTED),
        ("encode", *TERMINATED),
        ("decode", *TERMINATED),
    ],
)
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
        # More than a pipe holds: writing it returns when the command has begun to read.
        pipe.write(b"1 2 3 " * 100_000 if command == "decode" else b"some text\n" * 10_000)
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
    assert [json.loads(line) for line in done.stdout.splitlines()] == ["naïve", " 😀"]


def test_importing_the_package_imports_no_typer():
    code = "import sys, fastllm; assert not {'typer', 'rich', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
