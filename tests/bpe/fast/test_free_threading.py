"""Eight threads on one encoder, with and without Python's lock: each gets what one thread gets."""

import sys
import sysconfig
import threading

import pytest
from texts import TRAPS, english, mixed_texts

from fastllm import BPETokenizer
from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels

THREADS = 8
TEXTS = [
    text.encode(errors="ignore").decode()
    for text in (*TRAPS.values(), *mixed_texts(40, seed=71), english()[:20_000])
]
MARKED = ["<a>".join(TEXTS[i : i + 4]) + "<b>" for i in range(0, 24, 4)]


def at_once(work):
    """Let all threads do `work(number)` from the same moment on; raise the first error."""
    gate = threading.Barrier(THREADS)
    errors = []

    def run(number):
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def merges():
    return fast.train(TEXTS, 700, pattern="cl100k")


def ranks_of(merges):
    tokens = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    return {token: i for i, token in enumerate(tokens)}


def test_import_leaves_the_lock_off():
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        assert not sys._is_gil_enabled()
    assert _kernels.ISAS


@pytest.mark.parametrize("cache_bytes", [1, 1 << 16, 64 << 20])
def test_one_encoder(merges, cache_bytes):
    # Fresh: the first calls of all threads meet in it.
    encoder = fast.BytePairEncoder(ranks_of(merges), pattern="cl100k")
    encoder._set_cache_bytes(cache_bytes)
    alone = fast.BytePairEncoder(ranks_of(merges), pattern="cl100k")
    expected = [alone.encode(text) for text in TEXTS]
    joined = [i for ids in expected for i in ids]

    def work(number):
        for _ in range(3):
            assert encoder.encode_batch(TEXTS, threads=2) == expected
            assert encoder.encode_batch_to_numpy(TEXTS)[0].tolist() == joined
            for text, ids in zip(TEXTS, expected, strict=True):
                assert encoder.encode(text) == ids
                assert encoder.decode_bytes(ids) == text.encode()

    at_once(work)


def test_special_tokens_with_ids_of_several_tokenizers(merges):
    # They have the same special tokens, so they share what finds them.
    tokenizers = [
        BPETokenizer(ranks_of(merges), pattern="cl100k", special_tokens={"<a>": n, "<b>": n + 7})
        for n in (1000, 2000, 3000)
    ]
    alone = [[t.encode(text, allowed_special="all") for text in MARKED] for t in tokenizers]

    def work(number):
        for times in range(12):
            which = (number + times) % 3
            encoded = [tokenizers[which].encode(text, allowed_special="all") for text in MARKED]
            assert encoded == alone[which]

    at_once(work)


def test_training(merges):
    def work(number):
        assert fast.train(TEXTS, 700, pattern="cl100k", threads=1 + number % 2) == merges

    at_once(work)


def test_patterns_met_for_the_first_time():
    # What is made of an expression is kept for all threads.
    expected = fast.split(TEXTS[-1], r"[a-z]+|[^a-z]+")

    def work(number):
        assert fast.split(TEXTS[-1], rf"[a-z]+|[^a-z]+|{number % 2}x") == expected
        assert fast.split(TEXTS[-1], r"[a-z]+|[^a-z]+") == expected

    at_once(work)
