"""What the commands do."""

import json
import os
import subprocess

import numpy as np
import pytest
from cli.running import COMMAND, TEXT, WITHOUT_SPECIAL, fail, succeed

import fastllm
from fastllm.patterns.named import NAMED


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


def test_split_lists_the_named_patterns_with_their_models():
    lines = succeed("split", "--list-patterns").stdout.splitlines()
    found = {line.split()[0]: line.split()[1:3] for line in lines if len(line.split()) > 3}
    assert NAMED.keys() <= found.keys()
    assert (found["gpt2"], found["kimi-k2"]) == (["masks", "1"], ["automaton", "1"])


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


def test_info_names_the_engine_of_a_tokenizer_and_of_a_pattern(folder):
    assert facts_of("--tokenizer", folder / "tok.json")["split pattern"] == "gpt2"
    engine = fastllm.BPETokenizer.from_file(folder / "tok.json").pattern_engine
    assert facts_of("--tokenizer", folder / "tok.json")["pattern engine"] == engine
    compiled = engine == "masks"
    facts = facts_of("--pattern", "(?:a+)+(?<=a)")
    assert facts["pattern engine"] == (
        "matcher (it looks behind)" if compiled else engine.replace("re", "matcher", 1)
    )
    assert facts["which is"].startswith("backtracking that tries nothing twice")
    assert ("which is" in facts_of("--pattern", "a+|b")) == compiled
    assert fail("info", "--pattern", "(").startswith("pattern '(' is neither a name")


def facts_of(*options):
    lines = succeed("info", *options).stdout.splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_version_is_the_package_version():
    assert succeed("--version").stdout == f"fastllm {fastllm.__version__}\n"


@pytest.mark.parametrize(
    "command", ["demo", "train", "encode", "decode", "count", "split", "attend", "info"]
)
def test_every_command_has_help(command):
    assert "Usage" in succeed(command, "--help").stdout


def test_every_command_takes_a_word_piece_tokenizer(tmp_path):
    path, text = tmp_path / "vocab.txt", tmp_path / "text.txt"
    path.write_text("[UNK]\n[SEP]\nun\n##do\nit\n!\n", "utf-8")
    text.write_text("Undo it!\nUndo [SEP]\n", "utf-8")
    refused = fail("encode", "-t", path, text, "-o", "-")
    assert "[SEP]" in refused
    ids = succeed("encode", "-t", path, "--allow-special", text, "-o", "-").stdout
    assert ids == "2 3 4 5 2 3 1\n"
    assert succeed("decode", "-t", path, stdin=ids.encode()).stdout == "undo it! undo [SEP]"
    assert succeed("count", "-t", path, "--allow-special", text).stdout.split()[0] == "7"
    facts = succeed("info", "-t", path).stdout
    assert "6 tokens, 2 special" in facts
    assert "split by bert, then WordPiece of 6 tokens" in facts
    assert "says itself" in fail("count", "-t", path, "-p", "gpt2", text)
