"""Facts about `BPETokenizer`: learning, ids and text, and what makes two of them equal."""

import copy
import pickle
import subprocess
import sys
import threading
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from vocabularies import published_ranks

from fastllm import BPETokenizer
from fastllm.patterns.named import SplitPattern
from fastllm.patterns.steps import Step

ENGLISH = english()[:40_000]
COURSE = [
    "This is the Hugging Face Course.",
    "This chapter is about tokenization.",
    "This section shows several tokenizer algorithms.",
    "Hopefully, you will be able to understand how they are trained and generate tokens.",
]


@cache
def small_ranks():
    """300 tokens, learned once: the reference takes its time."""
    return BPETokenizer.train(ENGLISH[:4000], 300).mergeable_ranks


def minbpe_train(text, merges):
    """minbpe's rule: of the most frequent pairs the first in the text, merged everywhere."""
    ids, made = list(text.encode()), {}
    for new in range(256, 256 + merges):
        counts = {}
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + 1
        made[max(counts, key=counts.get)] = new
        ids = minbpe_merge(ids, max(counts, key=counts.get), new)
    return made


def minbpe_merge(ids, pair, new):
    merged, i = [], 0
    while i < len(ids):
        both = tuple(ids[i : i + 2]) == pair
        merged.append(new if both else ids[i])
        i += 1 + both
    return merged


def minbpe_encode(text, made):
    ids = list(text.encode())
    while len(ids) >= 2:
        pair = min(pairwise(ids), key=lambda pair: made.get(pair, 1 << 40))
        if pair not in made:
            break
        ids = minbpe_merge(ids, pair, made[pair])
    return ids


# Learning


def test_classic_example(bpe_tokenizer):
    tokenizer = bpe_tokenizer.train("aaabdaaabac", 259, tie_break="first-seen")
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    assert tokenizer.merges == [(b"a", b"a"), (b"aa", b"a"), (b"aaa", b"b")]


def test_course_example(bpe_tokenizer):
    tokenizer = bpe_tokenizer.train(COURSE, 256 + 19, tie_break="first-seen")
    tokens = tokenizer.decode_tokens_bytes(tokenizer.encode("This is not a token."))
    assert tokens == [b"This", b" is", b" ", b"n", b"o", b"t", b" a", b" token", b"."]


def test_merges_and_ids_are_minbpes(bpe_tokenizer):
    text = ENGLISH[:3000]
    made = minbpe_train(text, 60)
    tokenizer = bpe_tokenizer.train(text, 316, pattern="(?s:.+)", tie_break="first-seen")
    ranks = tokenizer.mergeable_ranks
    assert [(ranks[a], ranks[b]) for a, b in tokenizer.merges] == list(made)
    for text in ["", "a", ENGLISH[3000:4000], *list(TRAPS.values())[:12]]:
        assert tokenizer.encode(text) == minbpe_encode(text, made)


@pytest.mark.parametrize("specials", [[], ["<s>", "<|endoftext|>"]])
@pytest.mark.parametrize("least", [1, 3])
def test_huggingface_vocabulary_is_theirs(bpe_tokenizer, specials, least):
    texts = ENGLISH[:4000].split("\n\n")
    rival = Tokenizer(models.BPE())
    rival.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        min_frequency=least,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rival.train_from_iterator(texts, trainer)
    tokenizer = bpe_tokenizer.train(
        texts, 330, special_tokens=specials, tie_break="huggingface", min_frequency=least
    )
    assert tokenizer.vocab_size == rival.get_vocab_size() == 330
    for token, number in tokenizer.special_tokens.items():
        assert rival.token_to_id(token) == number
    for text in [*texts, *TRAPS.values()]:
        if not any(0xD800 <= ord(character) < 0xE000 for character in text):
            assert tokenizer.encode(text, allowed_special="all") == rival.encode(text).ids


def test_id_layout(bpe_tokenizer):
    def layout(specials, **options):
        tokenizer = bpe_tokenizer.train(
            "aaaa", 258 + len(specials), **options, special_tokens=specials
        )
        ranks = tokenizer.mergeable_ranks
        return ranks[b"\x00"], ranks[b"a"], ranks[b"aa"], ranks[b"aaaa"], tokenizer.special_tokens

    assert layout(["<s>"]) == (0, 97, 256, 257, {"<s>": 258})
    assert layout(["<s>"], tie_break="first-seen") == (0, 97, 256, 257, {"<s>": 258})
    assert layout({"<s>": 300}) == (0, 97, 256, 257, {"<s>": 300})
    assert layout(["<s>"], tie_break="huggingface") == (189, 65, 257, 258, {"<s>": 0})
    assert layout({"<s>": 0}, tie_break="huggingface") == (189, 65, 257, 258, {"<s>": 0})
    assert layout({"<s>": 300}, tie_break="huggingface") == (188, 64, 256, 257, {"<s>": 300})


