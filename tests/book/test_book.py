"""`fastllm.book`: what is drawn, tokenized, loaded and attended to, and the errors on the way."""

import json
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from texts import english
from vocabularies import gpt2_folder

from fastllm import BPETokenizer, book
from fastllm.book.bpe import _learn_plainly
from fastllm.book.random_numbers import Generator, default_generator

INPUTS = np.array(
    [
        [0.43, 0.15, 0.89],
        [0.55, 0.87, 0.66],
        [0.57, 0.85, 0.64],
        [0.22, 0.58, 0.33],
        [0.77, 0.25, 0.10],
        [0.05, 0.80, 0.55],
    ]
)


# --- Random numbers: facts from PyTorch 2.13, which the tests against PyTorch draw themselves


def test_random_numbers_are_those_of_torch():
    book.manual_seed(123)
    assert book.randn(7).astype(float).round(7).tolist() == [
        -0.1114671, 0.1203629, -0.3696345, -0.240418, -1.1969243, 0.2092694, -0.972355,
    ]  # fmt: skip
    assert book.rand(3).astype(float).round(7).tolist() == [0.1185683, 0.8273954, 0.3820844]
    assert book.randperm(10).tolist() == [0, 8, 2, 3, 7, 9, 1, 4, 6, 5]


def test_seeds_count_modulo_two_to_the_32():
    draws = [Generator(seed).uniform((4,)).tolist() for seed in (-1, 2**32 - 1, 2**64 - 1)]
    assert draws[0] == draws[1] == draws[2]
    assert np.isclose(draws[0][:2], [0.9937994, 0.5713063]).all()


def test_manual_seed_forgets_the_normal_number_kept():
    book.manual_seed(1)
    first = book.randn(1).item()
    book.manual_seed(1)
    assert book.randn(1).item() == first


def test_manual_seed_gives_the_generator_that_everything_draws_from():
    generator = book.manual_seed(5)
    assert generator is default_generator()
    expected = Generator(5).uniform((2,))
    assert (generator.uniform((2,)) == expected).all()


def test_generators_without_a_seed_differ():
    assert Generator().integer() != Generator().integer()


@pytest.mark.parametrize(
    ("seed", "error"),
    [("1", TypeError), (1.0, TypeError), (2**64, ValueError), (-(2**65), ValueError)],
)
def test_manual_seed_refuses_what_is_no_seed(seed, error):
    with pytest.raises(error, match="seed must be"):
        book.manual_seed(seed)


def test_rand_takes_a_shape_as_numbers_or_as_a_tuple():
    book.manual_seed(1)
    numbers = book.rand(2, 3)
    book.manual_seed(1)
    assert (book.rand((2, 3)) == numbers).all()
    with pytest.raises(ValueError, match="size must be at least 0, not -1"):
        book.randn(2, -1)
    with pytest.raises(TypeError, match="n must be an int"):
        book.randperm(2.0)


# --- Word tokenizers


def test_simple_tokenizer_v1_decodes_spaces_away_before_some_punctuation():
    tokenizer = book.SimpleTokenizerV1({"a": 0, ",": 1, ":": 2, "'": 3})
    assert tokenizer.decode(tokenizer.encode("a, a: a'a")) == "a, a : a' a"
    assert book.SimpleTokenizerV2(tokenizer.str_to_int).decode([0, 2, 0]) == "a: a"


def test_simple_tokenizers_say_what_they_do_not_know():
    tokenizer = book.SimpleTokenizerV1({"a": 0, "<|unk|>": 1})
    with pytest.raises(KeyError, match="'b' is not in the vocabulary"):
        tokenizer.encode("a b")
    with pytest.raises(KeyError, match="7"):
        tokenizer.decode([0, 7])
    assert book.SimpleTokenizerV2(tokenizer.str_to_int).encode("a b") == [0, 1]
    with pytest.raises(KeyError, match="unk"):
        book.SimpleTokenizerV2({"a": 0}).encode("b")
    with pytest.raises(TypeError, match="vocab must be a mapping"):
        book.SimpleTokenizerV1(["a"])
    with pytest.raises(TypeError, match="text must be a str"):
        tokenizer.encode(b"a")


# --- The byte-pair tokenizer, against its rules in a few lines


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
def test_simple_bpe_learns_and_merges_by_its_rules(name, simple, mode):
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


def test_simple_bpe_learns_from_many_characters_as_from_few(bpe_backend):
    words = book.BPETokenizerSimple.pretokenize_text(english()[:2000])
    kind = type("BPETokenizerSimple", (book.BPETokenizerSimple,), {"_bpe": bpe_backend})
    assert _learn_plainly(words, 100) == kind()._learn(words, 100)


def test_simple_bpe_numbers_characters_then_specials_then_merges(simple):
    simple.train("日本 日本", 300 - 38, allowed_special={"<|b|>", "<|a|>"})
    assert [simple.vocab[number] for number in range(256, 262)] == [
        "Ġ", "日", "本", "<|a|>", "<|b|>", "日本",
    ]  # fmt: skip
    assert simple.vocab[233] == "é"
    assert simple.get_special_token_id("<|b|>") == 260
    assert simple.get_special_token_id("<|c|>") is None


