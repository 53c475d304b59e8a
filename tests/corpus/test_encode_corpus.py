"""A corpus becomes shards: every document as `encode` has it, whatever its file and the run."""

import csv
import errno
import gzip
import io
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from texts import english

from fastllm import BPETokenizer
from fastllm.corpus import encode_corpus
from fastllm.corpus.encoded import documents as reading
from fastllm.corpus.encoded import encoding, read_ahead
from fastllm.corpus.encoded.inputs import find_sources

END = "<|end|>"


@cache
def tokenizer():
    return BPETokenizer.train(english()[:20_000], 400, special_tokens=[END])


def small_documents(number=60):
    rng = random.Random(7)
    text = english()[:20_000].replace("\r", "") + "中文 naïve 😀\n" * 20
    starts = [rng.randrange(len(text)) for _ in range(number)]
    return [text[start : start + rng.randrange(400)] for start in starts] + ["", f"x{END}y{END}"]


def json_lines(texts, ascii_only=True):
    records = ({"id": n, "text": text, "m": [1.5]} for n, text in enumerate(texts))
    return "".join(json.dumps(r, ensure_ascii=ascii_only) + "\n" for r in records).encode()


def as_csv(texts, delimiter=","):
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([["id", "text"], *([n, text] for n, text in enumerate(texts))])
    return file.getvalue().encode()


def as_parquet(texts):
    file = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), file, row_group_size=7)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """A folder with the same documents in files of every kind, and those in their order."""
    texts = small_documents()
    made = tmp_path / "in"
    made.mkdir()
    (made / "sub").mkdir()
    (made / ".hidden").write_bytes(b"\xff")
    for number, text in enumerate(texts[:20]):
        (made / f"a{number:02}.txt").write_bytes(text.encode())
    for name, data in {
        "b.jsonl": json_lines(texts),
        "c.jsonl.gz": gzip.compress(json_lines(texts, False) + b"\n"),
        "d.jsonl.zst": zstandard.compress(json_lines(texts[:30])) + zstandard.compress(b"\n"),
        "e.json": json.dumps([{"text": text} for text in texts], indent=1).encode(),
        "f.csv": as_csv(texts),
        "g.tsv": as_csv(texts, "\t"),
        "h.parquet": as_parquet(texts),
        "sub/i.txt.gz": gzip.compress(texts[3].encode()),
        "sub/j.md": b"\xef\xbb\xbf" + texts[4].encode(),
    }.items():
        (made / name).write_bytes(data)
    return made, texts[:20] + 2 * texts + texts[:30] + 4 * texts + [texts[3], texts[4]]


def ids_of(text, separator=True):
    ids = tokenizer().encode(text, disallowed_special=())
    return [*ids, tokenizer().special_tokens[END]] if separator else ids


def documents_in(out, index):
    for shard in index["shards"]:
        ids = np.fromfile(out / shard["file"], "<u2")
        ends = np.fromfile((out / shard["file"]).with_suffix(".ends"), "<u8")
        assert (len(ids), len(ends)) == (shard["tokens"], shard["documents"])
        yield from (part.tolist() for part in np.split(ids, ends.astype(int)[:-1]))


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_document_has_the_ids_that_encode_gives(folder, tmp_path, monkeypatch):
    inputs, texts = folder
    monkeypatch.setattr(reading, "BATCH", 5_000)
    monkeypatch.setattr(read_ahead, "UNIT_FILES", 3)
    monkeypatch.setattr(encoding, "TRIM_BYTES", 10_000)
    made = []
    for workers in (1, 4):
        out = tmp_path / f"out{workers}"
        index = encode_corpus(
            inputs, tokenizer(), out, separator=END, shard_tokens=5_000, workers=workers
        )
        made.append(files_in(out))
    assert made[0] == made[1]
    found = list(documents_in(out, index))
    assert found == [ids_of(text) for text in texts]
    assert len(index["shards"]) > 5
    assert all(5_000 <= shard["tokens"] < 5_500 for shard in index["shards"][:-1])
    assert index["documents"] == len(texts)
    assert index["tokens"] == sum(map(len, found))
    assert index["text_bytes"] == sum(len(text.encode()) for text in texts)
    assert index["special_tokens_in_text"] == {END: 2 * texts.count(f"x{END}y{END}")}
    assert json.loads((out / "index.json").read_text()) == index


