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
    module = Layer(is_causal=True)
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


class Layer(torch.nn.Module):
    """An attention layer as far as the attention function looks at it."""

    def __init__(self, is_causal=False):
        super().__init__()
        self.is_causal = is_causal


def heads(batch, length, seed, count=2):
    return torch.randn(batch, count, length, 8, generator=torch.Generator().manual_seed(seed))


def textbook(query, key, value, keep=None, bias=0.0):
    """The formula in float64, laid out as transformers wants it."""
    scores = query.double() @ key.double().mT / query.shape[-1] ** 0.5 + bias
    if keep is not None:
        scores = scores.masked_fill(~keep, float("-inf"))
    return (scores.softmax(-1) @ value.double()).transpose(1, 2).float()


def attend(layer, *args, **kwargs):
    result, weights = transformers_attention.attention_forward(layer, *args, **kwargs)
    assert weights is None
    return result


def test_transformers_attention_takes_a_sink_for_each_query():
    query, key, value = heads(2, 5, 1), heads(2, 5, 2), heads(2, 5, 3)
    sinks = torch.randn(2, 2, 5, 1, generator=torch.Generator().manual_seed(4))
    weights = torch.cat([query @ key.mT / 8**0.5, sinks], -1).softmax(-1)[..., :-1]
    result = attend(Layer(), query, key, value, None, sinks=sinks)
    torch.testing.assert_close(result, (weights @ value).transpose(1, 2), rtol=1e-5, atol=1e-5)
    same = attend(Layer(), query, key, value, None, sinks=torch.tensor([0.5, -0.5]))
    torch.testing.assert_close(
        same, attend(Layer(), query, key, value, None, s_aux=torch.tensor([0.5, -0.5]))
    )
    with pytest.raises(ValueError, match="Layer passes s_aux and sinks"):
        attend(Layer(), query, key, value, None, sinks=sinks, s_aux=sinks)


@pytest.mark.parametrize("q_len", [1, 3, 7])
@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_transformers_attention_applies_a_window_where_no_mask_does(q_len, bias):
    query, key, value = heads(2, q_len, 1), heads(2, 7, 2), heads(2, 7, 3)
    bias = torch.full((1, 2, q_len, 7), bias) * torch.arange(7)
    keep = torch.ones(7, 7).tril().triu(-3)[-q_len:].bool()
    result = attend(
        Layer(is_causal=True), query, key, value, None, sliding_window=4, position_bias=bias
    )
    torch.testing.assert_close(
        result, textbook(query, key, value, keep, bias), rtol=1e-5, atol=1e-5
    )
    # A mask has the window in it, as transformers makes them.
    mask = torch.ones(2, 1, q_len, 7).bool()
    result = attend(Layer(is_causal=True), query, key, value, mask, sliding_window=4)
    torch.testing.assert_close(result, textbook(query, key, value), rtol=1e-5, atol=1e-5)
    with pytest.raises(NotImplementedError, match="Layer passes sliding_window=4 for 7 keys"):
        attend(Layer(), query, key, value, None, sliding_window=4)
    result = attend(Layer(), query, key, value, None, sliding_window=7)
    torch.testing.assert_close(result, textbook(query, key, value), rtol=1e-5, atol=1e-5)


def test_transformers_attention_puts_the_last_query_at_the_last_key():
    query, key, value = heads(1, 3, 1), heads(1, 7, 2), heads(1, 7, 3)
    result = attend(Layer(is_causal=True), query, key, value, None)
    keep = torch.ones(7, 7).tril()[-3:].bool()
    torch.testing.assert_close(result, textbook(query, key, value, keep), rtol=1e-5, atol=1e-5)


def test_transformers_attention_broadcasts_the_batch():
    query, key, value = heads(1, 3, 1), heads(2, 5, 2), heads(2, 5, 3)
    result = attend(Layer(), query, key, value, None)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(result, expected.transpose(1, 2), rtol=1e-5, atol=1e-5)
    result = attend(Layer(), heads(2, 3, 1), key[:1], value, None)
    torch.testing.assert_close(
        result, textbook(heads(2, 3, 1), key[:1], value), rtol=1e-5, atol=1e-5
    )


def test_transformers_attention_attends_to_packed_sequences_by_themselves():
    query, key, value = heads(1, 7, 1), heads(1, 7, 2), heads(1, 7, 3)
    starts = torch.tensor([0, 3, 7], dtype=torch.int32)
    packed = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": 4}
    sequence = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    keep = torch.ones(7, 7).tril().bool() & (sequence[:, None] == sequence)
    result = attend(Layer(is_causal=True), query, key, value, None, **packed)
    torch.testing.assert_close(result, textbook(query, key, value, keep), rtol=1e-5, atol=1e-5)
    result = attend(Layer(is_causal=True), query, key, value, keep[None, None], **packed)
    torch.testing.assert_close(result, textbook(query, key, value, keep), rtol=1e-5, atol=1e-5)
    with pytest.raises(NotImplementedError, match="Layer passes cu_seq_lens_q="):
        attend(Layer(), query, key, value, None, cu_seq_lens_q=starts)


