"""Files of text in, files of ids out: chunks that change nothing, and no half-written file."""

import errno
import io
import os
import stat
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts

from fastllm import BPETokenizer
from fastllm.corpus import text_files
from fastllm.corpus.atomic_write import replacing
from fastllm.patterns.named import split_pattern
from fastllm.reference.tokenization import split

ENGLISH = english()[:30_000]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks so small that a short file has many, cut in the middle of characters."""
    monkeypatch.setattr(text_files, "TEXT_BLOCK", 101)


def chunks(text, pattern="gpt2", tokens=(), errors="strict"):
    data = text if isinstance(text, bytes) else text.encode()
    file = io.BytesIO(data)
    file.name = "text.txt"
    return list(text_files.read_chunks(file, split_pattern(pattern), tokens, errors))


# Where text may be cut


@pytest.mark.parametrize("name", sorted(NAMED))
def test_cut_changes_no_piece_for_any_named_pattern(name):
    letters = "aZ1é٣中アー한\u0301ǅ'.!/ \t\r\n\n\n\u3000\x85…²"
    alphabet = st.text(st.sampled_from(letters), max_size=30)

    @given(alphabet, st.sampled_from("aZ1é٣中ア한ǅ²"), alphabet)
    def check(before, letter, after):
        text = f"{before}\n{letter}{after}"
        cut = text_files.last_text_cut(text)
        if cut:
            assert split(text[:cut], name) + split(text[cut:], name) == split(text, name)

    check()


def test_cut_is_behind_a_line_end_between_a_visible_character_and_a_letter_or_digit():
    assert text_files.last_text_cut("ab\ncd") == 3
    assert text_files.last_text_cut("ab\n1\n\nx") == 3
    assert text_files.last_text_cut("中\n文") == 2
    for text in ("", "\n", "a\n", "\na", "a \nb", "a\n b", "a\n.b", "a\n\u0301b", "a\u3000\nb"):
        assert text_files.last_text_cut(text) == 0


def test_chunks_joined_are_the_text_and_split_alike(small_blocks):
    text = "\n".join([*TRAPS.values(), ENGLISH[:3000]]).encode("utf-8", "replace").decode()
    found = chunks(text)
    assert len(found) > 5
    assert "".join(found) == text
    assert [pretoken for chunk in found for pretoken in split(chunk)] == split(text)


def test_chunks_are_one_where_no_cut_is_known_to_be_safe(small_blocks):
    assert len(chunks(ENGLISH)) > 100
    assert chunks(ENGLISH, r"\p{L}+|\P{L}+") == [ENGLISH]
    assert chunks(ENGLISH, tokens=["a\nb"]) == [ENGLISH]
    assert chunks("") == []


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80"])
@pytest.mark.parametrize("before", [0, 99, 100, 101, 1000])
def test_chunks_say_where_text_is_not_utf8(small_blocks, bad, before):
    message = rf"text\.txt is not UTF-8: byte 0x{bad[0]:02X} at position {before};"
    data = b"x" * before + bad
    for after in (b"", b"z" * 300):
        with pytest.raises(ValueError, match=message):
            chunks(data + after)
        replaced = "".join(chunks(data + after, errors="replace"))
        assert replaced == (data + after).decode("utf-8", "replace")


# Training from files


def test_files_train_as_their_texts_do(bpe_tokenizer, tmp_path, small_blocks):
    texts = [ENGLISH[:1500], "", "é\n" * 40 + "<s>" + ENGLISH[3000:4000]]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8", newline="")
    paths = sorted(tmp_path.iterdir())
    options = {"special_tokens": ["<s>"], "tie_break": "first-seen"}
    expected = bpe_tokenizer.train(texts, 300, **options)
    assert bpe_tokenizer.train_from_files(paths, 300, **options) == expected
    assert bpe_tokenizer.train_from_files(map(str, paths), 300, **options) == expected
    one = bpe_tokenizer.train_from_files(paths[0], 300, pattern=r"\p{L}+|\P{L}+")
    assert one == bpe_tokenizer.train(texts[0], 300, pattern=r"\p{L}+|\P{L}+")


def test_files_that_are_missing_are_told_before_reading(bpe_tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        bpe_tokenizer.train_from_files([tmp_path / "none.txt"], 300)
    with pytest.raises(TypeError, match="paths must be a path"):
        bpe_tokenizer.train_from_files(3, 300)
    with pytest.raises(TypeError, match="paths holds 3; every path must be a str or a path"):
        bpe_tokenizer.train_from_files([3], 300)


def test_files_that_are_not_utf8_raise_or_are_replaced(bpe_tokenizer, tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9 caf\xe9")
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8: byte 0xE9 at position 3"):
        bpe_tokenizer.train_from_files(path, 258)
    tokenizer = bpe_tokenizer.train_from_files(path, 258, errors="replace")
    assert tokenizer == bpe_tokenizer.train("caf\ufffd caf\ufffd", 258)
    with pytest.raises(ValueError, match="errors must be one of strict, replace"):
        bpe_tokenizer.train_from_files(path, 258, errors="ignore")


# Files of ids


@cache
def small_ranks():
    """299 tokens, learned once: the reference takes its time."""
    return BPETokenizer.train(ENGLISH[:3000], 299).mergeable_ranks


@pytest.fixture
def tokenizer(bpe_tokenizer):
    return bpe_tokenizer(small_ranks(), pattern="gpt2", special_tokens={"<s>": 299})


@pytest.mark.parametrize("threads", [None, 1, 2])
def test_file_of_ids_holds_what_encode_gives(tokenizer, tmp_path, small_blocks, threads):
    text = "\n".join([ENGLISH[:4000], "<s>é<s>", *mixed_texts(20)])
    text = text.encode("utf-8", "replace").decode()
    source, bare, array = (tmp_path / name for name in ("text.txt", "ids.bin", "ids.npy"))
    source.write_text(text, encoding="utf-8", newline="")
    expected = tokenizer.encode(text, allowed_special="all")
    options = {"allowed_special": "all", "threads": threads}
    assert tokenizer.encode_file(source, bare, **options) == len(expected)
    assert tokenizer.encode_file(source, array, **options) == len(expected)
    assert np.fromfile(bare, dtype="<u2").tolist() == expected
    loaded = np.load(array)
    assert (loaded.dtype, loaded.tolist()) == (np.dtype("<u2"), expected)


def test_file_of_ids_is_wide_where_the_vocabulary_is(bpe_tokenizer, tmp_path):
    ranks = {bytes([b]): b for b in range(256)}
    (tmp_path / "text.txt").write_text("a<s>")
    for number, dtype in ((65_535, "<u2"), (65_536, "<u4")):
        tokenizer = bpe_tokenizer(ranks, pattern="gpt2", special_tokens={"<s>": number})
        tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "ids.bin", allowed_special="all")
        assert np.fromfile(tmp_path / "ids.bin", dtype=dtype).tolist() == [97, number]


def test_file_of_ids_from_an_empty_file(tokenizer, tmp_path):
    (tmp_path / "text.txt").touch()
    assert tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "ids.npy") == 0
    assert np.load(tmp_path / "ids.npy").tolist() == []


def test_file_of_ids_reports_progress(tokenizer, tmp_path, small_blocks):
    (tmp_path / "text.txt").write_text(ENGLISH, encoding="utf-8")
    size = len(ENGLISH.encode())
    seen = []
    tokenizer.encode_file(
        tmp_path / "text.txt", tmp_path / "ids.bin", progress=lambda *now: seen.append(now)
    )
    assert len(seen) > 5
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


def test_file_of_ids_is_not_there_after_an_error(tokenizer, tmp_path):
    source = tmp_path / "text.txt"
    for data, message in [(b"ab<s>", "special token"), (b"ab\xff", "position 2")]:
        source.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            tokenizer.encode_file(source, tmp_path / "ids.npy")
    with pytest.raises(ValueError, match=r"ids\.txt: ids are written as \.npy or \.bin"):
        tokenizer.encode_file(source, tmp_path / "ids.txt")
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        tokenizer.encode_file(tmp_path / "none.txt", tmp_path / "ids.npy")
    with pytest.raises(ValueError, match="at position 2"):
        tokenizer.encode_file(source, tmp_path / "ids.npy", errors="strict")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


# Whole or not at all


def write_half(path, error):
    with replacing(path) as file:
        file.write("half")
        raise error


def test_written_file_keeps_the_old_one_until_it_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    for error in (KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "No space left on device")):
        with pytest.raises(error if isinstance(error, type) else OSError):
            write_half(path, error)
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "old")]
    with replacing(path) as file:
        file.write("new\n")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"new\n")]


def test_full_disk_names_the_file(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left") as caught:
        write_half(tmp_path / "file", full)
    assert caught.value.filename == str(tmp_path / "file")
    with pytest.raises(OSError, match="No space left"), replacing("/dev/full") as file:
        file.write("x" * 100_000)


def test_written_file_keeps_mode_link_and_device(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    with replacing(path) as file:
        file.write("one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~current_umask()
    path.chmod(0o640)
    link.symlink_to(path)
    with replacing(link, "wb") as file:
        file.write(b"two")
    assert link.is_symlink()
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("two", 0o640)
    with replacing(os.devnull) as file:
        file.write("nothing")
    assert not os.path.isfile(os.devnull)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_written_file_needs_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "none" / "file"):
        raise AssertionError("not to be reached")
    assert caught.value.filename == str(tmp_path / "none" / "file")
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        raise AssertionError("not to be reached")
