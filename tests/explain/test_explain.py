"""Traces: what they hold is what the backends compute, and their arithmetic is right."""

import importlib
import json
import math
import pkgutil
import random
import re
from importlib import resources

import numpy as np
import pytest
from hostile import HOSTILE
from merge_rules import WHOLE
from texts import TRAPS
from vocabularies import gpt2_folder

import fastllm
from fastllm import BPETokenizer, CharTokenizer, WordTokenizer, explain, fast
from fastllm.explain import comparison, demo, novel, worked_example
from fastllm.explain.formatting import decimal, visible
from fastllm.explain.graphemes import grapheme_ends, groups
from fastllm.explain.worked_example import KNOWN_CONTEXT, KNOWN_SCORES, KNOWN_WEIGHTS, WORDS
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe

FACTS = json.loads(resources.files("fastllm.book").joinpath("facts.json").read_text())
INPUTS = np.array(worked_example.INPUTS)
TEXT = "the cat sat on the mat, the cat sat on the hat. naïve Straße 猫が好き 😀 " * 3


@pytest.fixture(scope="module")
def gpt2():
    return BPETokenizer.from_file(gpt2_folder() / "vocab.bpe")


@pytest.fixture(scope="module")
def trained():
    return BPETokenizer.train(TEXT, 296)


def tokenizers(trained, gpt2):
    """Vocabularies of every kind."""
    ranks = trained.mergeable_ranks
    few = {token: i for token, i in ranks.items() if token not in (b"z", b"q")}
    return {
        "ranks": trained,
        "merges": gpt2,
        "whole pieces": BPETokenizer(
            ranks, pattern="gpt2", merges=trained.merges[:20], ignore_merges=True
        ),
        "a rank that no merge makes": BPETokenizer(ranks | {b"xyzzy": 999}, pattern="gpt2"),
        "missing bytes": BPETokenizer(few, pattern="gpt2", missing_bytes="drop"),
        "added tokens": BPETokenizer(ranks, pattern="gpt2", added_tokens={"cat": 1000, "😀": 1001}),
        "normalization": BPETokenizer(ranks, pattern="qwen2"),
        "no split": BPETokenizer(ranks, pattern=WHOLE),
    }


# --- Tokens


def test_tokenization_holds_what_the_tokenizers_give(trained):
    for text in TRAPS.values():
        trace = explain.tokenization(text, {"own": trained})
        (strategy,) = trace.strategies
        assert strategy.ids == trained.encode(text)
        assert b"".join(token.data for token in strategy.tokens).decode() == trace.text
        assert strategy.lost == "nothing"
        assert strategy.decoded == trace.text


def test_tokenization_says_what_words_and_characters_lose():
    words, characters, pairs = explain.tokenization("Your  odyssey\nstarts").strategies
    assert words.unknown == 1
    assert words.lost == "1 unknown word and 1 blank"
    assert [token.unknown for token in words.tokens] == [False, True, False]
    assert words.decoded == "Your <|unk|> starts"
    assert "".join(before for before, _ in words.changes) == "Your  odyssey\nstarts"
    assert "".join(after for _, after in words.changes) == words.decoded
    assert characters.lost == pairs.lost == "nothing"
    characters = explain.tokenization("ñué").strategies[1]
    assert characters.lost == "2 unknown characters"
    assert characters.changes == (("ñ", "<|unk|>"), ("u", "u"), ("é", "<|unk|>"))


def test_tokenization_numbers_tokenizers_of_one_kind():
    chars = CharTokenizer.train("ab")
    names = [s.name for s in explain.tokenization("ab", [chars, chars]).strategies]
    assert names == ["characters", "characters #2"]


def test_tokenization_refuses_what_is_no_tokenizer():
    with pytest.raises(TypeError, match="not int"):
        explain.tokenization("a", [3])
    with pytest.raises(TypeError, match="mapping from name to tokenizer or a sequence"):
        explain.tokenization("a", WordTokenizer.train("a"))
    with pytest.raises(TypeError, match="text must be a str, not bytes"):
        explain.tokenization(b"a")
    with pytest.raises(KeyError, match="which has no"):
        explain.tokenization("b", [CharTokenizer.train("a")])


