"""Traces of attention: their numbers are the backends', and their arithmetic is right."""

import math
import re

import numpy as np
import pytest
from explain.inputs import FACTS, INPUTS

from fastllm import explain
from fastllm.explain.worked_example import KNOWN_CONTEXT, KNOWN_SCORES, KNOWN_WEIGHTS, WORDS


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
