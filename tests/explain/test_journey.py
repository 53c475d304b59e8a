"""The trace of a whole sentence, the comparison of the backends, text and figures."""

import re

import numpy as np
import pytest
from explain.inputs import INPUTS
from hostile import HOSTILE

import fastllm
from fastllm import explain, reference
from fastllm.explain import comparison, demo, novel
from fastllm.explain.formatting import decimal, visible
from fastllm.explain.worked_example import KNOWN_CONTEXT, WORDS
from fastllm.reference import attention as reference_attention


def test_the_beginning_of_the_text_is_split_by_a_pattern_that_can_be_drawn():
    trace = explain.journey("Your odyssey  starts\nwith one step, and on it goes for a while")
    split = trace.splitting
    assert list(split.pieces) == reference.split(trace.text[:40], split.expression)
    (html,) = (s.html for s in trace.sections() if s.name == "pattern")
    assert "The first 40 characters" in html
    assert html.count('class="state"') == len(split.states) == 8


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
