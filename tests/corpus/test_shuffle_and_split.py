"""Shuffles are permutations, the same for a seed; splits follow from documents alone."""

import json
import os

import numpy as np
import pytest
from texts import english

from fastllm import BPETokenizer
from fastllm.corpus import TokenDataset, encode_corpus
from fastllm.corpus.encoded import documents as reading
from fastllm.corpus.encoded import encoding, shuffle
from fastllm.corpus.encoded.batches import permuted
from fastllm.corpus.encoded.shards import ShardSequence

BYTES = BPETokenizer.train("", 256)
TEXTS = [f"{number} {'x' * (number % 7)}" for number in range(700)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, texts in {"a": TEXTS[:250], "b": TEXTS[250:]}.items():
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text(lines)
    # A document in several parts, in the middle.
    (folder / "aa.txt").write_text(english()[:60_000])
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Many batches, and a text in many parts."""
    monkeypatch.setattr(reading, "BATCH", 5_000)
    monkeypatch.setattr(reading, "READ", 30_000)
    monkeypatch.setattr(reading, "FIRST_PART", 5_000)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # takes long where many steps are made
    monkeypatch.setattr("fastllm.corpus.text_files.TEXT_BLOCK", 30_000)


def texts_in(dataset):
    return [bytes(ids.tolist()).decode() for ids in dataset]


def all_texts():
    return [*TEXTS, english()[:60_000]]


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class StopError(Exception):
    pass


def encode_with_stops(number, *arguments, **options):
    """Run it to its end, stopped after every `number` batches or checkpoints; how often it was."""
    stops = 0
    while True:
        left = iter(range(number))

        def tell(progress, left=left):
            if next(left, None) is None:
                raise StopError

        try:
            encode_corpus(*arguments, progress=tell, **options)
            return stops
        except StopError:
            stops += 1
            assert stops < 50


def test_a_shuffle_is_a_permutation_whatever_the_buckets_and_the_stops(
    inputs, tmp_path, monkeypatch
):
    options = {"shuffle": 1, "shard_tokens": 2_000}
    index = encode_corpus(inputs, BYTES, tmp_path / "one", **options)
    found = texts_in(TokenDataset(tmp_path / "one"))
    assert sorted(found) == sorted(all_texts())
    places = [int(text.split()[0]) for text in found if len(text) < 99]
    assert abs(np.corrcoef(places, range(700))[0, 1]) < 0.15
    assert len(index["shards"]) > 2
    encode_corpus(inputs, BYTES, tmp_path / "other", shuffle=2)
    assert texts_in(TokenDataset(tmp_path / "other")) != found

    monkeypatch.setattr(shuffle, "BUCKET_BYTES", 20_000)
    monkeypatch.setattr(shuffle, "GROUP", 1_000)
    monkeypatch.setattr(encoding, "SECONDS_BETWEEN_STEPS", 0.0)
    assert encode_with_stops(2, inputs, BYTES, tmp_path / "many", **options) >= 2
    assert files_in(tmp_path / "many") == files_in(tmp_path / "one")


def test_a_shuffle_that_is_stopped_while_it_is_written_goes_on(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(shuffle, "BUCKET_BYTES", 20_000)
    options = {"shuffle": 1, "shard_tokens": 3_000}
    encode_corpus(inputs, BYTES, tmp_path / "whole", **options)
    at_once = property(lambda sequence: bool(sequence._finishing))  # not when its thread is done
    monkeypatch.setattr(ShardSequence, "has_finished", at_once)
    steps = encoding.Journal.step
    counted = []

    def stop_at_each(journal, state):
        steps(journal, state)
        counted.append(state)
        if len(counted) % 3 == 1:
            raise StopError

    monkeypatch.setattr(encoding.Journal, "step", stop_at_each)
    while True:
        try:
            encode_corpus(inputs, BYTES, tmp_path / "out", **options)
            break
        except StopError:
            assert len(counted) < 200
    assert len(counted) > 5
    assert files_in(tmp_path / "out") == files_in(tmp_path / "whole")


@pytest.mark.parametrize("seed", [None, 5])
def test_splits_follow_from_documents_alone(seed, inputs, tmp_path, monkeypatch):
    options = {"split": {"validation": 0.1, "test": 0.05}, "shuffle": seed, "shard_tokens": 9_000}
    encode_corpus(inputs, BYTES, tmp_path / "out", separator=0, **options)
    parts = {
        name: [text.removesuffix("\0") for text in texts_in(TokenDataset(tmp_path / "out", name))]
        for name in ("train", "validation", "test")
    }
    assert sorted(sum(parts.values(), [])) == sorted(all_texts())  # noqa: RUF017 - three lists
    assert 40 < len(parts["validation"]) < 100
    assert 15 < len(parts["test"]) < 60
    assert TokenDataset(tmp_path / "out").n_documents == len(parts["train"])
    # The same documents from another corpus, in another order, after stops.
    lines = [json.dumps({"text": text}) + "\n" for text in reversed(all_texts())]
    (tmp_path / "z.jsonl").write_text("".join(lines))
    monkeypatch.setattr(encoding, "SECONDS_BETWEEN_STEPS", 0.0)
    files = [tmp_path / "z.jsonl"]
    encode_with_stops(2, files, BYTES, tmp_path / "again", **options)
    for name, texts in parts.items():
        assert sorted(texts_in(TokenDataset(tmp_path / "again", name))) == sorted(texts)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 1000, 1025])
def test_the_order_of_batches_is_a_permutation(count):
    for seed in (0, 1, 2**70):
        found = permuted(np.arange(count), count, seed, 0)
        assert sorted(found.tolist()) == list(range(count))
    if count > 10:
        assert not np.array_equal(found, permuted(np.arange(count), count, seed, 1))
        assert abs(np.corrcoef(found, np.arange(count))[0, 1]) < 0.1


def test_wrong_splits_and_seeds_are_named(inputs, tmp_path):
    for message, options in {
        "split has the name 'train'": {"split": {"train": 0.1}},
        "split has the name '../x'": {"split": {"../x": 0.1}},
        "must be between 0 and 1, not 2": {"split": {"a": 2}},
        "leave none for 'train'": {"split": {"a": 0.5, "b": 0.6}},
        "shuffle must be": {"shuffle": -1},
    }.items():
        with pytest.raises(ValueError, match=message):
            encode_corpus(inputs, BYTES, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="split needs a folder"):
        encode_corpus(inputs, BYTES, tmp_path / "out.bin", split={"a": 0.5})