def test_a_long_text_is_one_document_and_is_never_whole_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 100_000)
    monkeypatch.setattr(reading, "READ", 50_000)
    monkeypatch.setattr("fastllm.corpus.text_files.TEXT_BLOCK", 50_000)
    text = english()[:120_000] * 8
    (tmp_path / "long.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    longest = []
    add = reading.Batch.add

    def noting_add(batch, source, document, texts, is_end, text_bytes):
        longest.extend(map(len, texts))
        add(batch, source, document, texts, is_end, text_bytes)

    monkeypatch.setattr(reading.Batch, "add", noting_add)
    index = encode_corpus(
        tmp_path / "long.txt", tokenizer(), tmp_path / "out", begin=END, shard_tokens=1_000
    )
    assert [*documents_in(tmp_path / "out", index)] == [[400 - 1, *ids_of(text, False)]]
    assert max(longest) < 200_000
    assert index["text_bytes"] == len(text.encode())


def test_lines_are_documents_with_their_line_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "READ", 100)
    text = "one\r\ntwo\u2028still two\n\nfour" + "\nx" * 100
    (tmp_path / "a.txt").write_text(text, "utf-8", newline="")
    out = tmp_path / "out"
    index = encode_corpus(tmp_path / "a.txt", tokenizer(), out, documents="lines")
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    assert list(documents_in(out, index)) == [ids_of(line, False) for line in lines]


def test_one_file_takes_all_documents(folder, tmp_path):
    inputs, texts = folder
    for name in ("ids.npy", "ids.bin"):
        index = encode_corpus(inputs, tokenizer(), tmp_path / name, dtype="uint32")
        found = (
            np.load(tmp_path / name) if name == "ids.npy" else np.fromfile(tmp_path / name, "u4")
        )
        assert found.dtype == np.uint32
        assert found.tolist() == [id for text in texts for id in ids_of(text, False)]
        assert index["shards"][0]["documents"] == len(texts)
        ends = np.fromfile(tmp_path / "ids.ends", "<u8")
        assert ends.tolist() == np.cumsum([len(ids_of(text, False)) for text in texts]).tolist()
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "ids.npy", "ids.bin", "ids.ends", "ids.bin.index.json", "ids.npy.index.json"
    }  # fmt: skip


def test_special_tokens_in_text_become_ids_where_they_are_allowed(tmp_path):
    (tmp_path / "a.txt").write_text(f"one{END}two")
    index = encode_corpus(tmp_path / "a.txt", tokenizer(), tmp_path / "o", allow_special=True)
    wanted = tokenizer().encode(f"one{END}two", allowed_special="all")
    assert list(documents_in(tmp_path / "o", index)) == [wanted]
    assert index["special_tokens_in_text"] == {}


def test_inputs_are_files_folders_and_patterns_in_order(folder, tmp_path):
    inputs, _ = folder
    names = [os.path.relpath(source.path, inputs) for source in find_sources(inputs)]
    assert names == sorted(names)
    assert names[-2:] == ["sub/i.txt.gz", "sub/j.md"]
    both = find_sources([inputs / "b.jsonl", f"{inputs}/a0*.txt"])
    assert len(both) == 11
    assert find_sources(f"file://{inputs}")[0].size == find_sources(inputs)[0].size
    (tmp_path / "none").mkdir()
    for wrong, error in {
        "nothing*": FileNotFoundError,
        "missing": FileNotFoundError,
        tmp_path / "none": ValueError,
        3: TypeError,
    }.items():
        with pytest.raises(error, match=r"fits no file|No such file|without files|must be paths"):
            find_sources(wrong if wrong == 3 else [wrong])