def test_special_id_that_is_taken_is_told_before_training(bpe_tokenizer):
    def texts():
        raise AssertionError("training has begun")
        yield ""

    with pytest.raises(ValueError, match=r"the id of '<s>', 257, is taken: .* from 0 to 257"):
        bpe_tokenizer.train(texts(), 259, special_tokens={"<s>": 257})
    with pytest.raises(TypeError, match="must be an int"):
        bpe_tokenizer.train(texts(), 259, special_tokens={"<s>": "1"})


def test_early_end_is_a_warning_and_numbers_specials_without_gap(bpe_tokenizer):
    with pytest.warns(UserWarning, match="training ended after 1 of 43 merges"):
        tokenizer = bpe_tokenizer.train("ab", 300, special_tokens=["<s>"])
    assert tokenizer.special_tokens == {"<s>": 257}
    assert tokenizer.vocab_size == tokenizer.n_vocab == 258


def test_wrong_training_arguments_raise(bpe_tokenizer):
    for options, message in [
        ({"vocab_size": 255}, "vocab_size must be from 256"),
        ({"pattern": "nothing"}, "is not the name of a pattern"),
        ({"tie_break": "random"}, "tie_break must be one of"),
        ({"special_tokens": ["a", "a"]}, "twice"),
        ({"min_frequency": -1}, "min_frequency"),
    ]:
        with pytest.raises(ValueError, match=message):
            bpe_tokenizer.train("a", **({"vocab_size": 256} | options))
    with pytest.raises(TypeError, match="texts must be"):
        bpe_tokenizer.train(b"a", 256)
    with pytest.raises(TypeError, match="vocab_size must be an int"):
        bpe_tokenizer.train("a", 256.0)


@pytest.mark.parametrize("pattern", sorted(NAMED))
@pytest.mark.parametrize("tie_break", ["lowest-ids", "huggingface", "first-seen"])
def test_merges_follow_from_ranks(pattern, tie_break):
    options = {"pattern": pattern, "tie_break": tie_break, "special_tokens": ["<s>"]}
    text = ENGLISH[:4000]
    tokenizer = BPETokenizer.train(text, 340, **options)
    assert tokenizer.merges == BPETokenizer._bpe.train(text, 340, **options)
    listed = BPETokenizer(
        tokenizer.mergeable_ranks,
        pattern=pattern,
        special_tokens=tokenizer.special_tokens,
        merges=tokenizer.merges,
    )
    assert listed == tokenizer
    assert listed.ranks_are_merges
    for text in [ENGLISH[:8000], *TRAPS.values(), *mixed_texts(100)]:
        assert listed.encode_ordinary(text) == tokenizer.encode_ordinary(text)


# Text to ids


@pytest.fixture(scope="module", params=["cl100k", "o200k"])
def published(request):
    """tiktoken's encoding and our tokenizer for one published vocabulary."""
    ranks = published_ranks(f"{request.param}_base")
    specials = {"<|endoftext|>": 200_100, "<|fim|>": 200_101}
    pattern = NAMED[request.param].steps[0]
    rival = tiktoken.Encoding(
        "rival", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials
    )
    return rival, BPETokenizer(ranks, pattern=request.param, special_tokens=specials)


def test_ids_are_tiktokens(published):
    rival, tokenizer = published
    texts = [*TRAPS.values(), *mixed_texts(300, seed=7), ENGLISH]
    for text in texts:
        expected = rival.encode_ordinary(text)
        assert tokenizer.encode_ordinary(text) == expected, text
        assert tokenizer.encode_to_numpy(text, disallowed_special=()).tolist() == expected
        assert tokenizer.count(text, disallowed_special=()) == len(expected)
        assert tokenizer.decode(expected) == rival.decode(expected)
    assert tokenizer.encode_batch(texts, disallowed_special=()) == rival.encode_ordinary_batch(
        texts
    )
    assert tokenizer.n_vocab == rival.n_vocab
    assert tokenizer.max_token_value == rival.max_token_value
    assert tokenizer.eot_token == rival.eot_token


