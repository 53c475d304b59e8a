"""Which tokenizer -t means, and what commands do about special tokens."""

import numpy as np
import pytest
from cli.running import TEXT, fail, succeed

import fastllm
from fastllm.tokenizers.template import Template
from fastllm.vocabularies import local_files


@pytest.fixture(scope="module")
def word_pieces(folder):
    """A folder with WordPiece that puts tokens around, and its tokenizer."""
    tokens = ["[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", ",", "<", "|", ">"]
    ids = {token: number for number, token in enumerate(tokens)}
    tok = fastllm.WordPieceTokenizer(
        ids,
        added_tokens={token: ids[token] for token in tokens[:3]},
        template=Template("[CLS] $A [SEP]", ids=ids),
    )
    (folder / "bert").mkdir()
    tok.save(folder / "bert" / "tokenizer.json")
    return folder / "bert", tok


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders of this test where tokenizers are looked for by name."""
    for variable in ("FASTLLM_VOCAB_DIR", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(local_files, "PACKAGED", {})
    return tmp_path


def test_a_special_token_is_refused_with_the_flags_that_say_what_it_is(folder, tok):
    tokenizer, text = folder / "tok.json", folder / "text.txt"
    for command in ("count", "encode"):
        line = fail(command, "-t", tokenizer, text)
        assert "'<|endoftext|>'" in line
        assert "--allow-special" in line
        assert "--special-as-text" in line
        assert "disallowed_special" not in line
        both = ("--allow-special", "--special-as-text")
        assert "give one of both" in fail(command, "-t", tokenizer, *both, text, code=2)


def test_special_tokens_are_ordinary_text_where_asked(folder, tmp_path, tok):
    arguments = ["-t", folder / "tok.json", "--special-as-text", folder / "text.txt"]
    expected = tok.encode_ordinary(TEXT)
    assert int(succeed("count", *arguments).stdout.split()[0]) == len(expected)
    assert list(map(int, succeed("encode", *arguments).stdout.split())) == expected
    succeed("encode", *arguments, "-o", tmp_path / "ids.npy")
    assert np.load(tmp_path / "ids.npy").tolist() == expected


def test_special_tokens_are_put_around_a_file_and_left_out_again(word_pieces, tmp_path):
    place, tok = word_pieces
    text = "the cat sat on the mat, the cat sat"
    expected = tok.encode(text, add_special_tokens=True)
    assert expected[0] == 1
    assert expected[-1] == 2
    flag = "--add-special-tokens"
    printed = succeed("encode", "-t", place, flag, stdin=text).stdout
    assert list(map(int, printed.split())) == expected
    assert succeed("count", "-t", place, flag, stdin=text).stdout == f"{len(expected)}\n"
    succeed("encode", "-t", place, flag, "-", "-o", tmp_path / "ids.bin", stdin=text)
    assert np.fromfile(tmp_path / "ids.bin", "<u2").tolist() == expected
    decoded = succeed("decode", "-t", place, "--skip-special-tokens", stdin=printed).stdout
    assert decoded == tok.decode(expected, skip_special_tokens=True)
    assert "[CLS]" in succeed("decode", "-t", place, stdin=printed).stdout


def test_commands_take_tokenizers_of_other_models(word_pieces):
    place, _ = word_pieces
    assert "WordPiece of 12 tokens" in succeed("info", "-t", place).stdout
    assert "sat" in succeed("attend", "-t", place, "the cat sat").stdout
    lines = succeed("split", "-t", place, stdin="The cat,sat").stdout.splitlines()
    assert lines == ['"the"', '"cat"', '","', '"sat"']


def test_ranks_get_special_tokens_by_an_option(folder, tmp_path, word_pieces):
    ranks = tmp_path / "r.tiktoken"
    made = {bytes([byte]): byte for byte in range(256)}
    fastllm.BPETokenizer(made, pattern="gpt2").save(ranks)
    arguments = ["encode", "-t", ranks, "-p", "gpt2", "--special", "<|a=b|>=300"]
    assert succeed(*arguments, "--allow-special", stdin="x<|a=b|>").stdout == "120 300\n"
    assert "--special-as-text" in fail(*arguments, stdin="x<|a=b|>")
    assert "give --pattern" in fail("count", "-t", ranks, stdin="x")
    for wrong in ("x", "=1", "x=", "x=-1"):
        assert "NAME=ID" in fail("count", "-t", ranks, "--special", wrong, stdin="x", code=2)
    twice = ("--special", "a=1", "--special", "a=2")
    assert "twice" in fail("count", "-t", ranks, *twice, stdin="x", code=2)
    line = fail("count", "-t", word_pieces[0], "--special", "a=1", stdin="x", code=2)
    assert "has its own" in line


def test_a_name_is_looked_for_in_folders_for_vocabularies(folder, word_pieces, places):
    (places / "FASTLLM_VOCAB_DIR" / "mine").mkdir(parents=True)
    data = (word_pieces[0] / "tokenizer.json").read_bytes()
    (places / "FASTLLM_VOCAB_DIR" / "mine" / "tokenizer.json").write_bytes(data)
    assert succeed("count", "-t", "mine", stdin="the cat").stdout == "2\n"
    (places / "FASTLLM_VOCAB_DIR" / "ours.json").write_bytes(data)
    assert succeed("count", "-t", "ours", stdin="the cat").stdout == "2\n"


def test_a_name_is_looked_for_in_the_cache_of_hugging_face(folder, word_pieces, places):
    kept = places / "HF_HOME" / "hub" / "models--some--model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("abc")
    (kept / "snapshots" / "abc").mkdir(parents=True)
    data = (word_pieces[0] / "tokenizer.json").read_bytes()
    (kept / "snapshots" / "abc" / "tokenizer.json").write_bytes(data)
    assert succeed("count", "-t", "some/model", stdin="the cat").stdout == "2\n"
    assert "No such file" in fail("count", "-t", "some/other", stdin="the cat")
    assert "No such file" in fail("count", "-t", "../model", stdin="the cat")


def test_what_is_nowhere_is_said_with_what_to_do(places):
    line = fail("count", "-t", "nothing", stdin="a")
    assert line.startswith("nothing: No such file")
    assert "cl100k_base" in line
    line = fail("count", "-t", "qwen3", stdin="a")
    assert "not on this machine" in line
    assert f"qwen3.json into {places / 'FASTLLM_VOCAB_DIR'}" in line
    line = fail("count", "-t", "gpt2", "-p", "gpt2", stdin="a", code=2)
    assert "leave --pattern out" in line
