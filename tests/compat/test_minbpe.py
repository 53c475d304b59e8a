"""fastllm.compat.minbpe: minbpe's ids and files, its faults mended."""

import base64
import pickle
import random
from itertools import pairwise

import pytest
import regex
import tiktoken
from texts import TRAPS, english, mixed_texts
from vocabularies import published_ranks

from fastllm.compat import minbpe
from fastllm.compat.minbpe import (
    GPT2_SPLIT_PATTERN,
    GPT4_SPLIT_PATTERN,
    BasicTokenizer,
    GPT4Tokenizer,
    RegexTokenizer,
)
from fastllm.vocabularies import published

# minbpe splits by the regex package, whose Unicode is another: texts that both know alike.
TEXTS = [text for text in TRAPS.values() if text.isascii()] + [
    *(text for text in mixed_texts(150, seed=21) if text.isascii()),
    *("中文あいアイー", "한국어 text", "naïve café", "👩‍👩‍👧 hi", "it\u2019s “so”"),
]
SPECIAL = {"<|e|>": 900, "<|f|>": 901}


# minbpe's rules, each in a few lines


def join(ids, pair, new):
    joined = []
    for number in ids:
        if joined and joined[-1] == pair[0] and number == pair[1]:
            joined[-1] = new
        else:
            joined.append(number)
    return joined


def rule_of_training(chunks, count):
    """Count pairs over all chunks, take the first of the most frequent, merge it everywhere."""
    chunks = [list(chunk.encode()) for chunk in chunks]
    merges = {}
    for new in range(256, 256 + count):
        counts = {}
        for pair in (pair for chunk in chunks for pair in pairwise(chunk)):
            counts[pair] = counts.get(pair, 0) + 1
        merges[max(counts, key=counts.get)] = new
        chunks = [join(chunk, list(merges)[-1], new) for chunk in chunks]
    return merges


def rule_of_encoding(chunk, merges):
    ids = list(chunk.encode())
    while known := [pair for pair in pairwise(ids) if pair in merges]:
        pair = min(known, key=merges.get)
        ids = join(ids, pair, merges[pair])
    return ids


def chunks_of(tokenizer, text):
    return regex.findall(tokenizer.pattern, text) if tokenizer.pattern else [text]


KINDS = {
    "basic": BasicTokenizer,
    "gpt4": RegexTokenizer,
    "gpt2": lambda: RegexTokenizer(GPT2_SPLIT_PATTERN),
    "own": lambda: RegexTokenizer(r"\s+|\S+"),
}


@pytest.fixture(params=KINDS)
def trained(request):
    tokenizer = KINDS[request.param]()
    tokenizer.train(english()[5000:9000], 256 + 60)
    return tokenizer


def test_the_example_of_wikipedia():
    tokenizer = BasicTokenizer()
    tokenizer.train("aaabdaaabac", 256 + 3)
    assert tokenizer.encode("aaabdaaabac") == [258, 100, 258, 97, 99]
    assert tokenizer.decode(tokenizer.encode("aaabdaaabac")) == "aaabdaaabac"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_merges_are_minbpes(kind, seed):
    rng = random.Random(seed)
    text = "".join(rng.choices(["a", "b", "ab", " ", "c", "é", "\n"], k=500))
    if seed > 3:
        text = "".join(TEXTS) + english()[seed * 1000 : seed * 1000 + 1000]
    tokenizer = KINDS[kind]()
    tokenizer.train(text, 256 + 40)
    expected = rule_of_training(chunks_of(tokenizer, text), 40)
    assert list(tokenizer.merges.items()) == list(expected.items())


def test_ids_are_minbpes(trained):
    for text in TEXTS:
        chunks = chunks_of(trained, text)
        expected = [i for chunk in chunks for i in rule_of_encoding(chunk, trained.merges)]
        assert trained.encode(text) == expected, text
        assert trained.decode(expected) == text


def test_vocab_is_what_merges_make(trained):
    assert list(trained.vocab) == list(range(256 + 60))
    assert all(trained.vocab[byte] == bytes([byte]) for byte in range(256))
    for (left, right), number in trained.merges.items():
        assert trained.vocab[number] == trained.vocab[left] + trained.vocab[right]


def test_text_comes_back(trained):
    for text in (*TRAPS.values(), *mixed_texts(100, seed=4)):
        if not any(0xD800 <= ord(character) < 0xE000 for character in text):
            assert trained.decode(trained.encode(text)) == text


def test_what_is_not_utf8_is_decoded_with_replacement(trained):
    assert trained.decode([0x80, 97]) == "\ufffda"