@pytest.mark.parametrize(
    ("text", "clusters"),
    [
        ("", []),
        ("abc", ["a", "b", "c"]),
        ("e\u0301a\u0308\u0301", ["e\u0301", "a\u0308\u0301"]),
        ("a\r\nb\n\u0301", ["a", "\r\n", "b", "\n", "\u0301"]),
        ("👩‍👩‍👧‍👦👍🏽❤️", ["👩‍👩‍👧‍👦", "👍🏽", "❤️"]),
        ("🇩🇪🇫🇷🇮", ["🇩🇪", "🇫🇷", "🇮"]),
        ("\u1112\u1161\u11ab가\u11a8한\u11a8", ["\u1112\u1161\u11ab", "가\u11a8", "한\u11a8"]),
        ("นี้", ["นี้"]),
        ("🏴\U000e0067\U000e007f", ["🏴\U000e0067\U000e007f"]),
    ],
)
def test_graphemes_are_what_a_reader_sees_as_one(text, clusters):
    ends = grapheme_ends(text)
    assert [text[a:b] for a, b in zip([0, *ends], ends, strict=False)] == clusters


def test_tokens_that_share_a_character_are_one_group(gpt2):
    data = gpt2.decode_tokens_bytes(gpt2.encode("a猫b👩‍👧"))
    numbers = groups(data)
    for number in set(numbers):
        joined = b"".join(d for d, n in zip(data, numbers, strict=True) if n == number)
        joined.decode()  # whole characters
    assert len(set(numbers)) < len(data)


# --- Merges


@pytest.mark.parametrize("kind", list(tokenizers(BPETokenizer.train("", 256), None)))
def test_merging_ends_with_the_ids_of_the_tokenizer(kind, trained, gpt2):
    tokenizer = tokenizers(trained, gpt2)[kind]
    source = random.Random(5)
    words = TEXT.split()
    random_texts = [" ".join(source.choices(words, k=4)) for _ in range(30)]
    texts = [*TRAPS.values(), *random_texts, "xyzzy quiz cats 😀x"]
    for text in ["".join(texts)] if kind == "merges" else texts:  # a large one is slow to check
        trace = explain.bpe(tokenizer, text)
        assert trace.ids == tokenizer.encode_ordinary(text), text
        for piece in trace.distinct():
            check_piece(piece)


def check_piece(piece):
    """Every merge is of the lowest rank there is, and the trees hold the bytes of the piece."""
    states = list(piece.states())
    if not piece.whole:
        assert states[-1] == [node.data for node in piece.tokens]
        assert len(piece.tokens) == len(piece.parts) - len(piece.merges)
    for merge, state in zip(piece.merges, states, strict=False):
        made = merge.made
        assert state[made.place : made.place + 2] == [made.left, made.right]
        assert [(c.rank, c.place) for c in merge.candidates] == sorted(
            (c.rank, c.place) for c in merge.candidates
        )
        assert made == merge.candidates[0]
        assert merge.choices >= len(merge.candidates)
    for node in piece.tokens:
        check_node(node)


def check_node(node):
    if node.children:
        assert b"".join(child.data for child in node.children) == node.data
        for child in node.children:
            check_node(child)


def test_merging_of_a_token_by_its_ranks_is_the_tree_of_the_vocabulary(trained):
    token = max(trained.mergeable_ranks, key=len)
    (node,) = explain.bpe(trained, token.decode()).pieces[0].tokens
    assert tuple(child.data for child in node.children) == trained._vocabulary._last_merge(
        trained._encoder, token
    )


def test_merging_takes_a_piece_that_is_a_token_whole():
    tokenizer = BPETokenizer({b"a": 0, b"b": 1, b"abab": 2}, pattern="gpt2")
    (piece,) = explain.bpe(tokenizer, "abab").pieces
    assert piece.whole
    assert piece.ids == [2]
    assert "a token, taken whole" in str(explain.bpe(tokenizer, "abab"))


def test_merging_of_the_classic_example():
    tokenizer = BPETokenizer.train("aaabdaaabac", 259, tie_break="first-seen")
    trace = explain.bpe(tokenizer, "aaabdaaabac")
    assert trace.ids == [258, 100, 258, 97, 99]
    merges = [(merge.made.left, merge.made.right) for merge in trace.pieces[0].merges]
    assert merges == [(b"a", b"a")] * 2 + [(b"aa", b"a")] * 2 + [(b"aaa", b"b")] * 2


