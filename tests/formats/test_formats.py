"""Vocabulary files: tiktoken ranks, GPT-2's pair, minbpe models; what becomes of broken ones."""

import base64
import errno
import json
import random
from itertools import pairwise

import pytest
import tiktoken
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from tokenizers import Tokenizer, models, pre_tokenizers
from vocabularies import published_ranks

from fastllm import BPETokenizer, CharTokenizer, WordTokenizer
from fastllm.compat import minbpe as compat
from fastllm.formats import files
from fastllm.formats.tiktoken import read_tiktoken
from fastllm.patterns.named import SplitPattern

ENGLISH = english()[:3000]
TEXTS = [*TRAPS.values(), *mixed_texts(60, seed=5), ENGLISH[:1500]]
BYTES = {bytes([b]): b for b in range(256)}
LEARNED = {}
GPT4_OF_MINBPE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)


def learned(**options):
    """A tokenizer of 330 tokens, learned once: the reference takes its time."""
    known = repr(options)
    if known not in LEARNED:
        options = {"special_tokens": ["<|endoftext|>"]} | options
        LEARNED[known] = BPETokenizer.train(ENGLISH, 330, **options)
    return LEARNED[known]


def same_ids(one, other):
    for text in TEXTS:
        assert one.encode_ordinary(text) == other.encode_ordinary(text), text
    return True


# tiktoken ranks