@pytest.fixture
def small(bpe_tokenizer):
    """A tokenizer with two special tokens and an added one."""
    return bpe_tokenizer(
        small_ranks(),
        pattern="gpt2",
        special_tokens={"<s>": 300, "<s>x": 301},
        added_tokens={"<tool>": 305},
    )


@given(text=st.text())
def test_gives_any_text_back(text):
    tokenizer = BPETokenizer(small_ranks(), pattern="cl100k")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_batches_are_single_calls_in_a_row(small):
    texts = ["a<s>b", "", "<s>x<s>", "plain the", "<tool>", "naïve <tool> 中<s>"]
    one_by_one = [small.encode(text, allowed_special="all") for text in texts]
    assert small.encode_batch(texts, allowed_special="all") == one_by_one
    for threads in (None, 1, 2):
        ids, offsets = small.encode_batch_to_numpy(texts, threads=threads, allowed_special="all")
        assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
        parts = [ids[a:b].tolist() for a, b in pairwise(offsets)]
        assert parts == one_by_one
    for text, expected in zip(texts, one_by_one, strict=True):
        array = small.encode_to_numpy(text, allowed_special="all")
        assert array.dtype == np.uint32
        assert array.tolist() == expected
        assert small.count(text, allowed_special="all") == len(expected)


def test_empty_batch(small):
    assert small.encode_batch([]) == []
    ids, offsets = small.encode_batch_to_numpy([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])


def test_text_must_be_a_str(small):
    for wrong in (b"a", None, 3, ["a"]):
        for method in (small.encode, small.encode_ordinary, small.count, small.encode_to_numpy):
            with pytest.raises(TypeError, match="must be a str"):
                method(wrong)
        with pytest.raises(TypeError, match="must be a str"):
            small.encode_with_offsets(wrong)
    with pytest.raises(TypeError, match="texts must be an iterable of str"):
        small.encode_batch("one text")


def test_split_gives_the_pieces(bpe_tokenizer):
    tokenizer = bpe_tokenizer.train("", 257, pattern="cl100k", special_tokens=["<s>"])
    assert tokenizer.split("in 2024<s>") == ["in", " ", "202", "4", "<s", ">"]


def test_missing_bytes_raise_or_drop(bpe_tokenizer):
    ranks = {b"a": 0, b"b": 1, b"ab": 2, b"c!": 3}
    with pytest.raises(ValueError, match="no token for byte 0x63"):
        bpe_tokenizer(ranks, pattern="gpt2").encode("acb")
    tokenizer = bpe_tokenizer(ranks, pattern="gpt2", missing_bytes="drop")
    assert tokenizer.encode("acb") == [2]
    with pytest.raises(ValueError, match="missing_bytes must be one of"):
        bpe_tokenizer(ranks, pattern="gpt2", missing_bytes="ignore")
    assert tokenizer.merges == [(b"a", b"b")]


# Ids to text


def test_decoding(small):
    ids = small.encode("naïve <tool> the<s>", allowed_special="all")
    assert small.decode(ids) == small.decode(np.array(ids)) == "naïve <tool> the<s>"
    assert small.decode_bytes(ids) == "naïve <tool> the<s>".encode()
    assert small.decode_batch([ids, [], ids]) == [small.decode(ids), "", small.decode(ids)]
    assert b"".join(map(small.decode_single_token_bytes, ids)) == small.decode_bytes(ids)
    assert small.decode_tokens_bytes(ids)[-1] == b"<s>"


def test_bad_utf8_is_replaced_by_default(small):
    assert small.decode([0xC3, 97, 0xA9]) == "\ufffda\ufffd"
    assert small.decode([0xC3, 97], errors="ignore") == "a"
    with pytest.raises(UnicodeDecodeError):
        small.decode([0xC3], errors="strict")


def test_unknown_id_is_a_key_error(small):
    for wrong in (302, 9999, -1, 2**40):
        for method in (small.decode, small.decode_bytes, small.decode_tokens_bytes):
            with pytest.raises(KeyError, match=f"id {wrong} is not in the vocabulary"):
                method([97, wrong])
        with pytest.raises(KeyError):
            small.decode_single_token_bytes(wrong)


# The vocabulary


