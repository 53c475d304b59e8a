"""A cluster of three nodes on this machine, each with one core, and a corpus."""

import gzip
import json
import random

import pytest
import ray
from ray.cluster_utils import Cluster
from texts import english

from fastllm import BPETokenizer
from fastllm.integrations.ray import encoding, units

MEMORY = 100_000_000  # the least that Ray takes for its object store is 75 MB
END = "<|end|>"


@pytest.fixture(scope="module")
def cluster(request):
    """What a module calls SETUP is run by each worker before its first task."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    setup = getattr(request.module, "SETUP", None)
    environment = {"worker_process_setup_hook": setup} if setup else None
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False, runtime_env=environment)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def tokenizer():
    return BPETokenizer.train(english()[:20_000], 400, special_tokens=[END])


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Texts and JSON lines, some packed; empty documents, and special tokens in text."""
    folder = tmp_path_factory.mktemp("corpus")
    text, rng = english().replace("\r", ""), random.Random(5)
    for number in range(24):
        start = rng.randrange(len(text) // 2)
        (folder / f"{number:02d}.txt").write_text(text[start : start + rng.randrange(30_000)])
    starts = [rng.randrange(len(text)) for _ in range(400)]
    lines = [{"text": text[start : start + rng.randrange(900)]} for start in starts]
    lines[7]["text"], lines[8]["text"] = "", f"a{END}b naïve 猫"
    encoded = [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]
    (folder / "a.jsonl").write_bytes(b"".join(encoded[:200]))
    with gzip.open(folder / "b.jsonl.gz", "wb") as file:
        file.writelines(encoded[200:])
    (folder / "empty.txt").touch()
    return folder


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr(units, "UNIT_BYTES", 12_000)
    monkeypatch.setattr(units, "UNIT_FILES", 3)
    monkeypatch.setattr(encoding, "BUCKET_BYTES", 1 << 16)