def test_urls_are_read_for_ids_and_for_training(tmp_path):
    store = fsspec.filesystem("memory")
    for name, data in {"a.txt": b"one two", "b.txt.gz": gzip.compress(b"two\nthree")}.items():
        store.pipe(f"/urls/{name}", data)
        (tmp_path / name).write_bytes(data)
    there, here = "memory://urls", [tmp_path / "a.txt", tmp_path / "b.txt.gz"]
    told = []
    made = BPETokenizer.train_from_files(
        [f"{there}/a.txt", f"{there}/b.txt.gz"],
        265,
        count_progress=lambda done, total: told.append((done, total)),
    )
    assert made.merges == BPETokenizer.train_from_files(here, 265).merges
    size = sum(path.stat().st_size for path in here)
    assert told[-1] == (size, size)
    index = encode_corpus(there, tokenizer(), tmp_path / "out")
    assert [*documents_in(tmp_path / "out", index)] == [
        ids_of(text, False) for text in ("one two", "two\nthree")
    ]
    with pytest.raises(FileNotFoundError, match="memory://urls/none: no such file"):
        BPETokenizer.train_from_files(f"{there}/none", 265)


# Runs that stop


class StopError(Exception):
    pass


def stop_after(number):
    """A progress callback that ends a run at its `number`-th batch."""
    left = iter(range(number))

    def tell(progress):
        if next(left, None) is None:
            raise StopError

    return tell


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(folder, tmp_path, monkeypatch):
    inputs, _ = folder
    monkeypatch.setattr(reading, "BATCH", 3_000)
    monkeypatch.setattr(read_ahead, "UNIT_FILES", 3)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # takes long where many steps are made
    options = {"separator": END, "shard_tokens": 4_000}
    encode_corpus(inputs, tokenizer(), tmp_path / "whole", **options)
    for seconds in (0.0, 1e9):  # each batch is a step, or each shard
        monkeypatch.setattr(encoding, "SECONDS_BETWEEN_STEPS", seconds)
        out = tmp_path / f"stopped{seconds:.0f}"
        stops = 0
        while True:
            try:
                encode_corpus(inputs, tokenizer(), out, progress=stop_after(6), **options)
                break
            except StopError:
                stops += 1
                # A kill in the middle of a line of the journal, and of a file.
                journal = out / ".progress.jsonl"
                if journal.exists():
                    with journal.open("ab") as file:
                        file.write(b'{"next": [9')
                for part in out.glob("*.part"):
                    with part.open("ab") as file:
                        file.write(b"xyz")
                assert stops < 60
        assert stops >= 2
        assert files_in(out) == files_in(tmp_path / "whole")


KILLER = """
import csv, gzip, os, random, shutil, signal, sys, time
import numpy.lib.format, pyarrow.parquet, zstandard  # once, not in each child
from fastllm import BPETokenizer
from fastllm.corpus import encode_corpus
from fastllm.corpus.encoded import documents, encoding
documents.BATCH, encoding.SECONDS_BETWEEN_STEPS = 2_000, 0.0
os.fsync = lambda file: None  # what a killed process has written stays
tokenizer = BPETokenizer.load(sys.argv[2])
tokenizer.fingerprint, tokenizer.encode("a"), tokenizer.pattern_to_cut_by
rng = random.Random(3)

def tell(progress):
    if next(left, None) is None:
        os.write(writing, b"x")
        time.sleep(0.001)

kills = 0
while kills < 20:
    left = iter(range(rng.randrange(5)))
    reading, writing = os.pipe()
    if not (child := os.fork()):
        encode_corpus(
            sys.argv[1], tokenizer, sys.argv[3], separator=0, shard_tokens=4_000, progress=tell
        )
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    if os.waitpid(child, 0)[1] == signal.SIGKILL:
        kills += 1
    else:  # it had come to its end
        shutil.rmtree(sys.argv[3])
    os.close(reading)
"""


def test_a_run_that_was_killed_twenty_times_goes_on_to_the_same_bytes(folder, tmp_path):
    inputs, _ = folder
    tokenizer().save(tmp_path / "tok.json")
    out = tmp_path / "killed"
    run = [sys.executable, "-c", KILLER, inputs, tmp_path / "tok.json", out]
    subprocess.run(run, check=True)
    encode_corpus(inputs, tokenizer(), out, separator=0, shard_tokens=4_000)
    encode_corpus(inputs, tokenizer(), tmp_path / "whole", separator=0, shard_tokens=4_000)
    assert files_in(out) == files_in(tmp_path / "whole")