def test_sizes_and_tables(small):
    assert (len(small), small.vocab_size, small.max_token_value, small.n_vocab) == (
        303,
        303,
        305,
        306,
    )
    assert small.vocab[b"<s>x"] == 301
    assert small.vocab[b"a"] == small.mergeable_ranks[b"a"] == 97
    assert small.special_tokens == {"<s>": 300, "<s>x": 301}
    assert small.added_tokens == {"<tool>": 305}
    small.vocab[b"new"] = small.mergeable_ranks[b"new"] = 1
    assert b"new" not in small.vocab
    assert repr(small) == "<BPETokenizer of 303 tokens, pattern gpt2>"
    with pytest.raises(KeyError):
        _ = small.eot_token


def test_pattern_is_named_or_as_given():
    ranks = {b"a": 0}
    steps = SplitPattern((r"\d", r"\p{L}+"), None, "NFC")
    assert BPETokenizer(ranks, pattern="r50k_base").pattern == "gpt2"
    assert BPETokenizer(ranks, pattern=NAMED["cl100k"].steps[0]).pattern == "cl100k"
    assert BPETokenizer(ranks, pattern=r"\p{L}+").pattern == r"\p{L}+"
    assert BPETokenizer(ranks, pattern=steps).pattern is steps
    assert repr(BPETokenizer(ranks, pattern=r"\d")) == r"<BPETokenizer of 1 tokens, pattern '\\d'>"


def test_wrong_arguments_raise(bpe_tokenizer):
    ranks = {b"a": 0, b"b": 1}

    def make(**options):
        return bpe_tokenizer(ranks, **({"pattern": "gpt2"} | options))

    with pytest.raises(TypeError, match="pattern"):
        bpe_tokenizer(ranks)
    with pytest.raises(TypeError, match="pattern must be a str"):
        make(pattern=None)
    with pytest.raises(ValueError, match="id 1 belongs to both b'b' and b'<s>'"):
        make(special_tokens={"<s>": 1})
    with pytest.raises(ValueError, match="id 7 belongs to both"):
        make(special_tokens={"<s>": 7, "<t>": 7})
    with pytest.raises(ValueError, match="id 7 belongs to both"):
        make(special_tokens={"<s>": 7}, added_tokens={"<t>": 7})
    with pytest.raises(ValueError, match="'<s>' is both a special token and an added token"):
        make(special_tokens={"<s>": 7}, added_tokens={"<s>": 7})
    with pytest.raises(ValueError, match="which no text can hold"):
        make(special_tokens={"": 7})
    with pytest.raises(TypeError, match="special_tokens must be a mapping"):
        make(special_tokens=["<s>"])
    with pytest.raises(TypeError, match="every token must be a str"):
        make(added_tokens={b"<s>": 7})
    with pytest.raises(ValueError, match="must be at least 0"):
        make(special_tokens={"<s>": -7})
    with pytest.raises(ValueError, match="vocabulary gives id 0 to both"):
        bpe_tokenizer({b"a": 0, b"b": 0}, pattern="gpt2")
    with pytest.raises(TypeError, match="every token must be bytes"):
        bpe_tokenizer({"a": 0}, pattern="gpt2")
    with pytest.raises(ValueError, match="needs b'ab', not a token"):
        make(merges=[(b"a", b"b")])
    with pytest.raises(ValueError, match="normalized_tokens holds '<s>'"):
        make(normalized_tokens=["<s>"])


def test_special_token_may_be_an_ordinary_token_too(bpe_tokenizer):
    tokenizer = bpe_tokenizer({b"a": 0, b"b": 1}, pattern="gpt2", special_tokens={"a": 0, "b": 5})
    assert tokenizer.encode("ab", allowed_special="all") == [0, 5]
    assert tokenizer.encode_ordinary("ab") == [0, 1]
    assert tokenizer.vocab_size == 3


def test_last_of_merges_listed_twice_counts(bpe_tokenizer):
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"ab": 3, b"bc": 4}
    first, second = (b"a", b"b"), (b"b", b"c")
    tokenizer = bpe_tokenizer(ranks, pattern="gpt2", merges=[first, second, first])
    assert tokenizer.encode("abc") == [0, 4]
    assert tokenizer == bpe_tokenizer(ranks, pattern="gpt2", merges=[second, first])
    assert tokenizer != bpe_tokenizer(ranks, pattern="gpt2", merges=[first, second])
    assert not tokenizer.ranks_are_merges


