"""The attention modules of the book, on both backends."""

import numpy as np
import pytest

from fastllm import book

INPUTS = np.array(
    [
        [0.43, 0.15, 0.89],
        [0.55, 0.87, 0.66],
        [0.57, 0.85, 0.64],
        [0.22, 0.58, 0.33],
        [0.77, 0.25, 0.10],
        [0.05, 0.80, 0.55],
    ]
)


# --- Attention


def on(module, attention):
    for part in (module, *module.children()):
        part._attention = attention
    return module


def modules():
    book.manual_seed(0)
    return [
        book.CausalAttention(3, 4, 6, 0.5, qkv_bias=True),
        book.MultiHeadAttentionWrapper(3, 4, 6, 0.5, num_heads=2, qkv_bias=True),
        book.MultiHeadAttention(3, 4, 6, 0.5, num_heads=2, qkv_bias=True),
    ]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_is_causal_and_the_same_for_each_of_a_batch(place, attention_backend):
    module = on(modules()[place], attention_backend).eval()
    batch = np.stack([INPUTS, INPUTS])
    result = module(batch)
    assert (result[0] == result[1]).all()
    batch[1, 4:] = 9.0  # the future changes
    assert np.allclose(module(batch)[1, :4], result[0, :4], atol=1e-15)
    assert np.allclose(module(batch[:, :4]), result[:, :4], atol=1e-15)
    assert module(batch.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("place", [0, 1, 2])
def test_drops_weights_only_in_training(place):
    module = modules()[place]
    assert (module([INPUTS]) != module([INPUTS])).any()
    assert (module.eval()([INPUTS]) == module([INPUTS])).all()
    assert (module.train()([INPUTS]) != module([INPUTS])).any()


def test_drops_the_same_weights_on_both_backends():
    from fastllm.fast import attention as fast
    from fastllm.reference import attention as reference

    results = []
    for attention in (reference, fast):
        module = on(modules()[2], attention)
        book.manual_seed(3)
        results.append(module([INPUTS, INPUTS]))
    assert np.allclose(*results, atol=1e-14)
    assert (results[0][0] != results[0][1]).any()


def test_multi_head_attention_is_its_heads_side_by_side():
    heads = book.MultiHeadAttentionWrapper(3, 2, 6, 0.0, num_heads=2)
    joined = book.MultiHeadAttention(3, 4, 6, 0.0, num_heads=2)
    for name in ("W_query", "W_key", "W_value"):
        matrices = [getattr(head, name).weight for head in heads.heads]
        getattr(joined, name).weight = np.concatenate(matrices)
    joined.out_proj.weight, joined.out_proj.bias = np.eye(4), np.zeros(4)
    assert np.allclose(joined([INPUTS]), heads([INPUTS]), atol=1e-15)


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="d_out must be divisible by num_heads, but 5 is not by 2"):
        book.MultiHeadAttention(3, 5, 6, 0.0, num_heads=2)
    with pytest.raises(ValueError, match=r"x must have shape \(num_tokens, 3\), not \(1, 6, 3\)"):
        book.SelfAttention_v2(3, 2)([INPUTS])
    with pytest.raises(
        ValueError, match=r"x must have shape \(batch, num_tokens, 3\), not \(6, 3\)"
    ):
        book.CausalAttention(3, 2, 6, 0.0)(INPUTS)
    with pytest.raises(ValueError, match="sequences of 6 tokens, but context_length is 5"):
        book.CausalAttention(3, 2, 5, 0.0)([INPUTS])
    with pytest.raises(ValueError, match="d_in must be at least 1, not 0"):
        book.SelfAttention_v1(0, 2)


def test_modules_are_called_by_forward():
    class Nothing(type(book.Linear(1, 1)).__base__):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no forward"):
        Nothing()([1.0])