def test_ranks_are_tiktokens_file(bpe_tokenizer, tmp_path, monkeypatch):
    tokenizer = learned(pattern="cl100k")
    path = tmp_path / "own.tiktoken"
    tokenizer.save(path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    from tiktoken.load import load_tiktoken_bpe

    ranks = load_tiktoken_bpe(str(path))
    assert ranks == tokenizer.mergeable_ranks
    rival = tiktoken.Encoding(
        "rival", pat_str=NAMED["cl100k"].steps[0], mergeable_ranks=ranks, special_tokens={}
    )
    loaded = bpe_tokenizer.from_file(
        path, pattern="cl100k", special_tokens=tokenizer.special_tokens
    )
    assert loaded == tokenizer
    for text in TEXTS:
        assert loaded.encode_ordinary(text) == rival.encode_ordinary(text)


def test_ranks_of_a_published_vocabulary_go_through_json_unchanged(tmp_path):
    # Not all: what merges make each of them of is looked for, for seconds.
    ranks = {t: n for t, n in published_ranks("cl100k_base").items() if not 30_000 < n < 95_000}
    one, two, three = (tmp_path / name for name in ("1.tiktoken", "2.json", "3.tiktoken"))
    BPETokenizer(ranks, pattern="cl100k").save(one)
    BPETokenizer.from_file(one, pattern="cl100k").save(two)
    BPETokenizer.from_file(two).save(three)
    assert one.read_bytes() == three.read_bytes()
    assert read_tiktoken(three.read_bytes()) == ranks


def test_ranks_need_a_pattern(tmp_path):
    learned().save(tmp_path / "own.tiktoken")
    with pytest.raises(ValueError, match=r"own\.tiktoken: .* give pattern="):
        BPETokenizer.from_file(tmp_path / "own.tiktoken")


def test_ranks_are_known_by_content_too(tmp_path):
    learned().save(tmp_path / "own.tiktoken")
    (tmp_path / "own.tiktoken").rename(tmp_path / "tokenizer.model")
    tokenizer = BPETokenizer.from_file(tmp_path / "tokenizer.model", pattern="gpt2")
    assert tokenizer.mergeable_ranks == learned().mergeable_ranks


def test_ranks_are_not_written_where_merges_do_not_follow(tmp_path):
    abc = BYTES | {b"ab": 258, b"bc": 257, b"abc": 256}
    cases = [
        ([(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")], True),  # not in the order of the ids
        ([(b"b", b"c"), (b"a", b"b")], True),  # a token that only ranks would make
        ([], False),  # tokens that no merge makes, and whole pieces are taken apart
    ]
    for merges, ignore_merges in cases:
        tokenizer = BPETokenizer(abc, pattern="gpt2", merges=merges, ignore_merges=ignore_merges)
        with pytest.raises(ValueError, match=r"do not follow .*\.json holds merges"):
            tokenizer.save(tmp_path / "own.tiktoken")
    merges = [(b"b", b"c"), (b"a", b"bc")]
    ranks = BYTES | {b"bc": 256, b"abc": 257}
    tokenizer = BPETokenizer(ranks, pattern="gpt2", merges=merges)
    tokenizer.save(tmp_path / "own.tiktoken")
    loaded = BPETokenizer.from_file(tmp_path / "own.tiktoken", pattern="gpt2")
    assert loaded == tokenizer
    assert same_ids(loaded, tokenizer)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"YQ== 0\nYg==\n", "line 2 is not a token in base64"),
        (b"YQ== 0\nYg== x\n", "line 2 is not a token"),
        (b"YQ== 0\nYg== -1\n", "line 2 is not a token"),
        (b"YQ== 0\nYg== +1\n", "line 2 is not a token"),
        (b"YQ== 0\n\nYg 1\n", "line 3 is not base64"),
        (b"YQ== 0\nY!== 1\n", "line 2 is not a token"),
        (b"YQ== 0\n== 1\n", "line 2 is not"),
        (b"YQ== 0\nYQ== 1\n", "line 2 has the token b'a' of line 1 again"),
        (b"YQ== 0\nYg== 0\n", "line 2 has the rank 0 of line 1 again"),
        (b"YQ== 0  1\n", "line 1 is not a token"),
        (b"YQ== 99999999999\n", "at most 2147483647"),
        (b"\xff\xfe", "line 1 is not a token"),
        (b"", "there is no token in the file"),
        (b"\r\n\n", "there is no token in the file"),
    ],
)
def test_ranks_that_are_wrong_say_where(tmp_path, data, message):
    (tmp_path / "own.tiktoken").write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        BPETokenizer.from_file(tmp_path / "own.tiktoken", pattern="gpt2")
    assert str(tmp_path / "own.tiktoken") in str(caught.value)


def test_ranks_may_have_blank_lines_and_carriage_returns(tmp_path):
    (tmp_path / "own.tiktoken").write_bytes(b"YQ== 0\r\n\r\nYg== 1")
    tokenizer = BPETokenizer.from_file(tmp_path / "own.tiktoken", pattern="gpt2")
    assert tokenizer.mergeable_ranks == {b"a": 0, b"b": 1}


# GPT-2's pair of files


@pytest.mark.parametrize("given", ["vocab.json", "merges.txt", ""])
def test_pair_goes_both_ways(bpe_tokenizer, tmp_path, given):
    tokenizer = learned()
    tokenizer.save(tmp_path / "vocab.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]
    loaded = bpe_tokenizer.from_file(tmp_path / given)
    assert loaded == tokenizer
    assert loaded.special_tokens == {"<|endoftext|>": 329}
    rival = Tokenizer(
        models.BPE.from_file(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    )
    rival.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for text in TEXTS:
        if not any(0xD800 <= ord(character) < 0xE000 for character in text):
            assert loaded.encode_ordinary(text) == rival.encode(text).ids


def test_pair_may_have_other_names(tmp_path):
    tokenizer = learned()
    tokenizer.save(tmp_path / "merges.txt")
    (tmp_path / "vocab.json").rename(tmp_path / "v.json")
    with pytest.raises(FileNotFoundError, match=r"vocab\.json"):
        BPETokenizer.from_file(tmp_path / "merges.txt")
    (tmp_path / "merges.txt").rename(tmp_path / "m")
    assert BPETokenizer.from_file(tmp_path / "v.json", merges=tmp_path / "m") == tokenizer
    with pytest.raises(ValueError, match=r"v\.json: .* merges="):
        BPETokenizer.from_file(tmp_path / "v.json")
    with pytest.raises(ValueError, match=r"m: these are merges: .* merges="):
        BPETokenizer.from_file(tmp_path / "m")
    (tmp_path / "v.json").rename(tmp_path / "encoder.json")
    (tmp_path / "m").rename(tmp_path / "vocab.bpe")
    assert BPETokenizer.from_file(tmp_path / "encoder.json") == tokenizer
    assert BPETokenizer.from_file(tmp_path / "vocab.bpe") == tokenizer
    assert BPETokenizer.from_file(tmp_path) == tokenizer


def test_pair_may_hold_any_word_as_a_token(tmp_path):
    vocab = {"model": 0, "format": 1, "kind": 2, "#": 3, "v": 4, "#v": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n# v\n")
    tokenizer = BPETokenizer.from_file(tmp_path)
    assert tokenizer.merges == [(b"#", b"v")]
    (tmp_path / "merges.txt").write_text("# v\n")
    assert BPETokenizer.from_file(tmp_path) == tokenizer


def test_pair_takes_end_of_text_for_special_only_where_no_merge_makes_it(tmp_path):
    tokenizer = learned(special_tokens=["<s>"])
    tokenizer.save(tmp_path / "vocab.json")
    loaded = BPETokenizer.from_file(tmp_path)
    assert loaded.special_tokens == {}
    assert BPETokenizer.from_file(tmp_path, special_tokens={"<s>": 329}) == tokenizer
    learned().save(tmp_path / "vocab.json")
    assert BPETokenizer.from_file(tmp_path, special_tokens={}).special_tokens == {}


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ("[]", "a b", "not an object"),
        ('{"a": 0', "a b", "not JSON"),
        ('{"a": 0, "b": 1, "ab": 2}', "a b\nab", r"line 2: 'ab' is not two tokens"),
        ('{"a": 0, "b": 1, "ab": 2}', "a b c", "is not two tokens"),
        ('{"a": 0, "b": 1, "ab": 2}', "a  b", "is not two tokens"),
        ('{"a": 0, "b": 1, "ab": 2}', "a ☃", "is not two tokens"),
        ('{"a": 0, "b": 1}', "a b", "needs b'ab', not a token"),
        ('{"a": 0, "b": "1", "ab": 2}', "a b", "must be an int"),
        ('{"a": 0, "b": 0}', "", "gives id 0 to both"),
        ('{"a": 0, "b c": 1}', "", "'b c', which is neither"),
        ("[" * 100_000, "", "nested too deeply|not JSON"),
    ],
)
def test_pair_that_is_wrong_says_how(tmp_path, vocab, merges, message):
    (tmp_path / "vocab.json").write_text(vocab)
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        BPETokenizer.from_file(tmp_path / "vocab.json")
    assert str(tmp_path) in str(caught.value)


def test_pair_is_not_written_where_it_would_lose_something(tmp_path):
    for options, message in [
        ({"pattern": "cl100k"}, "do not name the split pattern, which is gpt2's; this is cl100k"),
        ({"added_tokens": {"<t>": 300}}, "neither added tokens nor tokens that no merge makes"),
        ({}, "neither added tokens nor tokens that no merge makes"),
        ({"special_tokens": {"ab": 300}}, "writes special token 'ab' and an ordinary token alike"),
    ]:
        ranks = BYTES | ({b"abc": 256} if not options else {b"ab": 256})
        tokenizer = BPETokenizer(ranks, **({"pattern": "gpt2"} | options))
        with pytest.raises(ValueError, match=message):
            tokenizer.save(tmp_path / "vocab.json")
    assert list(tmp_path.iterdir()) == []


# minbpe models


class MinbpeModel:
    """minbpe's own reading of its files and its encoding of a piece, in few lines."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            assert file.readline().strip() == "minbpe v1"
            self.pattern = file.readline().strip()
            self.special_tokens = {}
            for _ in range(int(file.readline().strip())):
                token, number = file.readline().strip().split()
                self.special_tokens[token] = int(number)
            self.merges = {
                tuple(map(int, line.split())): number for number, line in enumerate(file, 256)
            }

    def encode_piece(self, piece):
        ids = list(piece.encode())
        while len(ids) >= 2:
            pair = min(pairwise(ids), key=lambda pair: self.merges.get(pair, 1 << 40))
            if pair not in self.merges:
                break
            i = 0
            while i < len(ids) - 1:
                if (ids[i], ids[i + 1]) == pair:
                    ids[i : i + 2] = [self.merges[pair]]
                i += 1
        return ids


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "llama3", "o200k", "nanochat", "(?s:.+)"])
def test_minbpe_model_goes_both_ways(bpe_tokenizer, tmp_path, pattern):
    path = tmp_path / "own.model"
    tokenizer = learned(pattern=pattern, special_tokens={"<|endoftext|>": 100_257, "é中": 9999})
    tokenizer.save(path)
    loaded = bpe_tokenizer.from_file(path)
    assert loaded == tokenizer
    assert loaded.pattern == pattern
    rival = MinbpeModel(path)
    assert rival.special_tokens == {"<|endoftext|>": 100_257, "é中": 9999}
    for text in TEXTS:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")[:200]
        pieces = split_by_regex_package(rival.pattern, text) if rival.pattern else [text]
        assert pieces == loaded.split(text) or not text
        expected = [number for piece in pieces for number in rival.encode_piece(piece)]
        assert loaded.encode_ordinary(text) == expected


def split_by_regex_package(pattern, text):
    """minbpe splits by `regex`, whose Unicode is newer: only text that both know alike is here."""
    import regex

    return regex.findall(pattern, text)


def test_minbpe_model_without_a_pattern_does_not_split(bpe_tokenizer, tmp_path):
    path = tmp_path / "basic.model"
    path.write_text("minbpe v1\n\n0\n97 97\n256 97\n257 98\n")
    tokenizer = bpe_tokenizer.from_file(path)
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    assert tokenizer.split("a b\n c") == ["a b\n c"]
    tokenizer.save(tmp_path / "again.model")
    assert (tmp_path / "again.model").read_text() == path.read_text()


def test_minbpe_model_with_blanks_in_a_special_token(bpe_tokenizer, tmp_path):
    path = tmp_path / "own.model"
    theirs = compat.RegexTokenizer(r"[a-z]+")
    theirs.train("abcab", 257)
    theirs.register_special_tokens({"<new user>": 300, "  x": 301})
    theirs.save(path.with_suffix(""))
    ours = bpe_tokenizer.from_file(path)
    assert ours.special_tokens == {"<new user>": 300, "  x": 301}
    text = "ab<new user>ab  x"
    assert ours.encode(text, allowed_special="all") == theirs.encode(text, "all")


def test_minbpe_model_of_its_gpt4_pattern(bpe_tokenizer, tmp_path):
    path = tmp_path / "regex.model"
    path.write_text(
        f"minbpe v1\n{GPT4_OF_MINBPE}\n1\n<|endoftext|> 100257\n97 98\n", encoding="utf-8"
    )
    tokenizer = bpe_tokenizer.from_file(path)
    assert tokenizer.special_tokens == {"<|endoftext|>": 100_257}
    assert tokenizer.encode("ab 1234 ab") == [256, 32, 49, 50, 51, 52, 32, 256]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minbpe v2\n\n0\n", "line 1 is not 'minbpe v1', it is 'minbpe v2'"),
        ("minbpe v1\n", "line 3 is not the number"),
        ("minbpe v1\n\nx\n", "line 3 is not the number"),
        ("minbpe v1\n\n-1\n", "line 3 is not the number"),
        ("minbpe v1\n\n2\n<s> 300\n", "announces 2 special tokens"),
        ("minbpe v1\n\n1\n<s>\n", "line 4: '<s>' is not a special token and its id"),
        ("minbpe v1\n\n1\n<s> x\n", "line 4"),
        ("minbpe v1\n\n2\n<s> 300\n<s> 301\n", "line 5 has the special token '<s>' again"),
        ("minbpe v1\n\n1\n<s> 97\n", "id 97 belongs to both"),
        ("minbpe v1\n\n0\n97\n", "line 4: '97' is not two ids"),
        ("minbpe v1\n\n0\n97 b\n", "line 4: '97 b' is not two ids"),
        ("minbpe v1\n\n0\n97 98\n97 -1\n", "line 5"),
        ("minbpe v1\n\n0\n97 256\n", "line 4 makes 256 from 256, not yet made"),
        ("minbpe v1\n\n0\n97 98\n97 98\n", "line 5 makes b'ab', which is token 256 already"),
        ("minbpe v1\n(\n0\n", "missing \\)"),
    ],
)
def test_minbpe_model_that_is_wrong_says_where(tmp_path, text, message):
    path = tmp_path / "own.model"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        BPETokenizer.from_file(path)
    assert str(path) in str(caught.value)


def test_minbpe_model_is_not_written_where_it_cannot_hold_all(tmp_path):
    ranks = BYTES | {b"ab": 256, b"abc": 257}
    steps = SplitPattern((r"\d", r"\s"))
    cases = [
        (learned(tie_break="huggingface"), "numbers bytes by their value"),
        (learned(pattern="qwen2"), "one regular expression"),
        (learned(pattern="deepseek-v3"), "one regular expression"),
        (BPETokenizer(ranks, pattern=steps), "one regular expression"),
        (BPETokenizer(ranks, pattern="gpt2", added_tokens={"<t>": 300}), "added tokens need"),
        (BPETokenizer(ranks, pattern=" |a"), "blanks at its ends"),
        (BPETokenizer(ranks, pattern="a\n|b"), "blanks at its ends"),
        (BPETokenizer(BYTES | {b"abc": 256}, pattern="gpt2"), "every token by one merge"),
        (BPETokenizer(BYTES | {b"ab": 257}, pattern="gpt2"), "every token by one merge"),
        (BPETokenizer({b"a": 97}, pattern="gpt2"), "numbers bytes by their value"),
        *(
            (BPETokenizer(ranks, pattern="gpt2", special_tokens={text: 300}), "it has white space")
            for text in ("a b", "a\nb", " a", "\u3000", "a\x1c")
        ),
    ]
    for tokenizer, message in cases:
        with pytest.raises(ValueError, match=message):
            tokenizer.save(tmp_path / "own.model")
    assert list(tmp_path.iterdir()) == []


# Which format


def test_save_goes_by_the_suffix_and_names_those_there_are(tmp_path):
    for name in ("tokenizer", "tokenizer.txt", "tokenizer.jsonl", "tokenizer.tiktoken.gz"):
        with pytest.raises(ValueError, match=r"\.json .* \.tiktoken .* \.model"):
            learned().save(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none/tokenizer\.json"):
        learned().save(tmp_path / "none" / "tokenizer.json")


def test_save_leaves_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    learned().save(path)
    before = path.read_bytes()

    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    for name in ("tokenizer.json", "own.tiktoken", "own.model", "vocab.json"):
        with pytest.raises(OSError, match="No space left"):
            learned(special_tokens=["<other>"]).save(tmp_path / name)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, before)]


def test_load_is_from_file(tmp_path):
    learned().save(tmp_path / "own.tiktoken")
    options = {"pattern": "gpt2", "special_tokens": {"<|endoftext|>": 329}}
    assert BPETokenizer.load(tmp_path / "own.tiktoken", **options) == learned()


def test_folder_with_tokenizer_json_and_the_pair_means_tokenizer_json(tmp_path):
    learned(special_tokens=[]).save(tmp_path / "vocab.json")
    learned(pattern="cl100k").save(tmp_path / "tokenizer.json")
    assert BPETokenizer.from_file(tmp_path).pattern == "cl100k"
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"no tokenizer\.json .* and no vocab\.json in this folder"
    ):
        BPETokenizer.from_file(tmp_path / "empty")


def test_file_of_another_kind_is_told_from_broken_ones(tmp_path):
    path = tmp_path / "file"
    for data in (b"", b"hello", b"\x00\x01\x02", b"GGUF\x03", b"\n\x0e\n\x05<unk>"):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match="file: the format is not known; it should be tokenizer"
        ):
            BPETokenizer.from_file(path)
    for tokenizer in (WordTokenizer.train("a"), CharTokenizer.train("a")):
        tokenizer.save(path)
        with pytest.raises(ValueError, match=r"WordTokenizer\.load or CharTokenizer\.load"):
            BPETokenizer.from_file(path)
    with pytest.raises(FileNotFoundError, match="none"):
        BPETokenizer.from_file(tmp_path / "none")


def test_messages_name_all_formats(tmp_path):
    (tmp_path / "file").write_bytes(b"hello")
    with pytest.raises(ValueError) as unknown:
        BPETokenizer.from_file(tmp_path / "file")
    assert str(unknown.value).endswith(
        "file: the format is not known; it should be tokenizer.json, vocab.json with merges.txt, "
        "tiktoken ranks or a minbpe model"
    )
    with pytest.raises(ValueError) as unknown:
        learned().save(tmp_path / "file.txt")
    assert str(unknown.value).endswith(
        "file.txt: a tokenizer is saved as .json (Hugging Face's tokenizer.json), .tiktoken "
        "(ranks), .model (minbpe), or as vocab.json with merges.txt"
    )
    assert files.any_of(files.SUFFIXES) == ".json, .tiktoken or .model"
    assert files.any_of(files.NAMES) == "tokenizer.json, .tiktoken, .model or vocab.json"


# Broken files of every kind


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    """One small file of each format."""
    folder = tmp_path_factory.mktemp("files")
    tokenizer = BPETokenizer.train("low lower lowest", 262, special_tokens=["<s>"])
    for name in ("tokenizer.json", "own.tiktoken", "own.model", "merges.txt"):
        tokenizer.save(folder / name)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "own.tiktoken", "own.model", "vocab.json", "merges.txt"]
)
def test_broken_file_is_a_value_error_that_names_it_or_still_a_tokenizer(
    tmp_path, whole_files, name
):
    for other, data in whole_files.items():
        (tmp_path / other).write_bytes(data)
    data = whole_files[name]
    random_ = random.Random(name)
    for _ in range(150):
        (tmp_path / name).write_bytes(broken(data, random_))
        tokenizer, message = read_or_complain(tmp_path / name)
        if tokenizer is None:
            assert message.startswith(str(tmp_path))
            assert "\n" not in message
        else:
            assert tokenizer.decode_bytes(tokenizer.mergeable_ranks.values())


def read_or_complain(path):
    """The tokenizer in a file, or what the ValueError says; any other error is a failure."""
    try:
        return BPETokenizer.from_file(path, pattern="gpt2"), ""
    except ValueError as error:
        return None, str(error)


def broken(data, random_):
    """The file cut short, or with a few bytes changed, taken out or doubled."""
    data = bytearray(data)
    if random_.random() < 0.3:
        return bytes(data[: random_.randrange(len(data))])
    for _ in range(random_.choice([1, 1, 3, 20])):
        place = random_.randrange(len(data))
        kind = random_.randrange(4)
        if kind == 0:
            data[place] = random_.choice(b'0123456789 \n"{}[],:=AZaz\xff\x00')
        elif kind == 1:
            del data[place : place + random_.randrange(1, 8)]
        elif kind == 2:
            data[place:place] = data[place : place + random_.randrange(1, 40)]
        else:
            data[place : place + 1] = base64.b64encode(random_.randbytes(3))
    return bytes(data)