def test_whole_pieces_matter_where_merges_do_not_make_all(bpe_tokenizer):
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"abc": 3}
    listed = bpe_tokenizer(ranks, pattern="gpt2", merges=[])
    whole = bpe_tokenizer(ranks, pattern="gpt2", merges=[], ignore_merges=True)
    assert (listed.encode("abc"), whole.encode("abc")) == ([0, 1, 2], [3])
    assert listed != whole
    assert whole == bpe_tokenizer(ranks, pattern="gpt2")
    assert (listed.ranks_are_merges, whole.ranks_are_merges) == (False, True)
    assert (listed.ignore_merges, whole.ignore_merges) == (False, True)


def test_equality_sees_every_part(small):
    settings = small._settings()
    changes = {
        "ranks": {**settings["ranks"], b"new token": 400},
        "pattern": "cl100k",
        "special_tokens": {"<s>": 300},
        "added_tokens": {"<tool>": 306},
        "normalized_tokens": ["<s>"],
        "missing_bytes": "drop",
        "merges": [],
    }
    assert type(small)(**settings) == small
    assert hash(type(small)(**settings)) == hash(small)
    for name, value in changes.items():
        assert type(small)(**(settings | {name: value})) != small
    ways = [SplitPattern((Step(r"\s", behavior),)) for behavior in ("isolated", "removed")]
    kept, removed = (type(small)(**(settings | {"pattern": pattern})) for pattern in ways)
    assert kept != removed
    assert small != "small"


def test_copies_are_equal(small):
    for other in (copy.copy(small), copy.deepcopy(small)):
        assert other == small
        assert other.encode("the<tool>") == small.encode("the<tool>")


@pytest.mark.parametrize(
    "pattern", ["qwen2", r"\p{L}+|\s", SplitPattern((r"\d", r"\s"), None, "NFC")]
)
def test_pickled_is_equal(pattern):
    tokenizer = BPETokenizer.train(ENGLISH[:1000], 300, pattern=pattern, special_tokens=["<s>"])
    tokenizer.encode("fill the tables")
    other = pickle.loads(pickle.dumps(tokenizer))
    assert other == tokenizer
    assert hash(other) == hash(tokenizer)
    assert other.encode(ENGLISH[:8000]) == tokenizer.encode(ENGLISH[:8000])


# Threads and processes


def test_encodes_from_many_threads(bpe_tokenizer):
    tokenizer = bpe_tokenizer(small_ranks(), pattern="gpt2")
    texts = [ENGLISH[i : i + 700] for i in range(0, 7000, 700)]
    expected = [tokenizer.encode(text) for text in texts]
    wrong = []

    def work():
        for text, ids in zip(texts, expected, strict=True):
            if tokenizer.encode(text) != ids or tokenizer.decode(ids) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_encodes_after_fork():
    """In a process of its own: forking one that has threads may hang, whatever forks."""
    code = (
        "import multiprocessing, fastllm\n"
        "tok = fastllm.BPETokenizer.train('low lower lowest ' * 99, 300)\n"
        "texts = ['lower and lowest'] * 4000\n"
        "before = tok.encode_batch(texts, threads=2)\n"
        "def work(_):\n"
        "    return tok.encode_batch(texts, threads=2) == before\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    assert all(pool.map(work, range(4)))\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_batches_count_and_fill_an_array_with_special_tokens_too(bpe_tokenizer):
    tok = bpe_tokenizer.train("abab", 258, special_tokens=["<s>"])
    texts = ["ab<s>a", "", "<s>"]
    room = np.zeros(9, np.uint32)
    ids, offsets = tok.encode_batch_to_numpy(texts, out=room, allowed_special="all")
    assert np.shares_memory(ids, room)
    expected = [tok.encode(text, allowed_special="all") for text in texts]
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == expected
    assert tok.count_batch(texts, allowed_special="all") == [3, 0, 1]
    assert tok.count_batch(["ab", ""]) == [1, 0]


def test_a_tokenizer_that_puts_a_blank_before_texts_learns_from_them_so(tmp_path):
    plain = BPETokenizer.train("low low", 257, special_tokens=["<s>"])
    prefixed = BPETokenizer(**plain._settings() | {"add_prefix_space": True})
    path = tmp_path / "text.txt"
    path.write_text("lower\nlower<s>lower", encoding="utf-8")
    for texts, with_blanks in (
        (["lower lower", " lower"], [" lower lower", " lower"]),
        ("lower<s>lower", " lower<s> lower"),
        ([path], " lower\nlower<s> lower"),
    ):
        expected = plain.extend(with_blanks, 262)
        assert prefixed.extend(texts, 262) == BPETokenizer(
            **expected._settings() | {"add_prefix_space": True}
        )