def test_merging_refuses_what_is_no_byte_pair_tokenizer():
    with pytest.raises(TypeError, match="tokenizer must be a BPETokenizer, not CharTokenizer"):
        explain.bpe(CharTokenizer.train("a"), "a")
    with pytest.raises(TypeError, match="word must be a str"):
        explain.bpe(BPETokenizer.train("", 256), 3)
    with pytest.raises(ValueError, match="no token for byte 0x62"):
        explain.bpe(BPETokenizer({b"a": 0}, pattern="gpt2"), "ab")


def test_merging_of_a_word_whose_tree_is_deep_is_shown_as_far_as_one_can_read():
    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {b"a" + b"b" * n: 255 + n for n in range(1, 1500)}
    trace = explain.bpe(BPETokenizer(ranks, pattern="gpt2"), "a" + "b" * 1400)
    assert trace.ids == [255 + 1400]
    text, html = str(trace), trace._repr_html_()
    assert "  … and 1,200 more merges\n" in text
    assert "… and 1,200 more merges" in html
    assert text.count("└─ b (98)") == 20
    assert html.count("<small>98</small>") == 20
    assert len(repr(trace.pieces[0].tokens[0])) < 2000
    [piece] = trace.sections()[0].data["pieces"]
    assert (len(piece["merges"]), piece["more"]) == (200, 1200)


def test_merging_of_a_long_piece_is_right_and_its_text_is_short(trained):
    text = "the" * 1000
    trace = explain.bpe(trained, text)
    assert trace.ids == trained.encode(text)
    assert "… and 2,936 more" in str(trace)
    assert len(str(trace)) < 2_000_000


# --- Training


@pytest.mark.parametrize("tie_break", ["lowest-ids", "huggingface", "first-seen"])
@pytest.mark.parametrize("text", [explain.story.STORY, TEXT, "aaabdaaabac", "aaaa aaa aa"])
def test_training_learns_what_the_reference_learns(text, tie_break):
    wanted = 20 if len(text) > 20 else 2
    trace = explain.training(text, 256 + wanted, tie_break=tie_break)
    assert trace.merges == reference_bpe.train(text, 256 + wanted, tie_break=tie_break)
    tokenizer = trace.tokenizer()
    assert trace.rounds[-1].tokens == len(tokenizer.encode(text))
    assert trace.start_tokens == len(text.encode())
    assert [found.id for found in trace.rounds] == list(range(256, 256 + wanted))
    for found in trace.rounds:
        counts = [pair.count for pair in found.leading]
        assert counts == sorted(counts, reverse=True)
        assert found.tied >= counts.count(counts[0])


def test_training_says_why_it_ended_early():
    trace = explain.training("ab ab", 300, min_frequency=2)
    assert len(trace.rounds) == 1
    assert trace.early_end == "ended after 1 of 44 rounds: no pair stands 2 times any more"
    assert trace.early_end in str(trace)
    assert explain.training("", 300).early_end.startswith("ended after 0 of 44 rounds")


def test_training_of_several_texts_crosses_none():
    trace = explain.training(["ab", "ba"], 257)
    assert {(p.left, p.right) for p in trace.rounds[0].leading} == {(b"a", b"b"), (b"b", b"a")}


def test_training_refuses_wrong_arguments():
    with pytest.raises(ValueError, match="vocab_size must be from 256"):
        explain.training("a", 100)
    with pytest.raises(ValueError, match="tie_break must be one of"):
        explain.training("a", 300, tie_break="toss")


def test_the_story_is_learned_alike_by_both_backends():
    trained = BPETokenizer.train(explain.story.STORY, explain.story.VOCAB_SIZE)
    assert explain.story.story_bpe() == trained


def test_the_story_makes_a_token_of_each_word_of_the_sentence():
    tokens = explain.story.story_bpe().decode_tokens_bytes(
        explain.story.story_bpe().encode(explain.story.SENTENCE)
    )
    assert [token.strip().decode() for token in tokens] == list(WORDS)


def test_the_kept_vocabulary_is_what_training_on_the_novel_gives():
    tokenizer = novel.novel_bpe()
    merges = fast.train(novel.training_texts(), novel.VOCAB_SIZE)
    learned = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    assert tokenizer.mergeable_ranks == {token: i for i, token in enumerate(learned)}
    assert tokenizer.split_pattern.name == "gpt2"


