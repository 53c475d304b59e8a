"""Counting words: what a document is, what files may hold, threads; on both backends."""

import copy
import gzip
import pickle
import random
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts

from fastllm import WordCounts
from fastllm.corpus import sources as text_sources
from fastllm.fast import tokenization as fast
from fastllm.fast._tokenization import _kernels, learning
from fastllm.patterns.named import split_pattern
from fastllm.reference import tokenization as reference

TEXTS = [text.replace("\ud800", "?").replace("\ud83d\ude00", "😀") for text in TRAPS.values()]
LINES = "".join(text + end for text in [*TEXTS, *mixed_texts(150, seed=3)] for end in ("\n", " \n"))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few bytes, so that small files have many."""
    monkeypatch.setattr(text_sources, "BYTE_BLOCK", 64)


def same(one, two):
    """Whether counts are equal, and in the same order."""
    return list(one.items()) == list(two.items())


def test_counts_keep_the_order_of_first_appearance(bpe_backend):
    counts = bpe_backend.count_words(["to be or not", " to be"])
    assert list(counts.items()) == [(b"to", 1), (b" be", 2), (b" or", 1), (b" not", 1), (b" to", 1)]
    assert counts.split_pattern.name == "gpt2"


def test_counts_take_texts_and_paths_together(bpe_backend, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("be to")
    assert same(bpe_backend.count_words(["to", path]), {b"to": 1, b"be": 1, b" to": 1})
    assert same(bpe_backend.count_words(path), {b"be": 1, b" to": 1})


@pytest.mark.parametrize("pattern", [*NAMED, r"\w+\s?|."])
def test_counts_of_lines_are_those_of_each_line_alone(bpe_backend, tmp_path, pattern):
    path = tmp_path / "lines.txt"
    path.write_bytes(LINES.encode())
    lines = text_sources.lines_of(LINES)
    assert "".join(lines) == LINES
    alone = reference.count_words(lines, pattern)
    assert same(bpe_backend.count_words(path, pattern, documents="lines"), alone)


@pytest.mark.parametrize("pattern", NAMED)
def test_counts_of_blocks_are_those_of_the_whole_file(bpe_backend, tmp_path, small_blocks, pattern):
    path = tmp_path / "text.txt"
    path.write_bytes(LINES.encode())
    whole = reference.count_words([LINES], pattern)
    assert same(bpe_backend.count_words(path, pattern), whole)


@pytest.mark.parametrize("level", _kernels.ISAS[: _kernels.isa_number() + 1])
@pytest.mark.parametrize("documents", ["files", "lines"])
def test_counts_agree_at_every_level(monkeypatch, level, documents, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(LINES.encode())
    expected = reference.count_words(path, documents=documents)
    monkeypatch.setattr(_kernels, "isa_number", lambda: _kernels.ISAS.index(level))
    assert same(fast.count_words(path, documents=documents), expected)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("documents", ["files", "lines"])
def test_counts_do_not_depend_on_threads(monkeypatch, tmp_path, documents, threads):
    monkeypatch.setattr(text_sources, "BYTE_BLOCK", 2_500)
    path = tmp_path / "text.txt"
    path.write_text(english()[:200_000])
    expected = reference.count_words(path, documents=documents)
    assert same(fast.count_words(path, documents=documents, threads=threads), expected)


@pytest.mark.parametrize("documents", ["files", "lines"])
def test_counts_cut_special_tokens_out(bpe_backend, tmp_path, small_blocks, documents):
    text = "a<s>b\nlow <s>\nc d" * 20
    path = tmp_path / "text.txt"
    path.write_text(text)
    counts = bpe_backend.count_words(path, special_tokens=["<s>"], documents=documents)
    lines = text_sources.lines_of(text) if documents == "lines" else [text]
    assert same(counts, reference.count_words(lines, special_tokens=["<s>"]))
    assert counts.special_tokens == ("<s>",)
    assert not any(b"<" in word for word in counts)


def test_counts_normalize_where_the_pattern_does(bpe_backend, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("cafe\u0301 cafe\n", "utf-8")
    counts = bpe_backend.count_words(path, "qwen2")
    assert same(counts, {"café".encode(): 1, b" cafe": 1, b"\n": 1})


@pytest.mark.parametrize(
    "wrong",
    [b"\x80", b"\xc0\x80", b"\xe2\x82", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xf0\x8f\xbf\xbf"],
)
def test_counts_say_where_a_file_is_not_utf8(bpe_backend, tmp_path, small_blocks, wrong):
    path = tmp_path / "text.txt"
    path.write_bytes(b"word\n" * 50 + "né".encode() + wrong + b"x\n")
    with pytest.raises(
        ValueError, match=rf"text.txt is not UTF-8: byte 0x{wrong[0]:02X} at position 253"
    ):
        bpe_backend.count_words(path)
    counts = bpe_backend.count_words(path, errors="replace")
    assert same(counts, reference.count_words([path.read_text("utf-8", "replace")]))


def test_utf8_is_told_from_what_is_not_at_every_level(monkeypatch):
    rng = random.Random(5)
    edges = bytes.fromhex("61200a007f808f909fa0bfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff")
    samples = [bytes(rng.choices(edges, k=rng.randint(1, 5))) for _ in range(3000)]
    samples += [s.encode() for s in mixed_texts(300, seed=8)]
    for level in range(_kernels.isa_number() + 1):
        monkeypatch.setattr(_kernels, "isa_number", lambda level=level: level)
        table = _kernels.WordTable("gpt2")
        for sample in samples:
            for data in (sample, b"x" * rng.randint(24, 40) + sample + b"y" * rng.randint(0, 40)):
                try:
                    data.decode()
                    valid = True
                except UnicodeDecodeError:
                    valid = False
                assert table.add_block(data, 0, False) == valid, (level, data)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_counts_of_records(bpe_backend, tmp_path, packed):
    path = tmp_path / f"records.jsonl{packed}"
    data = b'{"text": "one two", "n": 1}\n\n{"text": "two\\n"}\n'
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    path.write_bytes(pack[packed](data))
    expected = {b"one": 1, b" two": 1, b"two": 1, b"\n": 1}
    assert same(bpe_backend.count_words(path, field="text"), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.txt", r"text\.txt has no fields: field='text' is for files that are \.jsonl"),
        ("name", "name has no fields"),
        ("text.txt.gz", r"text\.txt\.gz has no fields"),
        ("texts.json", r"texts\.json: fields of \.json are not read, only those of \.jsonl"),
        ("rows.csv.gz", r"rows\.csv\.gz: fields of \.csv are not read"),
    ],
)
def test_counts_refuse_a_field_where_none_is_read(bpe_backend, tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    for texts in (tmp_path / name, ["a string", tmp_path / name]):
        with pytest.raises(ValueError, match=message):
            bpe_backend.count_words(texts, field="text")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_counts_of_packed_text(bpe_backend, tmp_path, small_blocks, suffix):
    path = tmp_path / f"text.txt{suffix}"
    data = english()[:5000].encode()
    pack = gzip.compress if suffix == ".gz" else zstandard.ZstdCompressor().compress
    path.write_bytes(pack(data))
    assert same(bpe_backend.count_words(path), reference.count_words([data.decode()]))
    path.write_bytes(pack(data)[:-30])
    with pytest.raises(ValueError, match="cannot be unpacked"):
        bpe_backend.count_words(path)


def test_counts_of_a_column(bpe_backend, tmp_path):
    path = tmp_path / "rows.parquet"
    rows = pyarrow.table({"content": ["one two", None, "two"], "n": [1, 2, 3]})
    pyarrow.parquet.write_table(rows, path)
    assert same(bpe_backend.count_words(path, field="content"), {b"one": 1, b" two": 1, b"two": 1})
    with pytest.raises(ValueError, match="no column 'text', only content, n"):
        bpe_backend.count_words(path, field="text")
    with pytest.raises(ValueError, match="field= must name the column"):
        bpe_backend.count_words(path)
    with pytest.raises(ValueError, match="does not hold texts"):
        bpe_backend.count_words(path, field="n")


@pytest.mark.parametrize("cut", [slice(0), slice(30), slice(-5), slice(4, None)])
def test_counts_name_a_damaged_file_of_columns(bpe_backend, tmp_path, cut):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one two"]}), path)
    path.write_bytes(path.read_bytes()[cut])
    with pytest.raises(ValueError, match=r"rows\.parquet cannot be read as Parquet"):
        bpe_backend.count_words(path, field="text")


def test_counts_name_a_damaged_packed_file(bpe_backend, tmp_path):
    packed = bytearray(gzip.compress(bytes(range(256)) * 64))
    packed[12:20] = b"\xff" * 8
    path = tmp_path / "text.txt.gz"
    path.write_bytes(packed)
    with pytest.raises(ValueError, match=r"text\.txt\.gz cannot be unpacked"):
        bpe_backend.count_words(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not an object with a text 'text'"),
        ('{"text": 1}', "line 2 is not an object with a text 'text'"),
    ],
)
def test_counts_name_a_wrong_record(bpe_backend, tmp_path, line, message):
    path = tmp_path / "records.jsonl"
    path.write_text('{"text": "a"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        bpe_backend.count_words(path, field="text")


def test_counts_name_a_library_that_is_missing(bpe_backend, tmp_path, monkeypatch):
    for name, module, extra in (
        ("a.jsonl.zst", "zstandard", "zstd"),
        ("a.parquet", "pyarrow.parquet", "parquet"),
    ):
        path = tmp_path / name
        path.write_bytes(b"")
        monkeypatch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(ImportError, match=rf"pip install 'fastllm-kernels\[{extra}\]'"):
            bpe_backend.count_words(path, field="text")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"documents": "words"}, ValueError, "documents must be one of files, lines"),
        ({"field": 1}, TypeError, "field must be a str, not int"),
        ({"errors": "ignore"}, ValueError, "errors must be one of strict, replace"),
        ({"threads": 0}, ValueError, "threads must be at least 1"),
        ({"texts": b"x"}, TypeError, "texts must be a str or an iterable of str, not bytes"),
        ({"texts": [1]}, TypeError, "each text must be a str, not int"),
        ({"texts": Path("/no/such/file")}, FileNotFoundError, "no/such/file"),
    ],
)
def test_counts_name_what_is_wrong(bpe_backend, arguments, error, message):
    call = {"texts": "abc"} | arguments
    with pytest.raises(error, match=message):
        bpe_backend.count_words(call.pop("texts"), **call)


def test_counts_past_32_bits_do_not_wrap(bpe_backend):
    counts = WordCounts({b"ab": 2**32 - 1, b"abcdefghijklmnopqrstuvw": 2**40}, pattern=r"\w+|.")
    more = bpe_backend.count_words("ab", r"\w+|.")
    merged = counts.merge(more, more)
    assert merged[b"ab"] == 2**32 + 1
    table = _kernels.WordTable("gpt2")
    for word in (b"ab", b"ab", b"abcdefghijklmnopqrstuvw"):
        table.add(word, 2**32 - 1)
    table.add_texts(["ab", "ab", "ab"], 0)
    other = _kernels.WordTable("gpt2")
    other.add(b"ab", 2**33)
    table.add_table(other)
    assert dict(table.items()) == {
        b"ab": 2 * (2**32 - 1) + 3 + 2**33,
        b"abcdefghijklmnopqrstuvw": 2**32 - 1,
    }


def test_counts_of_many_words_survive_growing():
    words = [f"{n}{'x' * (n % 40)}".encode() for n in range(20_000)]
    table = _kernels.WordTable(None)
    for count in (1, 2):
        for word in words:
            table.add(word, count)
    assert table.items() == [(word, 3) for word in words]
    assert len(table) == 20_000


def test_counts_can_be_saved_and_loaded(bpe_backend, tmp_path):
    counts = bpe_backend.count_words(LINES, "deepseek-v3", special_tokens=["<s>"])
    path = tmp_path / "counts"
    counts.save(path)
    loaded = WordCounts.load(path)
    assert same(loaded, counts)
    assert loaded.split_pattern == split_pattern("deepseek-v3")
    assert loaded.special_tokens == ("<s>",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not hold word counts"),
        (b'{"format": "fastllm-word-counts", "version": 9}\n', "version 9"),
        (b'{"format": "fastllm-word-counts", "version": 1}\n', "has no 'steps' in line 1"),
    ],
)
def test_counts_refuse_a_file_of_another_kind(tmp_path, data, message):
    path = tmp_path / "counts"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        WordCounts.load(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"YQ== x", "line 3 is not a word"),
        (b"YQ= 1", "line 3 is not a word"),
        (b"", "line 3"),
        (b"YQ== 0", "must be at least 1"),
    ],
)
def test_counts_refuse_a_damaged_file(tmp_path, line, message):
    path = tmp_path / "counts"
    WordCounts({b"b": 1, b"a": 2}).save(path)
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], line, b""]))
    with pytest.raises(ValueError, match=message):
        WordCounts.load(path)
    path.write_bytes(b"\n".join([*lines[:2], b""]))
    with pytest.raises(ValueError, match="holds 1 words, not 2"):
        WordCounts.load(path)


def test_counts_can_be_sent_to_another_process(bpe_backend):
    counts = bpe_backend.count_words("one two one", "o200k", special_tokens=["<s>"])
    for other in (pickle.loads(pickle.dumps(counts)), copy.deepcopy(counts)):
        assert list(other.items()) == list(counts.items())
        assert other.split_pattern == counts.split_pattern
        assert other.merge(counts).special_tokens == ("<s>",)


def test_counts_of_different_patterns_do_not_merge():
    with pytest.raises(
        ValueError, match="cut by pattern o200k cannot be added to words cut by gpt2"
    ):
        WordCounts({}).merge(WordCounts({}, pattern="o200k"))
    with pytest.raises(ValueError, match="cut at other special tokens"):
        WordCounts({}).merge(WordCounts({}, special_tokens=["<s>"]))
    with pytest.raises(TypeError, match="others must be WordCounts"):
        WordCounts({}).merge({})


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ([], TypeError, "counts must be a mapping"),
        ({"a": 1}, TypeError, "every word must be bytes"),
        ({b"": 1}, ValueError, "an empty word"),
        ({b"a": 0}, ValueError, "at least 1"),
        ({b"a": 2**63}, ValueError, "at most"),
        ({b"ab": 2**62}, ValueError, f"of {2**63} bytes of text, more than {2**63 - 1}"),
        ({b"a": 1.5}, TypeError, "must be an int"),
    ],
)
def test_word_counts_name_what_is_wrong(counts, error, message):
    with pytest.raises(error, match=message):
        WordCounts(counts)


def test_counting_on_threads_raises_what_goes_wrong(tmp_path, small_blocks):
    path = tmp_path / "text.txt"
    path.write_bytes(b"word\n" * 200 + b"\xff\n" + b"word\n" * 2000)
    with pytest.raises(ValueError, match="byte 0xFF at position 1000"):
        fast.count_words(path, threads=2)

    def texts():
        yield from ["word " * 100] * 50
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fast.count_words(texts(), threads=2)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".parquet"])
def test_counting_reports_how_much_of_all_files_is_read(bpe_backend, tmp_path, packed, monkeypatch):
    monkeypatch.setattr(text_sources, "BYTE_BLOCK", 1 << 15)
    text = english()[:150_000]
    field = "text" if packed == ".parquet" else None
    one, two = tmp_path / "one.txt", tmp_path / f"two.txt{packed}"
    one.write_text(text)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}
    if packed == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": text.splitlines()}), two)
    else:
        two.write_bytes(pack[packed](text.encode()))
    told = []
    bpe_backend.count_words([one, two], field=field, progress=lambda *now: told.append(now))
    total = one.stat().st_size + two.stat().st_size
    assert {of for _, of in told} == {total}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) >= 4
    assert told[0][0] < total // 2
    assert told[-1][0] == total or packed == ".parquet"


def test_counting_stops_when_progress_raises(bpe_backend, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    path = tmp_path / "text.txt"
    path.write_text(english())
    with pytest.raises(KeyboardInterrupt):
        bpe_backend.count_words(path, progress=stop)
    with pytest.raises(TypeError, match="progress must be callable, not int"):
        bpe_backend.count_words(path, progress=1)
    assert bpe_backend.count_words(["to be"], progress=stop)  # nothing to be told of texts


def test_a_call_in_the_background_stops_when_the_caller_is_interrupted():
    stopped = []

    def watch():
        raise KeyboardInterrupt

    import threading

    event = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        learning.in_background(event.wait, lambda: (stopped.append(1), event.set()), watch)
    assert stopped == [1]
