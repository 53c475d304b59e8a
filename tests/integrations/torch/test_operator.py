"""Attention inside of what traces: compiled, exported, batched by vmap, without numbers."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention.bias import causal_lower_right

from fastllm.integrations.torch import scaled_dot_product_attention as attend

OPERATOR = torch.ops.fastllm.scaled_dot_product_attention


def heads(*lead, q_len=5, kv_len=7, kv_heads=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(q_len)
    shapes = (4, q_len, 8), (kv_heads, kv_len, 8), (kv_heads, kv_len, 6)
    return [torch.randn(*lead, *shape, generator=generator).to(dtype) for shape in shapes]


def with_options(query, key, value):
    options = {"sinks": [1.0, 2.0, 3.0, 4.0], "window": (3, 0), "softcap": 2.0, "scale": 0.5}
    return attend(query * 1, key, value, is_causal=True, enable_gqa=True, **options).sin()


def into_out(query, key, value):
    out = query.new_empty(*query.shape[:-3], query.shape[-2], 4, 6)
    result, lse = attend(
        query, key, value, enable_gqa=True, out=out.transpose(-2, -3), return_lse=True
    )
    return out + 1, result * 2, lse


BIAS = causal_lower_right(5, 7)


def with_a_causal_bias(query, key, value):
    return attend(query, key, value, BIAS, enable_gqa=True)


def with_numbers_as_tensors(query, key, value):
    tensors = {"scale": torch.tensor(0.3), "kv_lens": torch.tensor([3, 7])}
    return attend(query, key, value, enable_gqa=True, **tensors)


def equal(actual, expected):
    if isinstance(expected, tuple):
        return all(map(equal, actual, expected))
    return torch.equal(actual, expected)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "function", [with_options, into_out, with_a_causal_bias, with_numbers_as_tensors]
)
def test_torch_compile_gives_the_eager_result_in_one_graph(function, dtype):
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    arrays = heads(2, kv_heads=2, dtype=dtype)
    assert equal(compiled(*arrays), function(*arrays))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch itself
def test_torch_compile_by_inductor_keeps_strides_and_results():
    query, key, value = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in heads())
    out = torch.empty(5, 4, 6).transpose(0, 1)
    result = torch.compile(attend, fullgraph=True)(query, key, value, out=out)
    assert result is out
    assert equal(out, attend(query, key, value))


def test_torch_compile_of_any_length_is_one_graph():
    compiled = torch.compile(with_options, backend="aot_eager", fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for q_len in (5, 6, 9):
            arrays = heads(2, q_len=q_len, kv_len=q_len + 11, kv_heads=2)
            assert equal(compiled(*arrays), with_options(*arrays))


def test_torch_compile_refuses_gradients():
    query, key, value = heads()
    with pytest.raises(ValueError, match="query needs gradients"):
        torch.compile(attend, backend="aot_eager")(query.requires_grad_(), key, value)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
        assert equal(compiled(query, key, value), attend(query, key, value))


class Layer(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arrays):
        return self.function(*arrays)


@pytest.mark.parametrize("function", [with_options, into_out])
def test_torch_export_gives_the_eager_result(function):
    length = torch.export.Dim("length", min=2, max=100)
    program = torch.export.export(
        Layer(function),
        tuple(heads(2, kv_heads=2)),
        dynamic_shapes={"arrays": ({2: length}, None, None)},
    )
    assert "fastllm" in str(program.graph)
    for q_len in (5, 8):
        arrays = heads(2, q_len=q_len, kv_heads=2)
        assert equal(program.module()(*arrays), function(*arrays))


def test_operator_keeps_its_promises():
    arguments = [
        *heads(2),
        None,
        0.0,
        True,
        None,
        False,
        True,
        "top-left",
        [3, -1],
        0.0,
        *[None] * 5,
    ]
    torch.library.opcheck(OPERATOR.default, arguments)
    torch.library.opcheck(
        torch.ops.fastllm.scaled_dot_product_attention_out.default,
        [*arguments, torch.empty(2, 4, 5, 6)],
    )


def test_make_fx_writes_the_operator_down():
    graph = make_fx(with_options, tracing_mode="symbolic")(*heads(kv_heads=2))
    assert graph.code.count("fastllm") == 1


# --- tensors without numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_tensors_on_meta_give_shapes_and_dtypes(dtype):
    for options in ({}, {"enable_gqa": True}):
        arrays = heads(2, kv_heads=2 if options else 4, dtype=dtype)
        expected = attend(*arrays, **options, return_lse=True)
        result = attend(*(x.to("meta") for x in arrays), **options, return_lse=True)
        for actual, wanted in zip(result, expected, strict=True):
            assert actual.is_meta
            assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype)
            assert actual.stride() == wanted.stride()


def test_tensors_on_meta_are_checked():
    query, key, value = (x.to("meta") for x in heads())
    with pytest.raises(ValueError, match=r"same head_dim .* key \(4, 7, 3\)"):
        attend(query, key[..., :3], value)
    with pytest.raises(ValueError, match="query must be a dense tensor on the processor"):
        attend(query, *heads()[1:])
    with pytest.raises(TypeError, match="same dtype, got float32, bfloat16 and float32"):
        attend(query, key.bfloat16(), value)


# --- vmap


def one_by_one(function, *arrays):
    return torch.stack([function(*entry) for entry in zip(*arrays, strict=True)])


def test_vmap_is_one_dimension_more():
    query, key, value = heads(3)
    for arrays in ((query, key, value), [x[:, 0] for x in (query, key, value)]):
        assert torch.allclose(torch.vmap(attend)(*arrays), one_by_one(attend, *arrays))
    nested = torch.vmap(torch.vmap(attend))(query, key, value)
    assert torch.allclose(nested, attend(query, key, value))


def test_vmap_over_some_arguments():
    query, key, value = heads(3)
    expected = one_by_one(lambda k: attend(query[0], k, value[0]), key)
    assert torch.allclose(torch.vmap(attend, (None, 0, None))(query[0], key, value[0]), expected)
    expected = one_by_one(lambda q, v: attend(q, key[0], v), query, value)
    turned = torch.vmap(attend, (1, None, 0), 1)(query.transpose(0, 1), key[0], value)
    assert torch.allclose(turned.transpose(0, 1), expected)


def test_vmap_over_options():
    arrays = heads()

    def function(mask, sinks, kv_lens):
        options = {"sinks": sinks, "kv_lens": kv_lens, "is_causal": True}
        return attend(*arrays, mask, **options)

    options = torch.rand(3, 5, 7) > 0.4, torch.randn(3, 4), torch.tensor([7, 3, 0])
    assert torch.allclose(torch.vmap(function)(*options), one_by_one(function, *options))


def test_vmap_with_lse_and_out():
    arrays = heads(3)
    expected = [one_by_one(lambda *x, i=i: into_out(*x)[i], *arrays) for i in range(3)]
    for actual, wanted in zip(torch.vmap(into_out)(*arrays), expected, strict=True):
        assert torch.allclose(actual, wanted)


def test_vmap_refuses_what_it_cannot_do():
    query, key, value = heads(3)
    arrays, out, starts = heads(), torch.empty(4, 5, 6), torch.tensor([[0, 5]] * 3)
    with pytest.raises(ValueError, match=r"out must have the dimension of torch\.vmap"):
        torch.vmap(lambda q: attend(q, key[0], value[0], out=out))(query)
    with pytest.raises(ValueError, match="cu_seqlens_k must be the same for all"):
        torch.vmap(lambda s: attend(*arrays, cu_seqlens_q=s, cu_seqlens_k=[0, 7]))(starts)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_functional_gradients_are_refused():
    query, key, value = heads()
    with pytest.raises(ValueError, match="query needs gradients"):
        torch.func.grad(lambda q: attend(q, key, value).sum())(query)
    with pytest.raises(ValueError, match="query has a tangent"):
        torch.func.jvp(lambda q: attend(q, key, value), (query,), (query,))


# --- autocast


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_autocast_casts_as_torch_does(lower):
    sdpa = torch.nn.functional.scaled_dot_product_attention
    query, key, value = heads(1)
    mask = torch.randn(5, 7)
    cases = [
        (query, key, value.to(lower)),
        (query, key, value, mask),
        (query.half(), key.bfloat16(), value),
        (query.double(), key.double(), value.double()),
    ]
    for case in cases:
        with torch.autocast("cpu", lower):
            expected, actual = sdpa(*case), attend(*case)
            compiled = torch.compile(attend, backend="aot_eager", fullgraph=True)
            assert torch.equal(compiled(*case), actual)
        assert actual.dtype == expected.dtype
        assert torch.allclose(actual.float(), expected.float(), atol=2e-2)
    with pytest.raises(TypeError, match="same dtype, got float32, float32 and bfloat16"):
        attend(query, key, value.bfloat16())


def test_autocast_leaves_float64_and_refuses_a_mix_with_it():
    query, key, value = heads(1)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(TypeError, match="got float64, bfloat16 and bfloat16"):
            attend(query.double(), key, value)
        out = torch.empty(1, 4, 5, 6)
        with pytest.raises(TypeError, match="dtype of the result, bfloat16, got float32"):
            attend(query, key, value, out=out)