def test_the_novel_makes_a_token_of_each_word_of_the_sentence():
    tokenizer = novel.novel_bpe()
    tokens = tokenizer.decode_tokens_bytes(tokenizer.encode(explain.story.SENTENCE))
    assert [token.strip().decode() for token in tokens] == list(worked_example.WORDS)


def test_common_english_has_few_tokens():
    text = "She had been forced into prudence in her youth, she learned romance as she grew older."
    (*_, pairs) = explain.tokenization(text).strategies
    assert len(pairs.tokens) < 25
    assert pairs.bytes_per_token > 3.5


# --- Names


def test_no_module_hides_a_function_of_its_name():
    modules = {module.name for module in pkgutil.iter_modules(explain.__path__)}
    for name in modules:
        importlib.import_module(f"fastllm.explain.{name}")
    assert not modules & set(explain.__all__)
    assert callable(explain.training)
    assert callable(explain.attention)


# --- Attention


def evaluated(arithmetic):
    """Both sides of a line of arithmetic, as numbers."""
    left, right = re.split(" [=≈] ", arithmetic)
    return eval(left, {"exp": math.exp}), float(right)


def check_arithmetic(trace):
    """Every cell's arithmetic comes out, up to the rounding of what is shown."""
    for head in range(trace.heads):
        for i in range(len(trace.tokens)):
            for j in range(len(trace.key_tokens)):
                if trace.masked(i, j):
                    assert trace.score_arithmetic(i, j, head).endswith("puts -inf in its place")
                    assert trace.weights[head, i, j] == 0
                    continue
                left, right = evaluated(trace.score_arithmetic(i, j, head))
                assert left == pytest.approx(right, abs=6e-4 if trace.equals == "≈" else 6e-5)
                shift, exponential, total, weight = map(
                    evaluated, trace.weight_arithmetic(i, j, head).splitlines()
                )
                assert shift[0] == pytest.approx(shift[1], abs=1.6e-4)
                assert exponential[0] == pytest.approx(exponential[1], abs=1.1e-4)
                assert total[0] == pytest.approx(total[1], abs=5.1e-5 * (len(trace.key_tokens) + 1))
                assert weight[0] == pytest.approx(weight[1], abs=2e-4)
                assert weight[1] == pytest.approx(trace.weights[head, i, j], abs=5.1e-5)
            for d in range(trace.v.shape[2]):
                left, right = evaluated(trace.context_arithmetic(i, d, head))
                assert left == pytest.approx(right, abs=1e-3)


def test_attention_has_the_known_numbers_of_the_worked_example():
    trace = explain.attention(INPUTS, tokens=WORDS)
    assert trace.scores[0, 1].round(4).tolist() == list(KNOWN_SCORES)
    assert trace.weights[0, 1].round(4).tolist() == list(KNOWN_WEIGHTS)
    np.testing.assert_allclose(trace.context[0], KNOWN_CONTEXT, atol=5.1e-5)
    np.testing.assert_allclose(trace.weights[0], FACTS["3.3.2"]["all weights"], rtol=1e-12)
    assert trace.score_arithmetic(1, 2) == "0.55*0.57 + 0.87*0.85 + 0.66*0.64 = 1.4754"
    assert trace.weight_arithmetic(1, 1).endswith("1.0000 / 4.2036 = 0.2379")
    check_arithmetic(trace)