def test_training_prints_merges_if_asked(capsys):
    tokenizer = BasicTokenizer()
    tokenizer.train("aaab", 257)
    assert capsys.readouterr().out == ""
    tokenizer.train("aaab", 257, verbose=True)
    assert capsys.readouterr().out == "merge 1/1: (97, 97) -> 256 (b'aa')\n"


@pytest.mark.parametrize("kind", KINDS)
def test_training_ends_with_a_warning_when_nothing_is_left_to_merge(kind):
    tokenizer = KINDS[kind]()
    with pytest.warns(UserWarning, match="training ended after 1 of 44 merges"):
        tokenizer.train("ab", 300)
    assert tokenizer.merges == {(97, 98): 256}
    assert tokenizer.encode("ab") == [256]


@pytest.mark.parametrize("text", ["", " ", "a"])
def test_training_on_next_to_nothing_is_no_crash(text):
    for kind in (BasicTokenizer, RegexTokenizer):
        tokenizer = kind()
        with pytest.warns(UserWarning, match="training ended after 0 of 4 merges"):
            tokenizer.train(text, 260)
        assert tokenizer.merges == {}
        assert tokenizer.encode("ab") == [97, 98]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("text", 255), ValueError, "vocab_size must be at least 256, not 255"),
        (("text", "300"), TypeError, "vocab_size must be an int, not str"),
        ((b"text", 300), TypeError, "text must be a str, not bytes"),
    ],
)
def test_wrong_arguments_of_training_are_told(arguments, error, message):
    for kind in (BasicTokenizer, RegexTokenizer):
        with pytest.raises(error, match=message):
            kind().train(*arguments)


# Special tokens


@pytest.fixture
def special():
    tokenizer = RegexTokenizer()
    tokenizer.train(english()[:3000], 300)
    tokenizer.register_special_tokens(dict(SPECIAL))
    return tokenizer


def test_allowed_special_tokens_become_their_ids(special):
    text = "the<|e|> end<|f|>"
    plain = special.encode_ordinary
    assert special.encode(text, allowed_special="none") == plain(text)
    both = [*plain("the"), 900, *plain(" end"), 901]
    assert special.encode(text, allowed_special="all") == both
    assert special.encode(text, "all") == both
    one = [*plain("the"), 900, *plain(" end<|f|>")]
    assert special.encode(text, allowed_special={"<|e|>"}) == one
    assert special.decode(both) == text
    assert special.encode("the") == plain("the")


def test_special_text_that_is_not_allowed_raises(special):
    with pytest.raises(ValueError, match="which is a special token and not allowed"):
        special.encode("the<|e|>")


@pytest.mark.parametrize("allowed", ["some", ["<|e|>"], None, 5])
def test_an_unknown_allowed_special_raises(allowed, special):
    with pytest.raises(ValueError, match="allowed_special must be"):
        special.encode("the", allowed_special=allowed)


def test_the_longest_special_token_is_taken(special):
    special.register_special_tokens({"<a>": 900, "<a>b": 901})
    assert special.encode("<a>b<a>", allowed_special="all") == [901, 900]


def test_special_tokens_have_an_inverse(special):
    assert special.special_tokens == SPECIAL
    assert special.inverse_special_tokens == {900: "<|e|>", 901: "<|f|>"}


def test_a_special_token_may_not_have_the_id_of_another(special):
    with pytest.raises(ValueError, match="id 97 belongs to both b'a' and b'<x>'"):
        special.register_special_tokens({"<x>": 97})
    with pytest.raises(TypeError, match="special_tokens must be"):
        special.register_special_tokens(5)
    assert special.encode("<|e|>", allowed_special="all") == [900]


def test_an_unknown_id_raises(special):
    with pytest.raises(ValueError, match="invalid token id: 12345"):
        special.decode([97, 12345])
    with pytest.raises(KeyError, match="12345"):
        BasicTokenizer().decode([12345])


def test_attributes_that_are_set_take_effect():
    tokenizer = RegexTokenizer()
    assert tokenizer.encode("ab") == [97, 98]
    tokenizer.merges = {(97, 98): 256}
    assert tokenizer.encode("ab") == [256]
    tokenizer.merges[256, 99] = 257
    assert tokenizer.encode("abc") == [257]
    tokenizer.special_tokens = {"<s>": 300}
    assert tokenizer.encode("<s>", allowed_special="all") == [300]


# Files


def model_file(tokenizer):
    special = "".join(f"{text} {number}\n" for text, number in tokenizer.special_tokens.items())
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    return f"minbpe v1\n{tokenizer.pattern}\n{len(tokenizer.special_tokens)}\n{special}{merges}"


def test_the_model_file_is_minbpes(trained, tmp_path):
    if isinstance(trained, RegexTokenizer):
        trained.register_special_tokens(dict(SPECIAL))
    trained.save(tmp_path / "toy")
    assert (tmp_path / "toy.model").read_bytes() == model_file(trained).encode()


