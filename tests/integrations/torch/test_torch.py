"""Attention on tensors: as PyTorch's own, without copies and without gradients."""

import numpy as np
import pytest
import torch
from tolerances import assert_agrees
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

import fastllm
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


# --- masks that are no arrays, and tensors that are more than numbers in memory


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (3, 2)])
@pytest.mark.parametrize("bias", [causal_upper_left, causal_lower_right])
@pytest.mark.filterwarnings("ignore:Lower right causal bias")
def test_torch_attention_takes_causal_biases(bias, shape):
    q_len, kv_len = shape
    query, key, value = tensors(torch.float32, (2, q_len, 4), (2, kv_len, 4), (2, kv_len, 4))
    shift = kv_len - q_len if bias is causal_lower_right else 0
    allowed = torch.ones(shape, dtype=torch.bool).tril(shift)
    expected = theirs(query, key, value, allowed)
    expected[:, ~allowed.any(-1)] = 0  # PyTorch does not care to say what they are
    result = attend(query, key, value, bias(q_len, kv_len))
    assert_agrees(SDPA, np.float32, numbers(result), numbers(expected))


def test_torch_attention_refuses_causal_biases_that_say_something_else():
    x = torch.ones(1, 3, 3)
    for options in ({"is_causal": True}, {"causal_align": "top-left"}):
        with pytest.raises(ValueError, match="is_causal and causal_align must not be given"):
            attend(x, x, x, causal_upper_left(3, 3), **options)
    with pytest.raises(ValueError, match=r"\(q_len, kv_len\) = \(3, 3\), got one of \(2, 3\)"):
        attend(x, x, x, causal_upper_left(2, 3))


@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.float32])
@pytest.mark.parametrize(("q_len", "kv_len"), [(4, 4), (3, 5), (5, 3)])
def test_torch_attention_combines_mask_and_is_causal_as_torch(q_len, kv_len, mask_dtype):
    arrays = tensors(torch.float32, (1, 2, q_len, 8), (1, 2, kv_len, 8), (1, 2, kv_len, 8))
    (mask,) = tensors(torch.float32, (q_len, kv_len))
    mask = mask if mask_dtype == torch.float32 else mask > -0.5
    expected = theirs(*arrays, mask, is_causal=True)
    result = attend(*arrays, mask, is_causal=True)
    assert_agrees(SDPA, np.float32, numbers(result), numbers(expected))


def fake(tensor):
    with FakeTensorMode() as mode:
        return mode.from_tensor(tensor)


def freed(tensor):
    view = torch.cat([tensor, tensor])[3:]
    view.untyped_storage().resize_(0)
    return view


class Plain(torch.Tensor):
    """A subclass that is its numbers, as those that only carry a name are."""


class Scaled(torch.Tensor):
    """A subclass that is not what lies in memory."""

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*(2 * arg.as_subclass(torch.Tensor) for arg in args), **(kwargs or {}))


STRANGE = {
    "CausalBias": lambda x: causal_upper_left(3, 3),
    "Scaled": lambda x: x.as_subclass(Scaled),
    "FakeTensor": fake,
    "UninitializedParameter": lambda x: torch.nn.UninitializedParameter(),
    "MaskedTensor": lambda x: torch.masked.masked_tensor(x, x > 0),
    "a NestedTensor": lambda x: torch.nested.nested_tensor([x, x]),
    "NestedTensor": lambda x: torch.nested.nested_tensor([x, x], layout=torch.jagged),
    "a ZeroTensor": lambda x: torch._efficientzerotensor((3, 3)),
    "one without": freed,
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of")
@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", ["query", "key", "value", "attn_mask", "out", "sinks", "scale"])
def test_torch_attention_refuses_tensors_without_numbers_in_memory(name, kind):
    if (name, kind) == ("attn_mask", "CausalBias"):
        return
    arguments = dict.fromkeys(["query", "key", "value", "attn_mask", "out"], torch.ones(3, 3))
    arguments[name] = STRANGE[kind](torch.ones(3, 3))
    with pytest.raises(TypeError, match=rf"^{name} must be a .*torch\.Tensor.* got {kind}\b"):
        attend(**arguments)


def test_torch_attention_takes_parameters_and_plain_subclasses():
    arrays = tensors(torch.float32, (1, 3, 4), (1, 3, 4), (1, 3, 4))
    expected = attend(*arrays)
    named = [x.as_subclass(Plain) for x in arrays]
    assert torch.equal(attend(*named), expected)
    with torch.no_grad():
        assert torch.equal(attend(*map(torch.nn.Parameter, arrays)), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_torch_attention_refuses_tangents():
    x = torch.ones(1, 3, 3)
    with forward_ad.dual_level(), pytest.raises(ValueError, match="key has a tangent"):
        attend(x, forward_ad.make_dual(x, x), x)


def test_torch_attention_names_dtypes_as_torch_does():
    x, y = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match="same dtype, got float32, float32 and bfloat16"):
        attend(x, x, y)
    with pytest.raises(TypeError, match="same dtype, got float32, float64 and float32"):
        attend(x, x.double(), x)
    with pytest.raises(TypeError, match="out must have the dtype of the result, float32, got bf"):
        attend(x, x, x, out=y.clone())
    with pytest.raises(TypeError, match="of the result, bfloat16, got float32"):
        attend(y, y, y, out=x.clone())
    with pytest.raises(TypeError, match="of the result, float64, got bfloat16"):
        attend(x.int(), x.int(), x.int(), out=y.clone())
    for dtype in (torch.uint16, torch.float8_e4m3fn, torch.complex64):
        name = str(dtype).removeprefix("torch.")
        with pytest.raises(TypeError, match=f"key must hold bfloat16, .* got dtype {name}"):
            attend(x, x.to(dtype), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_torch_attention_scale_may_be_a_tensor(dtype):
    x = torch.ones(2, 3)
    assert torch.equal(
        attend(x, x, x, scale=torch.tensor(2, dtype=dtype)), attend(x, x, x, scale=2)
    )
    with pytest.raises(TypeError, match=r"scale must be a number, got an array of shape \(1,\)"):
        attend(x, x, x, scale=torch.ones(1))


def test_torch_attention_refuses_out_without_a_number_for_each_element():
    x = torch.ones(2, 3)
    for out in (torch.ones(1, 3).expand(2, 3), torch._neg_view(torch.ones(2, 3))):
        with pytest.raises(ValueError, match="out must have a number in memory for each"):
            attend(x, x, x, out=out)


def test_torch_attention_tells_autograd_that_it_wrote_into_out():
    x = torch.ones(2, 3)
    kept = torch.ones(2, 3, requires_grad=True)
    with torch.no_grad():
        factor = x.clone()
    loss = (kept * factor).sum()
    attend(x, x, x, out=factor)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_attention_takes_no_more_threads_than_pytorch(monkeypatch):
    monkeypatch.delenv("FASTLLM_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert fastllm.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