def test_attention_has_the_known_numbers_with_trained_weights():
    facts = FACTS["3.4.1"]
    q, k, v = (INPUTS @ np.array(facts[n]) for n in ("W_query, seed 123", "W_key", "W_value"))
    trace = explain.attention(q, k, v, tokens=WORDS)
    known = FACTS["3.4.2"]["SelfAttention_v1, seed 123"]
    np.testing.assert_allclose(trace.context[0], known, rtol=1e-6)
    np.testing.assert_allclose(trace.weights[0, 1], facts['weights of "journey"'], rtol=1e-6)
    facts = FACTS["3.4.2"]
    q, k, v = (INPUTS @ np.array(facts[n]).T for n in ("W_query, seed 789", "W_key", "W_value"))
    trace = explain.attention(q, k, v, causal=True)
    np.testing.assert_allclose(trace.weights[0], FACTS["3.5.1"]["causal weights"], rtol=1e-6)
    full = trace.switched()
    np.testing.assert_allclose(full.weights[0], FACTS["3.5.1"]["all weights"], rtol=1e-6)
    check_arithmetic(trace)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_steps_are_those_of_the_reference_and_of_fast(causal, attention_backend):
    x = np.random.default_rng(1).normal(size=(7, 4))
    trace = explain.attention(x, causal=causal)
    steps = attention_backend.self_attention(x, causal=causal, return_steps=True)
    for name in ("scores", "shifted", "exponentials", "row_sums", "weights", "context"):
        np.testing.assert_allclose(
            getattr(trace, name)[0], getattr(steps, name), rtol=1e-12, atol=1e-14, err_msg=name
        )
    check_arithmetic(trace)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_of_heads_is_scaled_dot_product_attention(causal, attention_backend):
    q, k, v = np.random.default_rng(2).normal(size=(3, 2, 5, 4))
    k, v = k[:, :4], v[:, :4, :3]
    trace = explain.attention(q, k, v, causal=causal)
    context = attention_backend.scaled_dot_product_attention(q, k, v, is_causal=causal)
    np.testing.assert_allclose(trace.context, context, rtol=1e-12)
    one = np.eye(4)[np.newaxis].repeat(2, axis=0)
    weights = attention_backend.scaled_dot_product_attention(q, k, one, is_causal=causal)
    np.testing.assert_allclose(trace.weights, weights, rtol=1e-12, atol=1e-15)
    check_arithmetic(trace)


def test_attention_sums_of_rows_and_switch():
    trace = explain.attention(INPUTS, causal=True)
    np.testing.assert_allclose(trace.weights.sum(axis=-1), 1)
    assert np.all(np.triu(trace.weights[0], 1) == 0)
    back = trace.switched()
    assert not back.causal
    np.testing.assert_array_equal(back.switched().weights, trace.weights)


def test_attention_of_nothing_and_of_one():
    assert explain.attention(np.empty((0, 3))).weights.shape == (1, 0, 0)
    assert explain.attention([[2.0]]).weights.tolist() == [[[1.0]]]
    assert "0 tokens" in str(explain.attention(np.empty((0, 3))))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1.0]], [[1.0]]), ValueError, "k and v must be given both"),
        (([1.0],), ValueError, r"q must have 2 dimensions .* got shape \(1,\)"),
        (([["a"]],), TypeError, "q must hold real numbers"),
        (([[True]],), TypeError, "q must hold real numbers, not bool"),
        (([[1.0]], [[1.0, 2.0]], [[1.0]]), ValueError, "head_dim"),
        ((np.ones((2, 1, 1)), [[1.0]], [[1.0]]), ValueError, "as many heads, got 2, 1, 1"),
    ],
)
def test_attention_refuses_wrong_arrays(arguments, error, message):
    with pytest.raises(error, match=message):
        explain.attention(*arguments)


def test_attention_refuses_wrong_names():
    with pytest.raises(ValueError, match="tokens must hold a name for each of 2 positions"):
        explain.attention([[1.0], [2.0]], tokens=["one"])
    with pytest.raises(ValueError, match="tokens must hold a name"):
        explain.attention([[1.0], [2.0]], tokens="ab")
    with pytest.raises(TypeError, match="each of tokens must be a str, not int"):
        explain.attention([[1.0]], tokens=[1])
    with pytest.raises(TypeError, match="causal"):
        explain.attention([[1.0]], causal=1)


def test_heads_take_the_weights_of_anything():
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(3, 5))
    trace = explain.heads(weights, list("abcde"))
    np.testing.assert_array_equal(trace.weights, weights)
    assert "head 2" in str(trace)
    assert explain.heads(np.ones((4, 1))).key_tokens == ("0",)
    with pytest.raises(ValueError, match="weights must be from 0 to 1"):
        explain.heads([[2.0]])
    with pytest.raises(ValueError, match="weights must be from 0 to 1"):
        explain.heads([[np.nan]])
    with pytest.raises(ValueError, match="must have 2 dimensions"):
        explain.heads([1.0])
    with pytest.raises(TypeError, match="real numbers"):
        explain.heads([["x"]])


# --- A sentence, and both backends


def test_journey_of_the_default_sentence_has_the_worked_numbers():
    trace = explain.journey()
    query, key = trace.cell
    assert trace.attention.tokens[query] == " journey"
    assert decimal(trace.attention.weights[0, query, key]) == "0.2379"
    text = str(trace)
    assert "why ·journey weighs 0.2379 on itself" in text
    assert "0.55*0.55 + 0.87*0.87 + 0.66*0.66 = 1.4950" in text
    assert "·j + ourney" in text
    np.testing.assert_allclose(trace.attention.context[0], KNOWN_CONTEXT, atol=5.1e-5)


