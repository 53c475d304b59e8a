"""Nodes and workers are lost in the middle: the bytes and the merges are those of one machine."""

import errno
import os
import signal
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
import ray

from fastllm import BPETokenizer
from fastllm.corpus import encode_corpus
from fastllm.integrations import ray as on_ray

END = "<|end|>"
LOG = Path(tempfile.mkdtemp())
SECONDS = 60


def waiting(log):
    """What lets the tasks of a worker tell of themselves in a folder.

    The first one on each node ends; others wait until something has been killed.
    """

    def set_up():  # a function that has no name to be imported by travels as it is
        from fastllm.integrations.ray import cluster

        run = cluster._run

        def slow_run(*args):
            node = ray.get_runtime_context().get_node_id()
            task = log / f"{node} {os.getpid()} {uuid4().hex}"
            task.with_suffix(".begun").touch()
            until = time.monotonic() + SECONDS
            while [*log.glob(f"{node}*.ended")] and not (log / "go").exists():
                assert time.monotonic() < until
                time.sleep(0.02)
            if (log / "fails").exists():
                fail_some_times(log)
            result = run(*args)
            task.with_suffix(".ended").touch()
            return result

        cluster._run = slow_run

    def fail_some_times(log):
        for number in range(5):
            with suppress(FileExistsError):
                (log / f"failed{number}").touch(exist_ok=False)
                raise OSError(errno.EIO, "storage is away")

    return set_up


SETUP = waiting(LOG)


def at_work():
    """The nodes and processes with a task that has begun and not ended, and one that has ended."""
    begun, ended = ({path.stem for path in LOG.glob(f"*.{name}")} for name in ("begun", "ended"))
    nodes = {task.split()[0] for task in ended}
    tasks = [task.split() for task in begun - ended]
    return [(node, int(pid)) for node, pid, _ in tasks if node in nodes]


@contextmanager
def in_the_middle(strike):
    """Do something once while tasks are at work; it gives false as long as it cannot be done."""
    for path in LOG.iterdir():
        path.unlink()
    struck = []

    def watch():
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if strike():
                struck.append(True)
                break
            time.sleep(0.02)
        (LOG / "go").touch()

    thread = Thread(target=watch)
    thread.start()
    yield
    thread.join()
    assert struck


def losing_a_node(cluster):
    victim = next(iter(cluster.worker_nodes))

    def strike():
        if not any(node == victim.node_id for node, _ in at_work()):
            return False
        cluster.remove_node(victim, allow_graceful=False)
        return True

    return in_the_middle(strike)


def killing_workers():
    def strike():
        pids = {pid for _, pid in at_work()}
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    return in_the_middle(strike)


@pytest.fixture
def three_nodes(cluster):
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    cluster.wait_for_nodes()
    return cluster


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("options", [{"separator": END}, {"shuffle": 1}], ids=str)
def test_a_node_is_lost_while_encoding(
    three_nodes, small_units, folder, tokenizer, tmp_path, options
):
    options = options | {"shard_tokens": 9_000}
    with losing_a_node(three_nodes):
        on_ray.encode_corpus(folder, tokenizer, tmp_path / "many", **options)
    encode_corpus(folder, tokenizer, tmp_path / "one", **options)
    assert files_in(tmp_path / "many") == files_in(tmp_path / "one")


def test_a_node_is_lost_while_counting(three_nodes, small_units, folder):
    with losing_a_node(three_nodes):
        learned = on_ray.train(folder, 500, field="text")
    assert learned == BPETokenizer.train_from_files(sorted(folder.iterdir()), 500, field="text")


def test_workers_are_killed(three_nodes, small_units, folder, tokenizer, tmp_path):
    with killing_workers():
        made = on_ray.encode_corpus(folder, tokenizer, tmp_path / "many")
    assert made == encode_corpus(folder, tokenizer, tmp_path / "one")


def test_storage_fails_once_in_a_while(three_nodes, small_units, folder, tokenizer, tmp_path):
    for path in LOG.iterdir():
        path.unlink()
    for name in ("go", "fails"):
        (LOG / name).touch()
    made = on_ray.encode_corpus(folder, tokenizer, tmp_path / "many")
    assert (LOG / "failed4").exists()
    assert made == encode_corpus(folder, tokenizer, tmp_path / "one")