def test_ctrl_c_is_told_to_who_calls_and_loses_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 3_000)
    monkeypatch.setattr(encoding, "SECONDS_BETWEEN_STEPS", 0.0)
    batches = []

    def interrupt(progress):
        batches.append(progress)
        if len(batches) == 5:
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "out"
    # A shell has what it runs in the background ignore the signal.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            encode_corpus(folder[0], tokenizer(), out, shard_tokens=4_000, progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert batches[-1].documents > 0
    first = []
    encode_corpus(folder[0], tokenizer(), out, shard_tokens=4_000, progress=first.append)
    assert first[0].documents > batches[-1].documents  # it goes on
    encode_corpus(folder[0], tokenizer(), tmp_path / "whole", shard_tokens=4_000)
    assert files_in(out) == files_in(tmp_path / "whole")


def test_another_tokenizer_input_or_setting_is_refused_by_name(folder, tmp_path):
    inputs, _ = folder
    out = tmp_path / "out"
    index = encode_corpus(inputs, tokenizer(), out)
    before = files_in(out)
    assert encode_corpus(inputs, tokenizer(), out) == index
    other = BPETokenizer.train("other", 257, special_tokens=[END])
    with pytest.raises(ValueError, match="made with another tokenizer"):
        encode_corpus(inputs, other, out)
    with pytest.raises(ValueError, match="another separator: None, now 399"):
        encode_corpus(inputs, tokenizer(), out, separator=END)
    with pytest.raises(ValueError, match=r"other inputs: .*a00.txt is new"):
        encode_corpus([inputs, inputs / "a00.txt"], tokenizer(), out)
    assert files_in(out) == before
    encode_corpus(inputs, tokenizer(), out, separator=END, resume=False)
    assert files_in(out) != before
    (out / "00000.bin").unlink()
    with pytest.raises(ValueError, match=r"lists 00000\.bin, which is not there"):
        encode_corpus(inputs, tokenizer(), out, separator=END)


def test_two_runs_into_one_folder_are_refused(folder, tmp_path):
    def second(progress):
        with pytest.raises(ValueError, match="is being written by another run"):
            encode_corpus(folder[0], tokenizer(), tmp_path / "out")

    encode_corpus(folder[0], tokenizer(), tmp_path / "out", progress=second)


# What cannot be read


