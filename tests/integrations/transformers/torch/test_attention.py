"""Models of transformers with random weights: the same logits and tokens as with "sdpa"."""

import pytest
import torch
import transformers

from fastllm.integrations import transformers as integration
from fastllm.integrations import transformers_attention

SMALL = {"vocab_size": 97, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": None}
LLAMA = SMALL | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "pad_token_id": 0,
}
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=97, n_positions=64, n_embd=48, n_layer=2, n_head=4, bos_token_id=1,
        eos_token_id=None, pad_token_id=0,
    ),
    "llama, grouped heads": lambda: transformers.LlamaConfig(**LLAMA, num_key_value_heads=2),
    "mistral, sliding window": lambda: transformers.MistralConfig(
        **LLAMA, num_key_value_heads=4, sliding_window=6
    ),
}  # fmt: skip


@pytest.fixture(params=CONFIGS)
def model(request):
    """Each model in turn, on "sdpa", with weights large enough for attention to matter."""
    integration.register()
    torch.manual_seed(0)
    config = CONFIGS[request.param]()
    config._attn_implementation = "sdpa"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.mul_(4.0)
    return model


def both(model, call):
    """What a call gives with "sdpa" and with "fastllm"."""
    results = []
    for implementation in ("sdpa", "fastllm"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            results.append(call())
    return results


IDS = torch.arange(2 * 23).reshape(2, 23) * 31 % 97
LEFT_PADDING = torch.ones_like(IDS)
LEFT_PADDING[0, :7] = 0
RIGHT_PADDING = LEFT_PADDING.flip(1)


@pytest.mark.parametrize("mask", [None, LEFT_PADDING, RIGHT_PADDING], ids=["all", "left", "right"])
def test_transformers_model_gives_the_same_logits(model, mask):
    expected, actual = both(model, lambda: model(IDS, attention_mask=mask).logits)
    real = torch.ones_like(IDS).bool() if mask is None else mask.bool()
    torch.testing.assert_close(actual[real], expected[real], rtol=2e-4, atol=2e-4)
    # The other implementation did run, and rounds in its own way.
    assert not torch.equal(actual, expected)


@pytest.mark.parametrize("mask", [torch.ones_like(IDS), LEFT_PADDING], ids=["all", "left"])
def test_transformers_model_generates_the_same_tokens_from_its_cache(model, mask):
    def generate():
        return model.generate(
            IDS, attention_mask=mask, max_new_tokens=20, do_sample=False, use_cache=True
        )

    expected, actual = both(model, generate)
    assert actual.shape == (2, 43)
    assert torch.equal(actual, expected)


def test_transformers_model_in_bfloat16_gives_about_the_same_logits(model):
    model = model.to(torch.bfloat16)
    expected, actual = both(model, lambda: model(IDS).logits.float())
    spread = expected.std()
    assert (actual - expected).abs().mean() < 0.05 * spread


def test_transformers_model_in_training_says_why_not(model):
    model.set_attn_implementation("fastllm")
    with pytest.raises(ValueError, match="query needs gradients"):
        model(IDS)


def test_transformers_attention_takes_softcaps_sinks_and_biases():
    module = torch.nn.Module()
    generator = torch.Generator().manual_seed(1)
    query, key, value = (torch.randn(1, 2, 5, 8, generator=generator) for _ in range(3))
    bias = torch.randn(1, 2, 5, 5, generator=generator)
    sinks = torch.tensor([0.5, -0.5])
    result, weights = transformers_attention.attention_forward(
        module, query, key, value, None, softcap=2.0, s_aux=sinks, position_bias=bias
    )
    assert weights is None
    scores = 2.0 * torch.tanh(query @ key.mT / 8**0.5 / 2.0) + bias
    scores = scores.masked_fill(~torch.ones(5, 5).tril().bool(), float("-inf"))
    scores = torch.cat([scores, sinks.view(1, 2, 1, 1).expand(1, 2, 5, 1)], -1)
    expected = (scores.softmax(-1)[..., :-1] @ value).transpose(1, 2)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
    assert result.is_contiguous()
