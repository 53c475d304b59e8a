"""The layers of the book that are not attention."""

import numpy as np
import pytest

from fastllm import book


def test_linear_keeps_float32_and_refuses_other_sizes():
    layer = book.Linear(3, 2)
    assert layer(np.ones((6, 3), np.float32)).dtype == np.float32
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