def test_simple_bpe_special_tokens(simple):
    simple.train("hello world", 258 + 2)
    with pytest.raises(ValueError, match=r"allowed_special=\{'<\|endoftext\|>'\}"):
        simple.encode("hello<|endoftext|>")
    ids = simple.encode("hello<|endoftext|> world", allowed_special={"<|endoftext|>"})
    assert ids.count(257) == 1
    assert simple.decode(ids) == "hello<|endoftext|> world"
    with pytest.raises(ValueError, match=r"'<\|x\|>' is not in the vocabulary"):
        simple.encode("<|x|>", allowed_special={"<|x|>"})


def test_simple_bpe_errors(simple):
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


def test_simple_bpe_trained_anew_forgets_what_it_knew(simple):
    simple.train("abab", 259)
    simple.train("cdcd", 259)
    assert [simple.vocab[number] for number in simple.encode("abcd")] == ["a", "b", "cd"]


def test_simple_bpe_saves_and_loads(simple, tmp_path):
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
def test_simple_bpe_says_what_is_wrong_with_a_file(vocab, merges, wrong, tmp_path):
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
def test_simple_bpe_with_the_files_of_gpt2(text, gpt2, mode):
    assert gpt2[mode].encode(text) == GPT2_IDS[text]
    assert gpt2[mode].decode(GPT2_IDS[text]) == text


def test_simple_bpe_with_the_files_of_gpt2_is_gpt2_where_exact(gpt2):
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


def test_simple_bpe_refuses_files_that_are_not_those_of_gpt2(tmp_path):
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


# --- Windows


class Places:
    """A tokenizer whose ids are the places of the characters."""

    def encode(self, text, allowed_special):
        assert allowed_special == {"<|endoftext|>"}
        return list(range(len(text)))


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [5, 9, 10, 23])
def test_dataset_windows_are_those_of_the_loop_in_the_book(length, stride):
    dataset = book.GPTDatasetV1("x" * length, Places(), 4, stride)
    ids = list(range(length))
    starts = range(0, length - 4, stride)
    assert dataset.input_ids.tolist() == [ids[i : i + 4] for i in starts]
    assert dataset.target_ids.tolist() == [ids[i + 1 : i + 5] for i in starts]
    assert len(dataset) == len(starts) == len(list(dataset))
    assert dataset.input_ids.dtype == np.int64


def test_dataset_refuses_a_text_shorter_than_a_window():
    with pytest.raises(ValueError, match=r"txt has 4 tokens; .* max_length = 4 .* at least 5"):
        book.GPTDatasetV1("abcd", Places(), 4, 1)
    with pytest.raises(ValueError, match="stride must be at least 1, not 0"):
        book.GPTDatasetV1("abcde", Places(), 4, 0)


def test_dataset_takes_every_tokenizer_of_bytes():
    tokenizers = (
        BPETokenizer.train("", 257, special_tokens=["<|endoftext|>"]),
        book.BPETokenizerSimple(),
    )
    tokenizers[1].train("abc", 258)
    for tokenizer in tokenizers:
        dataset = book.GPTDatasetV1("ab<|endoftext|>c", tokenizer, 3, 1)
        assert dataset[0][0].tolist()[:2] == [97, 98]
        assert dataset[0][1].tolist()[2] == 99


@pytest.mark.parametrize("drop_last", [True, False])
def test_dataloader_gives_every_window_once(drop_last):
    dataset = book.GPTDatasetV1("x" * 30, Places(), 4, 3)  # nine windows
    loader = book.DataLoader(dataset, batch_size=4, shuffle=True, drop_last=drop_last)
    batches = list(loader)
    assert len(batches) == len(loader) == (2 if drop_last else 3)
    firsts = [inputs[0] for batch, _ in batches for inputs in batch]
    assert len(firsts) == len({*firsts}) == (8 if drop_last else 9)
    assert all((targets == inputs + 1).all() for inputs, targets in batches)
    inputs, _ = batches[0]
    inputs[:] = 0  # batches are copies: the dataset does not change
    assert dataset.input_ids[0].tolist() == [0, 1, 2, 3]


def test_dataloader_shuffles_alike_from_the_same_seed_only():
    dataset = book.GPTDatasetV1("x" * 200, Places(), 4, 1)
    loader = book.DataLoader(dataset, batch_size=200, shuffle=True)

    def order():
        return next(iter(loader))[0][:, 0].tolist()

    book.manual_seed(1)
    first, second = order(), order()
    assert first != second
    book.manual_seed(1)
    assert [order(), order()] == [first, second]


def test_create_dataloader_v1_windows_of_gpt2(monkeypatch):
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(gpt2_folder()))
    text = "I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough"
    loader = book.create_dataloader_v1(text, 2, max_length=4, stride=4, shuffle=False)
    inputs, targets = next(iter(loader))
    assert inputs.tolist() == [[40, 367, 2885, 1464], [1807, 3619, 402, 271]]
    assert targets.tolist() == [[367, 2885, 1464, 1807], [3619, 402, 271, 10899]]
    assert (loader.shuffle, loader.drop_last, len(loader)) == (False, True, 2)
    with pytest.raises(ValueError, match="num_workers must be at least 0"):
        book.create_dataloader_v1(text, num_workers=-1)


