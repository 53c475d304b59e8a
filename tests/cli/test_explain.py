"""fastllm explain: what it prints, what it writes, how it ends."""

import io
import os

import pytest
from cli.running import fail, succeed
from rich.console import Console
from vocabularies import gpt2_folder

from fastllm import BPETokenizer, explain
from fastllm.cli.explain_command import show


def test_explain_prints_the_worked_example():
    result = succeed("explain")
    assert result.stdout.rstrip() == str(explain.journey()).rstrip()
    assert "1.0000 / 4.2036 = 0.2379" in result.stdout


def test_explain_takes_any_sentence_and_standard_input():
    sentence = "猫が好き 😀"
    result = succeed("explain", sentence, "--causal")
    assert result.stdout.rstrip() == str(explain.journey(sentence, causal=True)).rstrip()
    piped = succeed("explain", "-", "--causal", stdin=(sentence + "\n").encode())
    assert piped.stdout == result.stdout


def test_explain_writes_a_page(tmp_path):
    out = tmp_path / "page.html"
    result = succeed("explain", "one step", "-o", out, "--no-speed")
    assert result.stdout == ""
    assert result.stderr == f"fastllm: {out.stat().st_size:,} bytes in {out}\n"
    assert "was not measured for this page" in out.read_text("utf-8")


def test_explain_times_both_backends_for_a_page(tmp_path, monkeypatch):
    monkeypatch.setattr("fastllm.explain.speed.TEXT_BYTES", 3000)
    monkeypatch.setattr("fastllm.explain.speed.LENGTH", 8)
    monkeypatch.setattr("fastllm.explain.demo.VOCAB_SIZE", 280)
    out = tmp_path / "page.html"
    succeed("explain", "-o", out)
    text = out.read_text("utf-8")
    assert "scaled dot-product attention" in text
    assert "the first 3,000 bytes of pydoc_data.topics" in text


def test_explain_takes_a_tokenizer_of_ones_own(tmp_path):
    tokenizer = BPETokenizer.train("step by step by step", 262)
    tokenizer.save(tmp_path / "tok.json")
    result = succeed("explain", "step", "-t", tmp_path / "tok.json")
    loaded = BPETokenizer.from_file(tmp_path / "tok.json")
    assert result.stdout.rstrip() == str(explain.journey("step", loaded)).rstrip()
    page = tmp_path / "page.html"
    succeed("explain", "-t", gpt2_folder() / "vocab.bpe", "-o", page, "--no-speed")
    assert "0.2379" in succeed("explain", "-t", gpt2_folder() / "vocab.bpe").stdout
    assert "What your tokenizer was trained on is not in its file" in page.read_text("utf-8")


def test_explain_says_what_is_wrong(tmp_path):
    assert "at most 4,000 characters" in fail("explain", "x" * 5000)
    assert "nowhere" in fail("explain", "-o", tmp_path / "nowhere" / "page.html", "--no-speed")
    assert "no.json" in fail("explain", "-t", tmp_path / "no.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("colour", [None, "truecolor"])
def test_explain_is_coloured_where_the_terminal_has_it_and_says_the_same(colour):
    stream = io.StringIO()
    console = Console(
        file=stream, color_system=colour, force_terminal=bool(colour), width=40, markup=False
    )
    trace = explain.journey("so [red]it[/red] goes")
    show(console, trace)
    text = stream.getvalue()
    assert ("\x1b[" in text) == bool(colour)
    if not colour:
        assert text.rstrip() == str(trace).rstrip()
