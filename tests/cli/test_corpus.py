"""``fastllm encode`` and ``count`` on a corpus: many inputs, a folder or a file of ids."""

import json
import sys

import numpy as np
import pytest
from cli.running import fail, run, succeed


@pytest.fixture
def corpus(tmp_path, tok):
    """A folder with three files, and the ids of each of their four documents."""
    texts = ["the cat", "sat <|endoftext|>", "on", "the mat"]
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text(texts[0])
    (tmp_path / "in/b.jsonl").write_text("".join(json.dumps({"t": t}) + "\n" for t in texts[1:3]))
    (tmp_path / "in/c.txt").write_text(texts[3])
    return tmp_path / "in", [tok.encode(text, disallowed_special=()) for text in texts]


def test_encode_makes_a_folder_and_says_what_is_in_it(corpus, folder, tmp_path, tok):
    inputs, ids = corpus
    out = tmp_path / "out"
    command = ["encode", "-t", folder / "tok.json", inputs, "--field", "t", "-o", out]
    result = succeed(*command, "--separator", "<|endoftext|>")
    assert "4" in result.stderr
    assert "<|endoftext|> 1" in result.stderr
    assert result.stdout == ""
    end = tok.special_tokens["<|endoftext|>"]
    found = np.fromfile(out / "00000.bin", "<u2").tolist()
    assert found == [id for document in ids for id in [*document, end]]
    again = succeed(*command, "--separator", end, "--json", "--workers", 1)
    assert json.loads(again.stdout) == json.loads((out / "index.json").read_text())
    line = fail(*command)
    assert "another separator" in line
    assert "--no-resume" in line
    succeed(*command, "--no-resume")


def test_encode_of_several_texts_into_one_file(corpus, folder, tmp_path):
    inputs, ids = corpus
    files = [inputs / "a.txt", "-", inputs / "c.txt"]
    succeed("encode", "-t", folder / "tok.json", *files, "-o", tmp_path / "ids.npy", stdin=b"the")
    found = np.load(tmp_path / "ids.npy").tolist()
    assert found[: len(ids[0])] == ids[0]
    assert found[-len(ids[3]) :] == ids[3]


def test_count_takes_the_same_inputs(corpus, folder):
    inputs, ids = corpus
    result = succeed("count", "-t", folder / "tok.json", inputs, "--field", "t")
    counts = [len(ids[0]), len(ids[1]) + len(ids[2]), len(ids[3])]
    names = [f"{inputs}/{name}" for name in ("a.txt", "b.jsonl", "c.txt")]
    lines = [f"{n} {name}" for n, name in zip(counts, names, strict=True)]
    assert result.stdout.splitlines() == [*lines, f"{sum(counts)} total"]


def test_what_is_wrong_with_a_corpus_is_one_line(corpus, folder, tmp_path):
    inputs, _ = corpus
    start = ["encode", "-t", folder / "tok.json"]
    assert "no field 'text', only 't'" in fail(*start, inputs, "-o", tmp_path / "out")
    assert "fits no file" in fail(*start, f"{inputs}/*.gz", "-o", tmp_path / "out")
    assert "--separator" in fail(*start, inputs, "-o", "o", "--add-special-tokens", code=2)
    assert "only one text is printed" in fail(*start, inputs, code=2)
    assert run(*start, inputs, "-o", tmp_path / "o", "--format", "zip").exit_code == 2


def test_train_takes_a_folder_and_a_pattern(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text("low lower lowest ")
    made = []
    for inputs in (
        [tmp_path / "in"],
        [f"{tmp_path}/in/*.txt"],
        sorted((tmp_path / "in").iterdir()),
    ):
        succeed("train", *inputs, "--vocab-size", 262, "-o", tmp_path / "tok.json")
        made.append((tmp_path / "tok.json").read_text())
    assert made[0] == made[1] == made[2]
    url = f"file://{tmp_path}/in"
    succeed("train", url, "--vocab-size", 262, "-o", tmp_path / "tok.json")
    assert (tmp_path / "tok.json").read_text() == made[0]


@pytest.mark.parametrize(
    "command",
    [
        ("encode", "-t", "tok.json", "text.txt", "-o", "ray-out"),
        ("count", "-t", "tok.json", "text.txt"),
        ("train", "text.txt", "--vocab-size", "300", "-o", "ray.json"),
    ],
    ids=lambda words: words[0],
)
def test_a_cluster_needs_ray(folder, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(folder)
    for address in ([], ["head:6379"]):
        line = "a cluster needs Ray: pip install 'fastllm-kernels[ray]'"
        assert fail(command[0], "--ray", *address, *command[1:]) == line
    at_hand = [word if word != "text.txt" else "-" for word in command]
    line = "standard input is on this machine only: --ray needs files"
    assert fail(*at_hand, "--ray", stdin="a", code=2) == line
    assert not (folder / "ray-out").exists()
    if command[0] != "count":
        assert "for one machine" in fail(*command, "--ray", "--threads", 2, code=2)