def test_the_vocab_file_is_minbpes(tmp_path):
    tokenizer = BasicTokenizer()
    tokenizer.train("\n\n\n\n\xe9\xe9\xe9", 258)
    tokenizer.save(str(tmp_path / "toy"))
    lines = (tmp_path / "toy.vocab").read_bytes().decode().split("\n")
    assert lines[10] == "[\\u000a] 10"
    assert lines[97] == "[a] 97"
    assert lines[128] == "[\ufffd] 128"
    assert lines[256:] == [
        "[\\u000a][\\u000a] -> [\\u000a\\u000a] 256",
        "[\ufffd][\ufffd] -> [é] 257",
        "",
    ]


def test_a_saved_model_loads_equal(trained, tmp_path):
    if isinstance(trained, RegexTokenizer):
        trained.register_special_tokens(dict(SPECIAL))
    trained.save(tmp_path / "toy")
    loaded = type(trained)()
    loaded.load(tmp_path / "toy.model")
    assert loaded.pattern == trained.pattern
    assert loaded.merges == trained.merges
    assert loaded.special_tokens == trained.special_tokens
    assert loaded.vocab == trained.vocab | {
        number: text.encode() for text, number in trained.special_tokens.items()
    }
    for text in TEXTS:
        assert loaded.encode(text) == trained.encode(text)
    if isinstance(trained, RegexTokenizer):
        assert loaded.inverse_special_tokens == {900: "<|e|>", 901: "<|f|>"}
        assert loaded.encode("a<|e|>", allowed_special="all") == [97, 900]
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again.model").read_bytes() == (tmp_path / "toy.model").read_bytes()


def test_a_loaded_pattern_is_the_one_that_splits(tmp_path):
    tokenizer = RegexTokenizer(r" ?\S+")
    tokenizer.train("ab ab ab1 ab1", 259)
    tokenizer.save(tmp_path / "toy")
    loaded = RegexTokenizer()
    loaded.load(tmp_path / "toy.model")
    assert loaded.pattern == r" ?\S+"
    assert loaded.encode("ab1 ab") == tokenizer.encode("ab1 ab")


def test_a_model_without_a_pattern_does_not_split(tmp_path):
    basic = BasicTokenizer()
    basic.train("a b a b a b", 259)
    basic.save(tmp_path / "toy")
    loaded = RegexTokenizer()
    loaded.load(tmp_path / "toy.model")
    assert loaded.pattern == ""
    assert loaded.encode("a b a b") == basic.encode("a b a b")


def test_basic_tokenizer_refuses_a_model_that_splits(tmp_path):
    tokenizer = RegexTokenizer()
    tokenizer.save(tmp_path / "toy")
    basic = BasicTokenizer()
    with pytest.raises(ValueError, match="RegexTokenizer reads it"):
        basic.load(tmp_path / "toy.model")
    assert basic.pattern == ""


def test_blanks_in_patterns_and_special_tokens_are_kept(tmp_path):
    tokenizer = RegexTokenizer(r" ?\w+|\s ")
    tokenizer.register_special_tokens({"<end of text>": 300})
    tokenizer.save(tmp_path / "toy")
    loaded = RegexTokenizer()
    loaded.load(tmp_path / "toy.model")
    assert loaded.pattern == r" ?\w+|\s "
    assert loaded.encode("a<end of text>", allowed_special="all") == [97, 300]