@pytest.mark.parametrize("name", ["indices", "block_indices", "seq_idx", "some_new_option"])
def test_transformers_attention_refuses_what_it_does_not_know(name):
    query, key, value = heads(1, 3, 1), heads(1, 3, 2), heads(1, 3, 3)
    with pytest.raises(NotImplementedError, match=f"Layer passes {name}= .*sdpa.*eager"):
        attend(Layer(), query, key, value, None, **{name: torch.zeros(1, 3, 1)})
    nothing = attend(Layer(), query, key, value, None, **{name: None}, use_cache=True)
    torch.testing.assert_close(nothing, textbook(query, key, value), rtol=1e-5, atol=1e-5)


def test_transformers_attention_warns_that_weights_are_not_kept(caplog):
    integration.register()
    transformers.utils.logging.warning_once.cache_clear()
    transformers.utils.logging.enable_propagation()
    config = CONFIGS["llama, grouped heads"]()
    config._attn_implementation = "fastllm"
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        outputs = model(IDS, output_attentions=True)
    transformers.utils.logging.disable_propagation()
    assert all(weights is None for weights in outputs.attentions)
    (record,) = [record for record in caplog.records if "output_attentions" in record.message]
    assert "the attention weights are not kept" in record.message


def tiny(model_type, **sizes):
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    return transformers.AutoModel.from_config(config, attn_implementation="eager")


BERT = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
OWN = {
    "bloom": {"vocab_size": 97, "hidden_size": 32, "n_layer": 1, "n_head": 2},
    "megatron-bert": BERT,
    "roformer": BERT,
    "convbert": BERT,
    "mpnet": BERT,
    "falcon": BERT,
    "resnet": {"embedding_size": 8, "hidden_sizes": [8], "depths": [1]},
}


@pytest.mark.parametrize("model_type", OWN)
def test_transformers_model_that_would_not_call_it_is_refused(model_type):
    integration.register()
    model = tiny(model_type, **OWN[model_type])
    name = type(model).__name__
    with pytest.raises(ValueError, match=f'{name} .*attn_implementation=.*"eager"'):
        transformers.AutoModel.from_config(model.config, attn_implementation="fastllm")
    model.config._attn_implementation = "eager"
    with pytest.raises(ValueError, match=f'{name} .*attn_implementation=.*"eager"'):
        model.set_attn_implementation("fastllm")
    assert model.config._attn_implementation == "eager"
    # No other implementation is looked at.
    model.set_attn_implementation("eager")


def test_transformers_model_from_a_folder_is_refused(tmp_path):
    integration.register()
    tiny("bloom", **OWN["bloom"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="BloomModel attends by its own code, in BloomAttention"):
        transformers.AutoModel.from_pretrained(tmp_path, attn_implementation="fastllm")


def test_transformers_model_of_several_parts_is_told_by_parts():
    integration.register()
    text = transformers.Qwen2Config(**LLAMA, num_key_value_heads=2).to_dict()
    vision = {"hidden_size": 32, "output_channels": 8, "num_hidden_layers": 1, "mlp_dim": 16}
    config = transformers.GotOcr2Config(
        text_config=text,
        vision_config=vision | {"num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        image_token_index=96,
    )
    with pytest.raises(ValueError, match=r"GotOcr2VisionEncoder attends .*choose by parts"):
        transformers.AutoModel.from_config(config, attn_implementation="fastllm")
    parts = {"text_config": "fastllm", "vision_config": "eager"}
    model = transformers.AutoModel.from_config(config, attn_implementation=parts)
    assert model.config.text_config._attn_implementation == "fastllm"
    assert model.config.vision_config._attn_implementation == "eager"


def test_transformers_registers_any_number_of_times():
    methods = ("get_correct_attn_implementation", "post_init", "set_attn_implementation")
    integration.register()
    before = [getattr(transformers.PreTrainedModel, method) for method in methods]
    integration.register()
    integration.register("another_name")
    assert before == [getattr(transformers.PreTrainedModel, method) for method in methods]
    with pytest.raises(ValueError, match="'another_name' would not be called"):
        tiny("bloom", **OWN["bloom"]).set_attn_implementation("another_name")


@pytest.mark.parametrize("keep", [1, 3])
def test_transformers_layers_that_drop_queries_see_the_same_keys(keep):
    integration.register()
    config = transformers.Gemma4TextConfig(
        **LLAMA | {"num_hidden_layers": 4}, num_key_value_heads=2, head_dim=16, global_head_dim=16,
        num_kv_shared_layers=2, layer_types=["sliding_attention", "full_attention"] * 2,
        sliding_window=64, hidden_size_per_layer_input=8, vocab_size_per_layer_input=97,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    results = []
    for implementation in ("eager", "fastllm"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            results.append(model(IDS, logits_to_keep=keep).logits)
    assert results[0].shape[1] == keep
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_transformers_model_fills_a_static_cache(model):
    expected, actual = both(
        model,
        lambda: model.generate(
            IDS, max_new_tokens=6, do_sample=False, cache_implementation="static",
            disable_compile=True,
        ),
    )  # fmt: skip
    assert torch.equal(actual, expected)


def test_transformers_encoder_without_padding_is_not_causal():
    integration.register()
    model = transformers.AutoModel.from_config(transformers.SplinterConfig(**BERT)).eval()
    results = []
    for implementation in ("eager", "fastllm"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            results.append(model(IDS).last_hidden_state)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