@pytest.mark.parametrize("name", HOSTILE)
def test_journey_goes_through_any_text(name, gpt2):
    for tokenizer in (None, gpt2):
        trace = explain.journey(HOSTILE[name], tokenizer)
        chosen = tokenizer or novel.novel_bpe()
        assert trace.merging.ids == chosen.encode(HOSTILE[name])
        assert all(holds for _, holds, _ in trace.checks)
        assert "\x1b" not in str(trace)
        assert "\u202e" not in str(trace)
        str(trace).encode()


def test_journey_shows_attention_between_no_more_tokens_than_a_page_can_hold():
    trace = explain.journey("step " * 300)
    assert len(trace.attention.tokens) == 200
    assert trace.left_out == len(trace.merging.ids) - 200
    assert "left out" in str(trace)
    with pytest.raises(ValueError, match=r"at most 4,000 characters .* not 4,001"):
        explain.journey("x" * 4001)


def test_journey_notices_a_backend_that_disagrees(monkeypatch):
    def wrong(x, **options):
        found = reference_attention.self_attention(x, **options)
        return found._replace(weights=found.weights + 1e-6)

    module = type("module", (), {"self_attention": staticmethod(wrong)})
    monkeypatch.setattr(comparison, "fast_backend", lambda topic: comparison.Backend(module))
    checks = {what: holds for what, holds, _ in explain.journey().checks}
    assert checks["the weights"] is False
    assert checks["the context vectors"] is True


def test_agreement_is_the_comparison_of_the_demo(monkeypatch):
    monkeypatch.setattr(demo, "VOCAB_SIZE", 280)
    monkeypatch.setattr(comparison, "FAST_RUNS", 1)
    monkeypatch.setattr("fastllm.explain.speed.LENGTH", 8)
    monkeypatch.setattr("fastllm.explain.speed.TEXT_BYTES", 2000)
    done = []
    trace = explain.agreement(progress=done.append)
    assert [row.operation for row in trace.rows] == done
    assert trace.holds
    assert all(row.ratio is None or row.ratio > 0 for row in trace.rows)
    assert ("exact" in str(trace)) == (fastllm.backends()["bpe"] == "fast")
    assert fastllm.__version__ in str(trace)


def test_agreement_says_what_disagrees_and_what_is_missing(monkeypatch):
    backends = {
        "bpe": comparison.Backend(None, "no compiler"),
        "attention": comparison.Backend(None, "no jit"),
    }
    monkeypatch.setattr(comparison, "fast_backend", backends.__getitem__)
    monkeypatch.setattr("fastllm.explain.speed.LENGTH", 4)
    trace = explain.agreement("to be or not to be " * 20)
    assert trace.missing == (
        "only the reference is here for byte pairs: no compiler",
        "only the reference is here for attention: no jit",
    )
    assert all(row.ratio is None and row.agrees is None for row in trace.rows)
    assert "nothing to compare with" in str(trace)


# --- Text


def test_visible_leaves_nothing_that_acts_on_a_terminal():
    for text in HOSTILE.values():
        shown = visible(text)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)


def test_repr_is_text():
    trace = explain.attention([[1.0]])
    assert repr(trace) == str(trace)


# --- Figures


def test_every_plot_draws_where_it_is_told(monkeypatch):
    monkeypatch.setattr("fastllm.explain.speed.LENGTH", 8)
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    traces = [
        explain.attention(INPUTS, tokens=["$x$", *WORDS[1:]], causal=True),
        explain.heads(np.full((2, 3, 3), 1 / 3)),
        explain.training(explain.story.STORY, 266),
        explain.agreement("to be or not to be " * 20),
    ]
    for trace in traces:
        figure, ax = plt.subplots()
        assert trace.plot(ax) is ax
        figure.canvas.draw()
        plt.close(figure)
        own = trace.plot()
        own.figure.canvas.draw()
        plt.close(own.figure)
    assert len(traces[0].plot(what="scores", head=0).texts) == 36
    assert traces[1].plot(head=1).get_title() == "head 1"
    plt.close("all")