def test_what_a_file_cannot_hold_is_refused_and_nothing_is_written(tmp_path):
    tokenizer = RegexTokenizer()
    tokenizer.register_special_tokens({"<\n>": 300})
    with pytest.raises(ValueError, match="it has a line end"):
        tokenizer.save(tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_line_ends_of_windows_is_read(tmp_path):
    (tmp_path / "toy.model").write_bytes(b"minbpe v1\r\n\r\n0\r\n97 98\r\n")
    tokenizer = BasicTokenizer()
    tokenizer.load(tmp_path / "toy.model")
    assert tokenizer.encode("ab") == [256]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 is not 'minbpe v1'"),
        (b"minbpe v2\n\n0\n", "line 1 is not 'minbpe v1'"),
        (b"minbpe v1\n", "line 3 is not the number of special tokens"),
        (b"minbpe v1\n\nmany\n", "line 3 is not the number of special tokens"),
        (b"minbpe v1\n\n2\n<s> 300\n", "line 3 announces 2 special tokens, but the file ends"),
        (b"minbpe v1\n\n1\n<s>\n", "line 4: '<s>' is not a special token and its id"),
        (b"minbpe v1\n\n0\n97\n", "line 4: '97' is not two ids"),
        (b"minbpe v1\n\n0\n97 98\n97 257\n", "line 5 makes 257 from 257, not yet made"),
        (b"minbpe v1\n\n0\n97 98\n97 98\n", "line 5 merges 97 and 98 again"),
        (b"minbpe v1\n(\n0\n", r"pattern '\(' is not a regular expression"),
        (b"minbpe v1\n\xff\n0\n", "byte 10 is not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_and_changes_nothing(content, message, tmp_path):
    path = tmp_path / "toy.model"
    path.write_bytes(content)
    tokenizer = RegexTokenizer()
    with pytest.raises(ValueError, match=message) as caught:
        tokenizer.load(path)
    assert str(path) in str(caught.value)
    assert tokenizer.pattern == GPT4_SPLIT_PATTERN


def test_a_file_of_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model_file must end in \.model"):
        BasicTokenizer().load(tmp_path / "toy.vocab")
    with pytest.raises(FileNotFoundError):
        BasicTokenizer().load(tmp_path / "toy.model")


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"pattern '\(' is not a regular expression"):
        RegexTokenizer("(")
    with pytest.raises(TypeError, match="pattern must be a str, not int"):
        RegexTokenizer(5)


def test_text_between_matches_and_groups_is_not_lost():
    for pattern in (r"\w+", r"(\w)\w*", r"(?:a|b)+"):
        tokenizer = RegexTokenizer(pattern)
        assert tokenizer.decode(tokenizer.encode("ab, cd!")) == "ab, cd!"


def test_tokenizers_pickle(trained):
    again = pickle.loads(pickle.dumps(trained))
    assert again.merges == trained.merges
    assert again.encode("the end") == trained.encode("the end")


def test_names_are_minbpes():
    assert set(minbpe.__all__) == {
        *("Tokenizer", "BasicTokenizer", "RegexTokenizer", "GPT4Tokenizer"),
    }
    assert issubclass(GPT4Tokenizer, RegexTokenizer)


# GPT-4


@pytest.fixture(scope="module")
def gpt4(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    ranks = published_ranks("cl100k_base").items()
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks]
    (folder / "cl100k_base.tiktoken").write_bytes(b"".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTLLM_VOCAB_DIR", str(folder))
        published._cached.cache_clear()
        yield GPT4Tokenizer()
        published._cached.cache_clear()


def test_gpt4_encodes_as_gpt4_does(gpt4):
    theirs = tiktoken.Encoding(
        "cl100k_base",
        pat_str=GPT4_SPLIT_PATTERN,
        mergeable_ranks=published_ranks("cl100k_base"),
        special_tokens=gpt4.special_tokens,
    )
    for text in (*TRAPS.values(), *mixed_texts(200, seed=6)):
        assert gpt4.encode(text, allowed_special="all") == (
            theirs.encode(text, allowed_special="all")
        )
        assert gpt4.encode_ordinary(text) == theirs.encode_ordinary(text)
    text = "<|endoftext|>hello world"
    assert gpt4.encode(text, allowed_special="all") == [100257, 15339, 1917]
    assert gpt4.decode([100257, 15339, 1917]) == text


def test_gpt4_merges_make_its_vocab(gpt4):
    assert len(gpt4.merges) == 100_000
    for (left, right), number in gpt4.merges.items():
        assert gpt4.vocab[number] == gpt4.vocab[left] + gpt4.vocab[right]
    assert gpt4.vocab[15339] == b"hello"
    assert {gpt4.byte_shuffle[byte]: byte for byte in range(256)} == gpt4.inverse_byte_shuffle
    assert all(gpt4.vocab[gpt4.byte_shuffle[byte]] == bytes([byte]) for byte in range(256))


def test_gpt4_takes_other_special_tokens(gpt4):
    before = dict(gpt4.special_tokens)
    gpt4.register_special_tokens({"<|mine|>": 100300})
    try:
        assert gpt4.encode("<|mine|>", allowed_special="all") == [100300]
        assert 100257 not in gpt4.encode("<|endoftext|>")
    finally:
        gpt4.register_special_tokens(before)


def test_gpt4_is_neither_trained_nor_saved_nor_loaded(gpt4):
    for call in (lambda: gpt4.train("", 300), lambda: gpt4.save("x"), lambda: gpt4.load("x")):
        with pytest.raises(NotImplementedError, match="GPT4Tokenizer"):
            call()


def test_gpt4_writes_what_its_tokens_are_made_of(gpt4, tmp_path):
    gpt4.save_vocab(tmp_path / "gpt4.vocab")
    lines = (tmp_path / "gpt4.vocab").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "[!] 0"
    assert lines[256] == "[ ][ ] -> [  ] 256"
    assert lines[15339] == "[h][ello] -> [hello] 15339"
    assert len(lines) == 100_257
