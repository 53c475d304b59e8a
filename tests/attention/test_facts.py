"""Facts that can be checked by hand, on both backends."""

import json
import math
import pathlib

import numpy as np
import pytest

FACTS = json.loads((pathlib.Path(__file__).parent / "facts.json").read_text())
INPUTS = np.array(FACTS["inputs"])


def equals(actual, expected, atol=1e-12):
    np.testing.assert_allclose(actual, np.array(expected), rtol=0, atol=atol)


def project(facts):
    """Query, key and value of the sentence, by the weights that the facts give."""
    return [INPUTS @ np.array(facts[f"{name}_weights"]) for name in ("query", "key", "value")]


# --- softmax


def test_softmax_of_one_two_three(attention_backend):
    total = 1 + math.exp(-1) + math.exp(-2)
    expected = [math.exp(-2) / total, math.exp(-1) / total, 1 / total]
    equals(attention_backend.softmax([1.0, 2.0, 3.0]), expected, 1e-15)


def test_softmax_of_equal_scores_is_uniform(attention_backend):
    equals(attention_backend.softmax([[7.0] * 5]), [[0.2] * 5], 1e-16)


def test_softmax_of_one_score_is_one(attention_backend):
    assert attention_backend.softmax([-3.0]).tolist() == [1.0]


def test_softmax_does_not_change_when_all_scores_shift(attention_backend):
    scores = np.array([0.5, -1.25, 2.0])
    equals(attention_backend.softmax(scores + 1024.0), attention_backend.softmax(scores), 1e-15)


def test_softmax_of_huge_scores_stays_finite(attention_backend):
    assert attention_backend.softmax([1e4, 1e4, -1e4]).tolist() == [0.5, 0.5, 0.0]


