"""Attention on tensors: as PyTorch's own, without copies and without gradients."""

import numpy as np
import pytest
import torch
from tolerances import assert_agrees

from fastllm.integrations.torch import scaled_dot_product_attention as attend

SDPA = "scaled_dot_product_attention"
theirs = torch.nn.functional.scaled_dot_product_attention


def tensors(dtype, *shapes):
    generator = torch.Generator().manual_seed(len(shapes))
    return [
        torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype) for shape in shapes
    ]


def numbers(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    return tensor.numpy()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}], ids=str)
@pytest.mark.parametrize("q_len", [1, 40])
def test_torch_attention_agrees_with_torch(dtype, options, q_len):
    arrays = tensors(dtype, (2, 4, q_len, 8), (2, 2, 50, 8), (2, 2, 50, 8))
    result = attend(*arrays, enable_gqa=True, **options)
    assert result.dtype == dtype
    expected = theirs(*(x.double() for x in arrays), enable_gqa=True, **options).to(dtype)
    assert_agrees(SDPA, numbers(result).dtype, numbers(result), numbers(expected))


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float32, torch.bfloat16])
def test_torch_attention_masks_agree_with_torch(mask_dtype):
    arrays = tensors(torch.float32, (2, 4, 20, 8), (2, 4, 30, 8), (2, 4, 30, 8))
    (mask,) = tensors(torch.float32, (2, 1, 20, 30))
    mask = mask > 0 if mask_dtype == torch.bool else mask.to(mask_dtype)
    expected = theirs(*arrays, attn_mask=mask if mask_dtype == torch.bool else mask.float())
    assert_agrees(SDPA, np.float32, numbers(attend(*arrays, mask)), numbers(expected))


def test_torch_attention_takes_any_strides_and_writes_into_out():
    arrays = [x.transpose(1, 2) for x in tensors(torch.float32, *[(2, 20, 4, 8)] * 3)]
    expected = theirs(*arrays)
    out = torch.full((2, 20, 4, 8), float("nan")).transpose(1, 2)
    result, lse = attend(*arrays, out=out, return_lse=True)
    assert result is out
    assert_agrees(SDPA, np.float32, numbers(result.contiguous()), numbers(expected))
    assert lse.shape == (2, 4, 20)


def test_torch_attention_options_may_be_tensors():
    arrays = tensors(torch.float32, (1, 2, 9, 8), (1, 2, 9, 8), (1, 2, 9, 8))
    as_tensors = {"sinks": torch.ones(2), "kv_lens": torch.tensor([5])}
    as_lists = {"sinks": [1.0, 1.0], "kv_lens": [5]}
    assert torch.equal(attend(*arrays, **as_tensors), attend(*arrays, **as_lists))


def test_torch_attention_result_shares_no_memory_with_anyone():
    arrays = tensors(torch.float32, (1, 2, 9, 8), (1, 2, 9, 8), (1, 2, 9, 8))
    first = attend(*arrays)
    before = first.clone()
    attend(*(x + 1 for x in arrays))
    assert torch.equal(first, before)


@pytest.mark.parametrize("name", ["query", "key", "value", "attn_mask"])
def test_torch_attention_refuses_tensors_that_need_gradients(name):
    arguments = dict.fromkeys(["query", "key", "value"], torch.ones(1, 3, 3))
    arguments[name] = torch.ones(1, 3, 3, requires_grad=True)
    with pytest.raises(ValueError, match=f"{name} needs gradients"):
        attend(**arguments)
    with torch.no_grad():
        assert not attend(**arguments).requires_grad


def test_torch_attention_refuses_other_things_than_dense_tensors_here():
    x = torch.ones(1, 3, 3)
    with pytest.raises(TypeError, match=r"key must be a torch\.Tensor, got ndarray"):
        attend(x, x.numpy(), x)
    with pytest.raises(ValueError, match="value must be a dense tensor on the processor"):
        attend(x, x, x.to("meta"))
    with pytest.raises(ValueError, match="query must be a dense tensor on the processor"):
        attend(x.to_sparse(), x, x)
    with pytest.raises(NotImplementedError, match="dropout only serves training"):
        attend(x, x, x, dropout_p=0.1)