BROKEN = {
    "a.txt": (b"good\xff bad", "a.txt is not UTF-8: byte 0xFF at position 4", 0),
    "a.jsonl": (b'{"text": "a"}\n{"text": \n', "line 2 is not JSON", 1),
    "b.jsonl": (b'{"id": 1}\n{"text": "b"}\n', "line 1 has no field 'text', only 'id'", 1),
    "c.jsonl": (b'{"text": null}\n{"text": "b"}\n', "line 1 has no text in field 'text'", 1),
    "d.jsonl": (b'{"text": "\xff"}\n{"text": "b"}\n', "line 1 is not UTF-8: byte 0xFF", 1),
    "e.jsonl": (b'3\n{"text": "b"}\n', "line 1 is not an object but a int", 1),
    "f.jsonl.gz": (gzip.compress(b'{"text": "a"}\n' * 99)[:-9], "f.jsonl.gz cannot be unpacked", 0),
    "g.txt.gz": (gzip.compress(os.urandom(2_000_000))[:-9], "g.txt.gz", 0),
    "h.json": (b'[{"text": "a"}, {"text": "b"}', "ends inside its JSON list", 0),
    "i.json": (b'{"text": "a"}', "is not a list of JSON objects", 0),
    "j.csv": (b"id,texts\n1,a\n", "has no column 'text', only 'id', 'texts'", 0),
    "k.parquet": (b"PAR1" + b"x" * 99, "k.parquet cannot be read as Parquet", 0),
    "l.parquet": (as_parquet(["a"]).replace(b"text", b"next"), "has no column 'text'", 0),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_or_left_out_and_listed(name, tmp_path):
    data, message, kept = BROKEN[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "z.txt").write_text("last")
    inputs = [tmp_path / name, tmp_path / "z.txt"]
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        encode_corpus(inputs, tokenizer(), out)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(out.iterdir()) == []
    index = encode_corpus(inputs, tokenizer(), out, skip_bad=True)
    found = list(documents_in(out, index))
    assert found[-1] == ids_of("last", False)
    assert index["bad_inputs"] == 1
    assert message in index["bad"][0]
    if not name.startswith(("f", "h")):  # what comes before the break is kept
        assert len(found) == kept + 1


def test_a_text_that_breaks_in_the_middle_leaves_no_half(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH", 100_000)
    monkeypatch.setattr(reading, "READ", 50_000)
    monkeypatch.setattr("fastllm.corpus.text_files.TEXT_BLOCK", 50_000)
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "b.txt").write_bytes((END + english()[:100_000]).encode() * 6 + b"\xff")
    (tmp_path / "c.txt").write_text("last")
    inputs = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    index = encode_corpus(inputs, tokenizer(), tmp_path / "out", separator=0, skip_bad=True)
    wanted = [[*ids_of(text, False), 0] for text in ("first", "last")]
    assert list(documents_in(tmp_path / "out", index)) == wanted
    assert index["text_bytes"] == len("firstlast")
    assert index["special_tokens_in_text"] == {}


def test_wrong_arguments_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n\n")
    for message, options in {
        "hold no document": {},
        "separator '<x>' is no token": {"separator": "<x>"},
        "begin 400 is no id": {"begin": 400},
        "format must be": {"format": "zip"},
        "documents must be": {"documents": "pages"},
        "shard_tokens must be": {"shard_tokens": 0},
        "workers must be": {"workers": 0},
        "dtype must be": {"dtype": "int64"},
    }.items():
        with pytest.raises(ValueError, match=message):
            encode_corpus(tmp_path / "a.jsonl", tokenizer(), tmp_path / "out", **options)
    with pytest.raises(TypeError, match="tokenizer must be a tokenizer"):
        encode_corpus(tmp_path / "a.jsonl", "gpt2", tmp_path / "out")


@contextmanager
def nobody():
    """What may be read and written is asked for, of root as well."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_files_that_may_not_be_read_or_written_are_named():
    with tempfile.TemporaryDirectory() as made:  # where others than root may look
        inputs, out = Path(made, "in"), Path(made, "out")
        inputs.mkdir()
        out.mkdir()
        (inputs / "a.txt").write_text("one")
        (inputs / "b.txt").write_text("two")
        for path, mode in ((Path(made), 0o755), (inputs / "b.txt", 0), (out, 0o555)):
            path.chmod(mode)
        with nobody(), pytest.raises(PermissionError) as caught:
            encode_corpus(inputs / "a.txt", tokenizer(), out)
        assert Path(caught.value.filename).is_relative_to(out)
        out.chmod(0o777)
        with nobody():
            with pytest.raises(PermissionError) as caught:
                encode_corpus(inputs, tokenizer(), out)
            assert caught.value.filename == str(inputs / "b.txt")
            assert list(out.iterdir()) == []
            index = encode_corpus(inputs, tokenizer(), out, skip_bad=True)
        assert index["documents"] == 1
        assert index["bad"] == [f"{inputs}/b.txt: Permission denied"]


def test_a_file_that_can_grow_no_more_is_named_and_loses_nothing(folder, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    out = tmp_path / "out"
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            encode_corpus(folder[0], tokenizer(), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert Path(caught.value.filename).is_relative_to(out)
    assert list(out.iterdir()) == []
    index = encode_corpus(folder[0], tokenizer(), out)
    assert list(documents_in(out, index)) == [ids_of(text, False) for text in folder[1]]


def test_a_full_disk_is_named_and_loses_nothing(folder, tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as caught:
            encode_corpus(folder[0], tokenizer(), tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out")
    index = encode_corpus(folder[0], tokenizer(), tmp_path / "out")
    assert list(documents_in(tmp_path / "out", index)) == [ids_of(t, False) for t in folder[1]]
