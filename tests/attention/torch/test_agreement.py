"""Attention against PyTorch."""

import numpy as np
import pytest
import torch
from tolerances import assert_agrees

from fastllm.fast import attention as fast

SDPA = "scaled_dot_product_attention"


def normal(seed, shape, dtype):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def by_torch(*arrays, attn_mask=None, **options):
    if attn_mask is not None:
        options["attn_mask"] = torch.tensor(attn_mask)
    with torch.no_grad():
        tensors = [torch.tensor(np.ascontiguousarray(array)) for array in arrays]
        return torch.nn.functional.scaled_dot_product_attention(*tensors, **options).numpy()


SHAPES = {
    "one head": ((9, 5), (14, 5), (14, 5)),
    "heads": ((3, 9, 5), (3, 14, 5), (3, 14, 5)),
    "batch of heads": ((2, 3, 9, 8), (2, 3, 14, 8), (2, 3, 14, 8)),
    "five dimensions": ((2, 1, 3, 9, 8), (2, 2, 3, 14, 8), (2, 2, 3, 14, 8)),
    "value_dim differs": ((2, 3, 9, 5), (2, 3, 14, 5), (2, 3, 14, 7)),
    "keys without a batch": ((2, 3, 9, 5), (3, 14, 5), (3, 14, 5)),
    "query broadcast": ((1, 3, 9, 5), (2, 3, 14, 5), (2, 3, 14, 5)),
    "one key head": ((2, 3, 9, 5), (2, 1, 14, 5), (2, 1, 14, 5)),
    "no queries": ((2, 0, 5), (2, 4, 5), (2, 4, 5)),
    "no keys": ((2, 3, 5), (2, 0, 5), (2, 0, 5)),
    "several blocks": ((1, 2, 140, 64), (1, 2, 140, 64), (1, 2, 140, 64)),
}
GROUPED = {
    "groups of two": ((2, 4, 9, 5), (2, 2, 14, 5), (2, 2, 14, 5)),
    "one group": ((4, 9, 5), (1, 14, 5), (1, 14, 5)),
    "more value heads": ((2, 4, 9, 5), (2, 2, 14, 5), (2, 4, 14, 5)),
}


def mask_of(kind, query, key):
    shape = (query[-2], key[-2])
    return {
        "boolean": normal(1, shape, np.float32) > 0,
        "column": normal(2, (query[-2], 1), np.float32) > -1,
        "row": normal(3, (1, key[-2]), np.float32) > 0,
        "numbers": normal(4, shape, np.float32),
        "minus infinity": np.where(normal(5, shape, np.float32) > 0, 0.0, -np.inf),
        "lowest number": np.where(normal(6, shape, np.float32) > 0, 0.0, np.finfo(np.float32).min),
        "nothing": np.zeros(shape, bool),
    }[kind]


def agree(shapes, dtype, **options):
    arrays = [normal(seed, shape, dtype) for seed, shape in enumerate(shapes)]
    actual = fast.scaled_dot_product_attention(*arrays, **options)
    assert_agrees(SDPA, dtype, actual, by_torch(*arrays, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.1}], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_torch(shape, options, dtype):
    agree(SHAPES[shape], dtype, **options)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}], ids=str)
@pytest.mark.parametrize("shape", GROUPED)
def test_grouped_heads_agree_with_torch(shape, options):
    agree(GROUPED[shape], np.float32, enable_gqa=True, **options)


@pytest.mark.parametrize(
    "kind", ["boolean", "column", "row", "numbers", "minus infinity", "lowest number", "nothing"]
)
@pytest.mark.parametrize("shape", ["one head", "batch of heads", "several blocks"])
def test_masks_agree_with_torch(shape, kind):
    mask = mask_of(kind, *SHAPES[shape][:2])
    mask = mask if mask.dtype == bool else mask.astype(np.float32)
    agree(SHAPES[shape], np.float32, attn_mask=mask)


@pytest.mark.parametrize("kind", ["boolean", "column", "numbers", "lowest number", "nothing"])
@pytest.mark.parametrize("shape", ["batch of heads", "several blocks"])
def test_masks_beside_is_causal_agree_with_torch(shape, kind):
    mask = mask_of(kind, *SHAPES[shape][:2])
    mask = mask if mask.dtype == bool else mask.astype(np.float32)
    agree(SHAPES[shape], np.float32, attn_mask=mask, is_causal=True)


def test_the_lowest_number_everywhere_agrees_with_torch():
    lowest = np.full((9, 14), np.finfo(np.float32).min, np.float32)
    agree(SHAPES["batch of heads"], np.float32, attn_mask=lowest)


def test_softmax_agrees_with_torch():
    x = normal(7, (5, 33, 4), np.float32)
    for axis in range(-3, 3):
        expected = torch.softmax(torch.tensor(x), axis).numpy()
        assert_agrees("softmax", np.float32, fast.softmax(x, axis), expected)


def test_takes_torch_tensors():
    tensors = [torch.tensor(normal(seed, (2, 6, 4), np.float32)) for seed in range(3)]
    expected = torch.nn.functional.scaled_dot_product_attention(*tensors).numpy()
    assert_agrees(SDPA, np.float32, fast.scaled_dot_product_attention(*tensors), expected)
