"""A Llama with random weights: compiled, exported, and under autocast."""

import pytest
import torch
import transformers

from fastllm.integrations import transformers as integration

IDS = torch.arange(2 * 11).reshape(2, 11) * 31 % 97
PADDING = torch.ones_like(IDS)
PADDING[0, :4] = 0


@pytest.fixture
def llama():
    integration.register()
    torch.manual_seed(0)
    torch._dynamo.reset()
    config = transformers.LlamaConfig(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=0,
        attn_implementation="fastllm",
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("mask", [None, PADDING], ids=["whole", "padded"])
def test_transformers_compiled_llama_is_one_graph_and_equals_eager(llama, mask):
    with torch.no_grad():
        expected = llama(IDS, attention_mask=mask, use_cache=False).logits
        compiled = torch.compile(llama, backend="aot_eager", fullgraph=True)
        actual = compiled(IDS, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_transformers_llama_under_autocast_agrees_with_sdpa(llama):
    logits = []
    for implementation in ("sdpa", "fastllm"):
        llama.set_attn_implementation(implementation)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits.append(llama(IDS, attention_mask=PADDING).logits)
    assert logits[0].dtype == logits[1].dtype
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=0.01)
