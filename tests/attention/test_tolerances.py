"""The comparer accepts what the table allows and rejects every kind of wrong answer."""

import numpy as np
import pytest
from tolerances import TOLERANCES, assert_agrees

EXPECTED = np.random.default_rng(0).standard_normal((4, 3))
OPERATION = "scaled_dot_product_attention"


def as_dtype(values, dtype):
    """`values` as `dtype`; uint16 means the bits of bfloat16, the upper half of float32's."""
    if dtype == "uint16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(dtype)


@pytest.mark.parametrize(("operation", "dtype"), TOLERANCES)
def test_comparer_accepts_half_the_tolerance(operation, dtype):
    rtol, atol = TOLERANCES[operation, dtype]
    # At 0 float16 and float32 can represent the difference itself.
    assert_agrees(operation, dtype, as_dtype(np.full(3, atol / 2), dtype), np.zeros(3, dtype))
    assert_agrees(operation, dtype, as_dtype(EXPECTED, dtype), as_dtype(EXPECTED, dtype))
    assert_agrees(operation, "float64", EXPECTED * (1 + 1e-14), EXPECTED)
    assert rtol < 1e-2


@pytest.mark.parametrize(("operation", "dtype"), TOLERANCES)
def test_comparer_rejects_twice_the_tolerance(operation, dtype):
    rtol, atol = TOLERANCES[operation, dtype]
    wrong = EXPECTED.copy()
    wrong[2, 1] += 2 * (atol + rtol * abs(wrong[2, 1])) + 1e-15
    with pytest.raises(AssertionError):
        assert_agrees(operation, dtype, as_dtype(wrong, dtype), as_dtype(EXPECTED, dtype))


def _with(value):
    wrong = EXPECTED.copy()
    wrong[1, 2] = value
    return wrong


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        pytest.param(_with(np.nan), EXPECTED, id="NaN for a number"),
        pytest.param(EXPECTED, _with(np.nan), id="a number for NaN"),
        pytest.param(_with(np.inf), EXPECTED, id="infinity for a number"),
        pytest.param(_with(-np.inf), _with(np.inf), id="infinity of the other sign"),
        pytest.param(_with(0.0), EXPECTED, id="one element 0"),
        pytest.param(EXPECTED[[1, 0, 2, 3]], EXPECTED, id="rows swapped"),
        pytest.param(-EXPECTED, EXPECTED, id="sign flipped"),
        pytest.param(np.zeros_like(EXPECTED), EXPECTED, id="all 0"),
        pytest.param(EXPECTED.T, EXPECTED, id="transposed"),
        pytest.param(EXPECTED[None], EXPECTED, id="a dimension more"),
        pytest.param(EXPECTED[:3], EXPECTED, id="a row missing"),
        pytest.param(EXPECTED[:0], EXPECTED, id="empty"),
        pytest.param(EXPECTED[:1], EXPECTED[:1].repeat(4, 0), id="would broadcast"),
        pytest.param(EXPECTED.astype("f4"), EXPECTED, id="another dtype"),
    ],
)
def test_comparer_rejects_wrong_answers(actual, expected):
    with pytest.raises(AssertionError):
        assert_agrees(OPERATION, "float64", actual, expected)


def test_comparer_takes_nan_for_nan_and_infinity_for_infinity():
    assert_agrees(OPERATION, "float64", _with(np.nan), _with(np.nan))
    assert_agrees(OPERATION, "float64", _with(np.inf), _with(np.inf))


def test_comparer_rejects_unknown_operations():
    with pytest.raises(KeyError):
        assert_agrees("attention", "float64", EXPECTED, EXPECTED)
