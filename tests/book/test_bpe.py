"""The byte-pair tokenizer of the book, against its rules in a few lines."""

import json
import random
from collections import Counter
from itertools import pairwise

import pytest
from texts import english
from vocabularies import gpt2_folder

from fastllm import BPETokenizer, book
from fastllm.book.bpe import _learn_plainly


def rule_of_training(words, count):
    sequences = [list(word) for word in words]
    merges = []
    while len(merges) < count:
        counts = Counter(pair for tokens in sequences for pair in pairwise(tokens))
        if not counts:
            break
        merges.append(max(counts, key=counts.get))
        sequences = [join(tokens, merges[-1]) for tokens in sequences]
    return merges


def join(tokens, pair):
    joined, place = [], 0
    while place < len(tokens):
        step = 2 if tuple(tokens[place : place + 2]) == pair else 1
        joined.append("".join(tokens[place : place + step]))
        place += step
    return joined


def rule_of_the_book(word, merges):
    """A word that is a token as a whole; else left to right, whatever was ever learned."""
    if word in {left + right for left, right in merges}:
        return [word]
    tokens, before = list(word), None
    while tokens != before:
        before, tokens, place = tokens, [], 0
        while place < len(before):
            step = 2 if tuple(before[place : place + 2]) in merges else 1
            tokens.append("".join(before[place : place + step]))
            place += step
    return tokens


def exact_rule(word, merges):
    tokens = list(word)
    for pair in merges:
        tokens = join(tokens, pair)
    return tokens


@pytest.fixture(params=["exact", "book"])
def mode(request):
    return request.param


@pytest.fixture
def simple(bpe_backend, mode):
    """`BPETokenizerSimple` in each mode on each backend."""
    kind = type("BPETokenizerSimple", (book.BPETokenizerSimple,), {"_bpe": bpe_backend})
    return kind(mode)


def letters(seed, alphabet="abcd", length=400):
    draw = random.Random(seed)
    return "".join(draw.choice(alphabet + " \n") for _ in range(length))


