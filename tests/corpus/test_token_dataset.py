"""Files of ids come back, in every format by its owner's rules; batches cover an epoch once."""

import itertools
import os
import pickle
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastllm import BPETokenizer
from fastllm.book import create_dataloader_v1
from fastllm.corpus import TokenDataset, encode_corpus
from fastllm.corpus.encoded import encoding, file_formats

BYTES = BPETokenizer.train("", 256, special_tokens=[])
SIZES = [5, 0, 17, 3, 1, 30, 2, 8, 8, 16, 4, 1]


def documents():
    return [bytes(97 + (n + i) % 26 for i in range(size)) for n, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number, text in enumerate(documents()):
        (folder / f"{number:02}.txt").write_bytes(text)
    return folder


@pytest.fixture(scope="module")
def wide():
    """A tokenizer whose ids need more than 16 bits."""
    return BPETokenizer(
        {bytes([n]): n for n in range(256)}, pattern="gpt2", special_tokens={"<e>": 70_000}
    )


@pytest.fixture(scope="module")
def dataset(inputs):
    encode_corpus(inputs, BYTES, inputs.parent / "out", separator=10, shard_tokens=40)
    return TokenDataset(inputs.parent / "out")


def wanted(separator=10):
    return [[*text, separator] for text in documents()]


@pytest.mark.parametrize("name", file_formats.FORMATS)
def test_every_format_comes_back(name, inputs, wide, tmp_path, monkeypatch):
    monkeypatch.setattr(file_formats, "CHUNK", 20)
    for tokenizer, separator in ((BYTES, 10), (wide, "<e>")):
        out = tmp_path / f"{separator}"
        options = {"separator": separator, "shard_tokens": 40, "format": name}
        index = encode_corpus(inputs, tokenizer, out, **options)
        found = TokenDataset(out)
        assert [ids.tolist() for ids in found] == wanted(70_000 if separator == "<e>" else 10)
        assert found.n_tokens == index["tokens"] == sum(SIZES) + len(SIZES)
        assert len(index["shards"]) == 3
        assert {path.name for path in out.iterdir()} == {
            "index.json", *(name for shard in index["shards"] for name in shard["sha256"])
        }  # fmt: skip
        found.verify()
        first = TokenDataset(out / index["shards"][0]["file"], dtype=found.tokens.dtype)
        assert [ids.tolist() for ids in first] == [x.tolist() for x in found][: len(first)]


def test_files_are_as_their_owners_read_them(inputs, wide, tmp_path):
    ids = flat(wanted())
    encode_corpus(inputs, BYTES, tmp_path / "a.bin", separator=10)
    assert np.memmap(tmp_path / "a.bin", np.uint16, "r").tolist() == ids  # as nanoGPT

    encode_corpus(inputs, BYTES, tmp_path / "b.bin", separator=10, format="llmc")
    data = (tmp_path / "b.bin").read_bytes()
    assert struct.unpack("<3i", data[:12]) == (20240520, 1, len(ids))
    assert np.frombuffer(data, np.uint16, offset=1024).tolist() == ids
    encode_corpus(inputs, wide, tmp_path / "c.bin", separator="<e>", format="llmc")
    data = (tmp_path / "c.bin").read_bytes()
    assert struct.unpack("<3i", data[:12]) == (20240801, 7, len(ids))

    encode_corpus(inputs, BYTES, tmp_path / "d.bin", separator=10, format="megatron")
    data = (tmp_path / "d.idx").read_bytes()
    n = len(SIZES)
    assert data[:9] == b"MMIDIDX\x00\x00"
    assert struct.unpack("<QBQQ", data[9:34]) == (1, 8, n, n + 1)
    sizes = [size + 1 for size in SIZES]
    assert np.frombuffer(data, "<i4", n, 34).tolist() == sizes
    places = np.frombuffer(data, "<i8", n, 34 + 4 * n)
    assert places.tolist() == (2 * np.cumsum([0, *sizes])[:-1]).tolist()
    assert np.frombuffer(data, "<i8", n + 1, 34 + 12 * n).tolist() == list(range(n + 1))
    assert np.fromfile(tmp_path / "d.bin", "<u2").tolist() == ids

    encode_corpus(inputs, BYTES, tmp_path / "e.parquet", separator=10)
    assert pq.read_table(tmp_path / "e.parquet").column("ids").to_pylist() == wanted()


def test_stopped_runs_go_on_in_every_format(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(encoding, "SECONDS_BETWEEN_STEPS", 0.0)

    class StopError(Exception):
        pass

    def stop(progress):
        raise StopError

    for name in file_formats.FORMATS:
        options = {"shard_tokens": 20, "format": name}
        with pytest.raises(StopError):
            encode_corpus(inputs, BYTES, tmp_path / name, progress=stop, **options)
        assert (tmp_path / name / ".progress.jsonl").exists()
        encode_corpus(inputs, BYTES, tmp_path / name, **options)
        encode_corpus(inputs, BYTES, tmp_path / f"{name}2", **options)
        found, undisturbed = (
            {path.name: path.read_bytes() for path in folder.iterdir()}
            for folder in (tmp_path / name, tmp_path / f"{name}2")
        )
        assert found == undisturbed


def test_tokens_are_one_row_over_all_shards(dataset):
    ids = flat(wanted())
    assert len(dataset.tokens) == len(ids)
    for part in (slice(0, 5), slice(30, 90), slice(None), slice(7, 3), slice(-3, None)):
        assert dataset.tokens[part].tolist() == ids[part]
    assert (dataset.tokens[50], dataset.tokens[-1]) == (ids[50], ids[-1])
    assert dataset.document(-2).tolist() == wanted()[-2]
    with pytest.raises(IndexError):
        dataset.document(len(SIZES))


def test_a_dataset_pickles_as_its_path(dataset):
    data = pickle.dumps(dataset)
    assert len(data) < 500
    assert pickle.loads(data).tokens[:].tolist() == dataset.tokens[:].tolist()


def test_windows_serve_the_data_loader_of_the_book(dataset):
    ids = dataset.tokens[:].astype(int)
    starts = range(0, len(ids) - 8, 3)
    windows = dataset.windows(8, 3)
    assert [x.tolist() for x, _ in windows] == [ids[s : s + 8].tolist() for s in starts]
    assert [y.tolist() for _, y in windows] == [ids[s + 1 : s + 9].tolist() for s in starts]
    loader = create_dataloader_v1(
        dataset, batch_size=4, max_length=8, stride=3, shuffle=False, drop_last=False
    )
    found = [row for inputs, _ in loader for row in inputs.tolist()]
    assert found == [x.tolist() for x, _ in windows]
    with pytest.raises(ValueError, match="need at least 1001"):
        dataset.windows(1000)


def rows_of(batches):
    return [
        (tuple(x), tuple(y))
        for inputs, targets in batches
        for x, y in zip(inputs.tolist(), targets.tolist(), strict=True)
    ]


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("kind", ["joined", "apart", "packed"])
def test_batches_cover_every_row_once_on_any_number_of_ranks(kind, dataset):
    plain = rows_of(dataset.batches(1, 6, seed=None, documents=kind))
    whole = dataset.batches(6, 6, seed=3, documents=kind)
    steps = [rows_of([batch]) for batch in whole]
    assert len(steps) == len(dataset.batches(6, 6, documents=kind))
    assert sorted(flat(steps)) == sorted(plain)
    assert flat(steps) != plain
    assert rows_of(dataset.batches(6, 6, seed=3, epoch=1, documents=kind)) != flat(steps)
    for ranks in (2, 3):
        parts = [
            dataset.batches(6 // ranks, 6, seed=3, rank=r, world_size=ranks, documents=kind)
            for r in range(ranks)
        ]
        assert [rows_of(each) for each in zip(*parts, strict=True)] == steps
    stopped = dataset.batches(6, 6, seed=3, documents=kind)
    next(stopped)
    going_on = dataset.batches(6, 6, documents=kind, **stopped.state)
    assert rows_of(going_on) == flat(steps[1:])


def test_rows_joined_apart_and_packed(dataset):
    ids = dataset.tokens[:].astype(int).tolist()
    joined = rows_of(dataset.batches(1, 6, seed=None))
    assert [id for row, _ in joined for id in row] == ids[: len(joined) * 6]
    assert [id for _, row in joined for id in row] == ids[1 : len(joined) * 6 + 1]

    pairs = [pair for text in wanted() for pair in itertools.pairwise(text)]
    rows = {}
    for kind in ("apart", "packed"):
        rows[kind] = rows_of(dataset.batches(1, 12, seed=None, documents=kind))
        told = [(x, y) for row in rows[kind] for x, y in zip(*row, strict=True) if y != -100]
        assert told == pairs
    assert len(rows["packed"]) < len(rows["apart"])
    fitting = [tuple(text) for text in wanted() if len(text) <= 12]
    assert all(any(_holds(row, text) for row, _ in rows["packed"]) for text in fitting)


def _holds(row, text):
    return any(row[start : start + len(text)] == text for start in range(len(row)))


def test_wrong_files_and_arguments_are_named(dataset, inputs, tmp_path):
    (tmp_path / "index.json").write_text("{}")
    (tmp_path / "a.bin").write_bytes(b"abc")
    (tmp_path / "a.npy").write_bytes(b"abc")
    for path, message in {
        tmp_path: "index.json is not an index of token ids",
        tmp_path / "a.bin": "a.bin has 3 bytes",
        tmp_path / "a.npy": "a.npy is not a .npy file",
        tmp_path / "a.txt": "a.txt: files of ids end in",
    }.items():
        with pytest.raises(ValueError, match=message):
            TokenDataset(path)
    with pytest.raises(ValueError, match="has no split 'test'"):
        TokenDataset(inputs.parent / "out", "test")
    encode_corpus(inputs, BYTES, tmp_path / "o")
    (tmp_path / "o/00000.bin").write_bytes(b"\0\0")
    with pytest.raises(ValueError, match=r"has 1 ids of 12 documents, but its index says 95"):
        TokenDataset(tmp_path / "o")
    for message, options in {
        "documents must be": {"documents": "mixed"},
        "rank must be less than world_size = 2": {"rank": 2, "world_size": 2},
        "batch_size must be": {"batch_size": 0},
    }.items():
        with pytest.raises(ValueError, match=message):
            dataset.batches(**{"batch_size": 2, "length": 4, **options})
