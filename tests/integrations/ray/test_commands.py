"""`--ray` on the command line."""

import json
import subprocess
import sys

import pytest
import ray
from cli.running import fail, succeed

END = "<|end|>"


@pytest.fixture
def saved(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tok.json")
    return tmp_path / "tok.json"


def test_commands_say_what_they_say_on_one_machine(
    cluster, small_units, folder, saved, tmp_path, monkeypatch
):
    for name, address in (("one", ()), ("many", ("--ray", cluster.address))):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        encode = ["encode", "-t", saved, folder, "-o", "ids", "--separator", END, *address]
        monkeypatch.setattr(sys, "argv", list(map(str, ["fastllm", *encode])))
        succeed(*encode)
        words = ("train", folder, "--field", "text", "--vocab-size", 400, "-o", "learned.json")
        succeed(*words, *address)
        counts = succeed("count", "-t", saved, folder, "--special-as-text", *address)
        (tmp_path / name / "counts").write_text(counts.stdout)
    one, many = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("one", "many")
    )
    assert one == many
    assert json.loads(one["index.json"])["command"].startswith("fastllm encode -t")


def test_a_cluster_that_is_not_there(saved, folder, tmp_path):
    ray.shutdown()
    line = fail("encode", "-t", saved, folder, "-o", tmp_path / "o", "--ray", "127.0.0.1:1")
    assert line.startswith("no Ray cluster at 127.0.0.1:1: ")


def test_ray_is_started_for_a_command(saved, folder, tmp_path):
    command = [sys.executable, "-m", "fastllm", "encode", "-t", saved, "--ray", folder]
    finished = subprocess.run(
        [*command, "-o", tmp_path / "out", "--json"], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert json.loads(finished.stdout) == json.loads((tmp_path / "out/index.json").read_text())