TEXTS = {
    **{f"letters {seed}": letters(seed) for seed in range(4)},
    "one letter": "aaa aaaa aaaaa",
    "English": english()[:3000],
    "accents": letters(9, "aàé"),
    "Chinese": "".join(chr(0x4E00 + ord(c)) for c in letters(5, "abcdefgh")) + "学习" * 5,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.filterwarnings("ignore:training ended")
def test_learns_and_merges_by_its_rules(name, simple, mode):
    text = TEXTS[name]
    words = simple.pretokenize_text(text)
    base = 258 + len({c for word in words for c in word} - {"Ġ"} - {chr(i) for i in range(256)})
    simple.train(text, base + 60)
    merges = rule_of_training(words, 60)
    learned = [(simple.vocab[a], simple.vocab[b]) for a, b in simple.bpe_merges]
    assert learned == merges
    assert list(simple.bpe_merges.values()) == list(range(base, base + len(merges)))
    rule = exact_rule if mode == "exact" else rule_of_the_book
    other = " ".join(words)[::-1].replace("Ġ", " ")
    for sample in (text, other):
        expected = [
            token for word in simple.pretokenize_text(sample) for token in rule(word, merges)
        ]
        assert [simple.vocab[number] for number in simple.encode(sample)] == expected
        assert simple.decode(simple.encode(sample)) == sample


def test_learns_from_many_characters_as_from_few(bpe_backend):
    words = book.BPETokenizerSimple.pretokenize_text(english()[:2000])
    kind = type("BPETokenizerSimple", (book.BPETokenizerSimple,), {"_bpe": bpe_backend})
    assert _learn_plainly(words, 100) == kind()._learn(words, 100)


def test_numbers_characters_then_specials_then_merges(simple):
    simple.train("日本 日本", 300 - 38, allowed_special={"<|b|>", "<|a|>"})
    assert [simple.vocab[number] for number in range(256, 262)] == [
        "Ġ", "日", "本", "<|a|>", "<|b|>", "日本",
    ]  # fmt: skip
    assert simple.vocab[233] == "é"
    assert simple.get_special_token_id("<|b|>") == 260
    assert simple.get_special_token_id("<|c|>") is None


def test_special_tokens(simple):
    simple.train("hello world", 258 + 2)
    with pytest.raises(ValueError, match=r"allowed_special=\{'<\|endoftext\|>'\}"):
        simple.encode("hello<|endoftext|>")
    ids = simple.encode("hello<|endoftext|> world", allowed_special={"<|endoftext|>"})
    assert ids.count(257) == 1
    assert simple.decode(ids) == "hello<|endoftext|> world"
    with pytest.raises(ValueError, match=r"'<\|x\|>' is not in the vocabulary"):
        simple.encode("<|x|>", allowed_special={"<|x|>"})


def test_errors(simple):
    with pytest.raises(ValueError, match="vocab_size must be at least 258, not 100"):
        simple.train("abc", 100)
    with pytest.warns(UserWarning, match="training ended after 2 of 42 merges"):
        simple.train("abc", 300)
    with pytest.raises(ValueError, match="'日'"):
        simple.encode("日")
    with pytest.raises(ValueError, match="id 999 is not in the vocabulary"):
        simple.decode([999])
    with pytest.raises(ValueError, match="mode must be one of exact, book, not 'fast'"):
        book.BPETokenizerSimple("fast")


def test_trained_anew_forgets_what_it_knew(simple):
    simple.train("abab", 259)
    simple.train("cdcd", 259)
    assert [simple.vocab[number] for number in simple.encode("abcd")] == ["a", "b", "cd"]


def test_saves_and_loads(simple, tmp_path):
    simple.train(english()[:2000], 320)
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    simple.save_vocab_and_merges(*paths)
    again = type(simple)(simple.mode)
    again.load_vocab_and_merges(*paths)
    assert (again.vocab, again.bpe_merges) == (simple.vocab, simple.bpe_merges)
    assert again.encode(english()[:2500]) == simple.encode(english()[:2500])


@pytest.mark.parametrize(
    ("vocab", "merges", "wrong"),
    [
        ("[]", "[]", "vocab.json: not an object from id to token"),
        ('{"x": "a"}', "[]", "vocab.json: 'x': 'a' is not an id with its token"),
        ("{", "[]", "vocab.json: not JSON"),
        ('{"0": "a"}', '[{"pair": [0, 1], "new_id": 2}]', "merges.txt: .* is not of the form"),
        ('{"0": "a"}', '[{"pair": [0]}]', "merges.txt: .* is not of the form"),
        ('{"0": "a"}', "{}", "merges.txt: .* is not of the form"),
    ],
)
def test_says_what_is_wrong_with_a_file(vocab, merges, wrong, tmp_path):
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    for path, content in zip(paths, (vocab, merges), strict=True):
        path.write_text(content)
    with pytest.raises(ValueError, match=wrong):
        book.BPETokenizerSimple().load_vocab_and_merges(*paths)


GPT2_IDS = {
    "Hello,": [15496, 11],
    "Implementations": [3546, 26908, 602],
    "asdf asdfasdf a!!, @aba 9asdf90asdfk": [
        292, 7568, 355, 7568, 292, 7568, 257, 3228, 11, 2488, 15498, 860, 292, 7568, 3829, 292,
        7568, 74,
    ],
    "Hello, world. Is this-- a test?": [15496, 11, 995, 13, 1148, 428, 438, 257, 1332, 30],
    "This is some text": [1212, 318, 617, 2420],
    "a\n b": [64, 198, 275],
}  # fmt: skip


@pytest.fixture(scope="module")
def gpt2():
    """GPT-2's files, in each mode."""
    made = {}
    for mode in ("exact", "book"):
        made[mode] = book.BPETokenizerSimple(mode)
        made[mode].load_vocab_and_merges_from_openai(
            gpt2_folder() / "encoder.json", gpt2_folder() / "vocab.bpe"
        )
    return made


@pytest.mark.parametrize("text", GPT2_IDS)
def test_with_the_files_of_gpt2(text, gpt2, mode):
    assert gpt2[mode].encode(text) == GPT2_IDS[text]
    assert gpt2[mode].decode(GPT2_IDS[text]) == text


def test_with_the_files_of_gpt2_is_gpt2_where_exact(gpt2):
    assert len(gpt2["exact"].vocab) == 50257
    assert len(gpt2["exact"].bpe_ranks) == 50000
    real = BPETokenizer.from_file(gpt2_folder())
    for text in ("I don't know", "é 日本\t\r\n\r\n  x  ", "naïve<|endoftext|>\n"):
        allowed = {"<|endoftext|>"}
        ids = real.encode(text, allowed_special=allowed)
        assert gpt2["exact"].encode(text, allowed_special=allowed) == ids
        assert gpt2["exact"].decode(ids) == text
    assert gpt2["book"].encode("é") != real.encode("é")
    with pytest.raises(ValueError, match="allowed_special"):
        gpt2["exact"].encode("<|endoftext|>")


def test_refuses_files_that_are_not_those_of_gpt2(tmp_path):
    vocab, merges = tmp_path / "encoder.json", tmp_path / "vocab.bpe"
    vocab.write_text(json.dumps([1]))
    merges.write_text("#version: 0.2\na b c\n")
    load = book.BPETokenizerSimple().load_vocab_and_merges_from_openai
    with pytest.raises(ValueError):
        load(vocab, merges)
    vocab.write_text(json.dumps({"a": 0, "b": 1}))
    with pytest.raises(ValueError, match=r"vocab\.bpe: merges, line 2"):
        load(vocab, merges)


def test_find_freq_pair_and_replace_pair():
    pairs = [[1, 2, 3, 1, 2], [3, 3]]
    assert book.BPETokenizerSimple.find_freq_pair(pairs) == (1, 2)
    assert book.BPETokenizerSimple.find_freq_pair(pairs, mode="least") == (2, 3)
    assert book.BPETokenizerSimple.find_freq_pair([[1]]) is None
    assert book.BPETokenizerSimple.replace_pair([[3, 3, 3]], (3, 3), 4) == [[4, 3]]
    with pytest.raises(ValueError, match="mode must be one of most, least"):
        book.BPETokenizerSimple.find_freq_pair(pairs, mode="some")