def test_softmax_of_nothing_but_minus_infinity_is_zero(attention_backend):
    scores = [[-np.inf, -np.inf], [-np.inf, 3.0]]
    assert attention_backend.softmax(scores).tolist() == [[0.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize("nonfinite", [np.nan, np.inf])
def test_softmax_of_a_row_with_nan_or_infinity_is_nan(attention_backend, nonfinite):
    weights = attention_backend.softmax([[1.0, nonfinite, -np.inf], [0.0, 0.0, -np.inf]])
    assert np.isnan(weights[0]).all()
    assert weights[1].tolist() == [0.5, 0.5, 0.0]


def test_softmax_of_minus_infinity_and_nan_is_nan(attention_backend):
    assert np.isnan(attention_backend.softmax([-np.inf, np.nan])).all()
    assert np.isnan(attention_backend.softmax([np.nan, -np.inf])).all()


def test_softmax_along_the_first_axis(attention_backend):
    scores = np.log([[1.0, 1.0], [3.0, 1.0]])
    equals(attention_backend.softmax(scores, axis=0), [[0.25, 0.5], [0.75, 0.5]], 1e-15)


# --- self_attention


@pytest.mark.parametrize("step", ["scores", "weights", "context"])
def test_self_attention_of_the_sentence(attention_backend, step):
    steps = attention_backend.self_attention(INPUTS, return_steps=True)
    equals(getattr(steps, step), FACTS["self_attention"][step])


def test_self_attention_of_journey_to_four_digits(attention_backend):
    steps = attention_backend.self_attention(INPUTS, return_steps=True)
    journey = FACTS["words"].index("journey")
    assert steps.scores[journey].round(4).tolist() == [
        0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865,
    ]  # fmt: skip
    assert steps.weights[journey].round(4).tolist() == [
        0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581,
    ]  # fmt: skip
    assert steps.context[journey].round(4).tolist() == [0.4419, 0.6515, 0.5683]


def test_self_attention_without_steps_is_the_context(attention_backend):
    equals(attention_backend.self_attention(INPUTS), FACTS["self_attention"]["context"])


def test_self_attention_steps_follow_from_each_other(attention_backend):
    steps = attention_backend.self_attention(INPUTS, return_steps=True)
    assert steps._fields == (
        "scores", "shifted", "exponentials", "row_sums", "weights", "context",
    )  # fmt: skip
    equals(steps.shifted, steps.scores - steps.scores.max(-1, keepdims=True))
    equals(steps.exponentials, np.exp(steps.shifted))
    equals(steps.row_sums, steps.exponentials.sum(-1))
    equals(steps.weights, steps.exponentials / steps.row_sums[:, None])
    equals(steps.context, steps.weights @ INPUTS)


def test_self_attention_causal_hides_the_future(attention_backend):
    steps = attention_backend.self_attention(INPUTS, causal=True, return_steps=True)
    future = np.triu(np.ones((6, 6), bool), 1)
    assert (steps.scores[future] == -np.inf).all()
    assert (steps.shifted[future] == -np.inf).all()
    assert (steps.weights[future] == 0.0).all()
    equals(steps.context[0], INPUTS[0])
    equals(steps.context[5], FACTS["self_attention"]["context"][5])
    equals(attention_backend.self_attention(INPUTS, causal=True), steps.context)


def test_self_attention_of_one_position_is_itself(attention_backend):
    equals(attention_backend.self_attention([[3.0, -4.0]]), [[3.0, -4.0]])


def test_self_attention_of_no_positions_is_empty(attention_backend):
    steps = attention_backend.self_attention(np.zeros((0, 3)), return_steps=True)
    assert [step.shape for step in steps] == [(0, 0), (0, 0), (0, 0), (0,), (0, 0), (0, 3)]
    assert attention_backend.self_attention(np.zeros((0, 3))).shape == (0, 3)


# --- scaled_dot_product_attention


def test_journey_with_projections(attention_backend):
    facts = FACTS["projected"]
    query, key, value = project(facts)
    attend = attention_backend.scaled_dot_product_attention
    # Values that are the identity give the weights themselves.
    equals(attend(query[1:2], key, np.eye(6)), [facts["weights_of_journey"]])
    equals(query[1] @ key.T, facts["scores_of_journey"])
    equals(attend(query, key, value), facts["context"])


def test_weights_full_and_causal(attention_backend):
    facts = FACTS["projected_causal"]
    query, key, value = project(facts)
    attend = attention_backend.scaled_dot_product_attention
    equals(attend(query, key, np.eye(6)), facts["weights"])
    equals(attend(query, key, value), facts["context"])
    equals(attend(query, key, np.eye(6), is_causal=True), facts["causal_weights"])
    triangle = np.tri(6, dtype=bool)
    equals(attend(query, key, np.eye(6), attn_mask=triangle), facts["causal_weights"])
    numbers = np.where(triangle, 0.0, -np.inf)
    equals(attend(query, key, np.eye(6), attn_mask=numbers), facts["causal_weights"])


def test_causal_context(attention_backend):
    facts = FACTS["causal"]
    context = attention_backend.scaled_dot_product_attention(*project(facts), is_causal=True)
    equals(context, facts["context"])


def test_two_heads(attention_backend):
    facts = FACTS["two_heads"]
    context = attention_backend.scaled_dot_product_attention(*project(facts), is_causal=True)
    assert context.shape == (2, 6, 2)
    equals(np.concatenate(context, axis=-1), facts["context"])


def test_heads_split_and_joined(attention_backend):
    facts = FACTS["split_heads"]
    # (length, heads * head_dim) -> (heads, length, head_dim) and back.
    heads = [x.reshape(6, 2, 1).swapaxes(0, 1) for x in project(facts)]
    context = attention_backend.scaled_dot_product_attention(*heads, is_causal=True)
    joined = context.swapaxes(0, 1).reshape(6, 2)
    equals(joined @ np.array(facts["out_weights"]) + facts["out_bias"], facts["context"])


LN3 = math.log(3.0)
KEYS, VALUES = [[LN3], [0.0]], [[4.0, 8.0], [0.0, 4.0]]


def test_scale_defaults_to_one_over_the_root_of_head_dim(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    # Four equal components make the dot product 2 ln 3, and 1 / sqrt(4) halves it again.
    query, keys = [[1.0] * 4], [[LN3 / 2] * 4, [0.0] * 4]
    equals(attend(query, keys, VALUES), [[3.0, 7.0]])
    equals(attend(query, keys, VALUES, scale=0.5), [[3.0, 7.0]])
    equals(attend(query, keys, VALUES, scale=0.0), [[2.0, 6.0]])
    equals(attend(query, keys, VALUES, scale=-0.5), [[1.0, 5.0]])


def test_adds_a_floating_mask(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    equals(attend([[1.0]], KEYS, VALUES, [[0.0, LN3]], scale=1.0), [[2.0, 6.0]])
    equals(attend([[1.0]], KEYS, VALUES, [[-np.inf, 0.0]], scale=1.0), [[0.0, 4.0]])


@pytest.mark.parametrize("mask", [[[False, False]], [[-np.inf, -np.inf]]])
def test_with_nothing_to_attend_to_is_zero(attention_backend, mask):
    context = attention_backend.scaled_dot_product_attention([[1.0]], KEYS, VALUES, mask)
    assert context.tolist() == [[0.0, 0.0]]


def test_without_keys_is_zero(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    context = attend(np.ones((2, 3, 4)), np.ones((2, 0, 4)), np.ones((2, 0, 5)))
    assert context.tolist() == np.zeros((2, 3, 5)).tolist()


def test_the_lowest_finite_mask_is_uniform(attention_backend):
    # Everything masked by the lowest number, not by -inf: all scores round to it.
    lowest = np.full((1, 2), np.finfo(np.float32).min, np.float32)
    arrays = [np.array(x, np.float32) for x in ([[1.0]], KEYS, VALUES)]
    equals(attention_backend.scaled_dot_product_attention(*arrays, lowest), [[2.0, 6.0]])


@pytest.mark.parametrize(("q_len", "kv_len"), [(2, 4), (4, 2)])
def test_causal_diagonal_starts_at_the_top_left(attention_backend, q_len, kv_len):
    # Equal scores: query i averages keys 0 to i, as far as there are any.
    weights = attention_backend.scaled_dot_product_attention(
        np.zeros((q_len, 3)), np.zeros((kv_len, 3)), np.eye(kv_len), is_causal=True
    )
    triangle = np.tri(q_len, kv_len)
    equals(weights, triangle / triangle.sum(-1, keepdims=True), 1e-15)


def test_huge_scores_stay_finite(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    assert attend([[1.0]], [[1e4], [0.0]], VALUES, scale=1.0).tolist() == [[4.0, 8.0]]
    assert attend([[1.0]], [[1e4], [1e4]], VALUES, scale=-1.0).tolist() == [[2.0, 6.0]]


def test_grouped_heads_share_in_order(attention_backend):
    # Four query heads on two value heads: 0 and 1 read the first, 2 and 3 the second.
    values = np.array([[[1.0]], [[2.0]]])
    context = attention_backend.scaled_dot_product_attention(
        np.ones((4, 1, 3)), np.ones((2, 1, 3)), values, enable_gqa=True
    )
    assert context.ravel().tolist() == [1.0, 1.0, 2.0, 2.0]


def test_grouped_key_and_value_heads_may_differ_in_number(attention_backend):
    keys = np.array([[[0.0], [LN3]], [[LN3], [0.0]]])
    context = attention_backend.scaled_dot_product_attention(
        np.ones((4, 1, 1)), keys, [VALUES], scale=1.0, enable_gqa=True
    )
    equals(context[:, 0], [[1.0, 5.0], [1.0, 5.0], [3.0, 7.0], [3.0, 7.0]])


def test_nan_in_an_attended_key_or_value_reaches_the_result(attention_backend):
    attend = attention_backend.scaled_dot_product_attention
    assert np.isnan(attend([[1.0]], [[np.nan], [0.0]], VALUES)).all()
    context = attend([[1.0]], KEYS, [[4.0, np.nan], [0.0, 4.0]], scale=1.0)
    equals(context, [[3.0, np.nan]])


@pytest.mark.parametrize("nonfinite", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "masked", [{"is_causal": True}, {"attn_mask": [[True, False]]}, {"attn_mask": [[0.0, -np.inf]]}]
)
def test_nan_that_is_masked_out_does_not_leak(attention_backend, nonfinite, masked):
    attend = attention_backend.scaled_dot_product_attention
    assert attend([[1.0]], [[1.0], [nonfinite]], VALUES, **masked).tolist() == [[4.0, 8.0]]
    values = [[4.0, 8.0], [nonfinite, 0.0]]
    assert attend([[1.0]], KEYS, values, **masked).tolist() == [[4.0, 8.0]]


def test_infinite_value_reaches_the_result_as_infinity(attention_backend):
    context = attention_backend.scaled_dot_product_attention(
        [[1.0]], KEYS, [[4.0, np.inf], [0.0, 4.0]], scale=1.0
    )
    equals(context, [[3.0, np.inf]])


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (np.float16, np.float16),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">f4", np.float32),
        (np.int8, np.float64),
        (np.uint64, np.float64),
    ],
)
def test_returns_the_dtype_it_was_given(attention_backend, given, returned):
    x = np.ones((2, 3)).astype(given)
    for result in (
        attention_backend.softmax(x),
        *attention_backend.self_attention(x, return_steps=True),
        attention_backend.self_attention(x),
        attention_backend.scaled_dot_product_attention(x, x, x),
    ):
        assert result.dtype == np.dtype(returned)
        assert result.dtype.isnative