# --- Layers


def test_linear_keeps_float32_and_refuses_other_sizes():
    layer = book.Linear(3, 2)
    assert layer(INPUTS.astype(np.float32)).dtype == np.float32
    assert layer(np.zeros((5, 4, 3))).shape == (5, 4, 2)
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 3\), .* not \(2, 4\)"):
        layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="in_features must be at least 1, not 0"):
        book.Linear(0, 2)
    with pytest.raises(TypeError, match="out_features must be an int, not float"):
        book.Linear(1, 2.0)


def test_embedding_refuses_what_is_no_id():
    table = book.Embedding(4, 2)
    assert table(np.zeros((2, 3), np.uint8)).shape == (2, 3, 2)
    assert table([]).shape == (0, 2)
    for wrong in (4, -1):
        with pytest.raises(IndexError, match=f"x holds id {wrong}, but ids go from 0 to 3"):
            table([0, wrong])
    with pytest.raises(TypeError, match="integers, not float64"):
        table([0.0])


def test_dropout_scales_what_it_lets_through():
    book.manual_seed(0)
    dropped = book.Dropout(0.25)(np.ones(10_000, np.float32))
    assert set(dropped.tolist()) == {0.0, np.float32(4 / 3).item()}
    assert abs(dropped.mean() - 1) < 0.02
    assert book.Dropout(0.5)([1, 1]).dtype == np.float64
    with pytest.raises(ValueError, match=r"p must be a probability, from 0 to 1, not 1\.5"):
        book.Dropout(1.5)


# --- Attention


def on(module, attention):
    for part in (module, *module.children()):
        part._attention = attention
    return module


def modules():
    book.manual_seed(0)
    return [
        book.CausalAttention(3, 4, 6, 0.5, qkv_bias=True),
        book.MultiHeadAttentionWrapper(3, 4, 6, 0.5, num_heads=2, qkv_bias=True),
        book.MultiHeadAttention(3, 4, 6, 0.5, num_heads=2, qkv_bias=True),
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_attention_is_causal_and_the_same_for_each_of_a_batch(place, attention_backend):
    module = on(modules()[place], attention_backend).eval()
    batch = np.stack([INPUTS, INPUTS])
    result = module(batch)
    assert (result[0] == result[1]).all()
    batch[1, 4:] = 9.0  # the future changes
    assert np.allclose(module(batch)[1, :4], result[0, :4], atol=1e-15)
    assert np.allclose(module(batch[:, :4]), result[:, :4], atol=1e-15)
    assert module(batch.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("place", [0, 1, 2])
def test_attention_drops_weights_only_in_training(place):
    module = modules()[place]
    assert (module([INPUTS]) != module([INPUTS])).any()
    assert (module.eval()([INPUTS]) == module([INPUTS])).all()
    assert (module.train()([INPUTS]) != module([INPUTS])).any()


def test_attention_drops_the_same_weights_on_both_backends():
    from fastllm.fast import attention as fast
    from fastllm.reference import attention as reference

    results = []
    for attention in (reference, fast):
        module = on(modules()[2], attention)
        book.manual_seed(3)
        results.append(module([INPUTS, INPUTS]))
    assert np.allclose(*results, atol=1e-14)
    assert (results[0][0] != results[0][1]).any()


def test_multi_head_attention_is_its_heads_side_by_side():
    heads = book.MultiHeadAttentionWrapper(3, 2, 6, 0.0, num_heads=2)
    joined = book.MultiHeadAttention(3, 4, 6, 0.0, num_heads=2)
    for name in ("W_query", "W_key", "W_value"):
        matrices = [getattr(head, name).weight for head in heads.heads]
        getattr(joined, name).weight = np.concatenate(matrices)
    joined.out_proj.weight, joined.out_proj.bias = np.eye(4), np.zeros(4)
    assert np.allclose(joined([INPUTS]), heads([INPUTS]), atol=1e-15)


def test_attention_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="d_out must be divisible by num_heads, but 5 is not by 2"):
        book.MultiHeadAttention(3, 5, 6, 0.0, num_heads=2)
    with pytest.raises(ValueError, match=r"x must have shape \(num_tokens, 3\), not \(1, 6, 3\)"):
        book.SelfAttention_v2(3, 2)([INPUTS])
    with pytest.raises(
        ValueError, match=r"x must have shape \(batch, num_tokens, 3\), not \(6, 3\)"
    ):
        book.CausalAttention(3, 2, 6, 0.0)(INPUTS)
    with pytest.raises(ValueError, match="sequences of 6 tokens, but context_length is 5"):
        book.CausalAttention(3, 2, 5, 0.0)([INPUTS])
    with pytest.raises(ValueError, match="d_in must be at least 1, not 0"):
        book.SelfAttention_v1(0, 2)


def test_modules_are_called_by_forward():
    class Nothing(type(book.Linear(1, 1)).__base__):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no forward"):
        Nothing()([1.0])
