"""What the benchmarks share: both backends as a parameter, texts, and a vocabulary to encode with.

Run plainly they are tests: each runs once and asserts that the backends agree. With
``--benchmark-enable`` they measure, and still assert agreement on the very result that was timed.
"""

import importlib
import os

import pytest

from bench import corpora
from bench.cases import TEXT_BYTES
from bench.report import cores, versions

BACKENDS = os.environ.get("FASTLLM_TEST_BACKENDS", "reference,fast").split(",")


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of each backend in turn."""
    return request.param


@pytest.fixture
def bpe(backend):
    """The byte-pair module of each backend in turn."""
    name = {"reference": "fastllm.reference.tokenization", "fast": "fastllm.fast.tokenization"}
    return importlib.import_module(name[backend])


@pytest.fixture(params=corpora.NAMES)
def text(request):
    """The beginning of each corpus in turn."""
    return corpora.corpus(request.param, TEXT_BYTES)


@pytest.fixture(scope="session")
def ranks():
    """A vocabulary of 2,000 tokens learned from English, as ranks."""
    best = importlib.import_module("fastllm")
    ranks = {bytes([byte]): byte for byte in range(256)}
    # Without the extension the reference learns it, and 2,000 tokens would take a minute.
    size = 2_000 if best.backends()["bpe"] == "fast" else 300
    for left, right in best.train(corpora.corpus("english", 1_000_000), size):
        ranks[left + right] = len(ranks)
    return ranks


@pytest.fixture
def measure(benchmark, backend, request, text):
    """Time a call and return its result: the reference few times, the fast side more often.

    ``measure(operation, prepare)`` calls `prepare` outside the timed part, before every round, and
    times what it returns: state that a first call fills, such as a word cache, is empty each time.
    """

    def run(operation, prepare):
        corpus = request.node.callspec.params["text"]
        benchmark.group = f"{operation}, {corpus}, {len(text.encode()) / 1000:.0f} kB"
        results = []

        def timed(call):
            results[:] = [call()]

        rounds = 3 if backend == "reference" else 31
        benchmark.pedantic(timed, setup=lambda: ((prepare(),), {}), rounds=rounds)
        return results[0]

    return run


@pytest.hookimpl
def pytest_benchmark_update_machine_info(config, machine_info):
    """Note what the figures depend on besides the processor."""
    machine_info["versions"] = versions()
    machine_info["cores"] = cores()
