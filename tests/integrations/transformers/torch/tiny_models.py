"""A small configuration of every model class of transformers, and inputs for it.

Sizes are made small by the names of their fields, which hundreds of models share; what depends on
other sizes in a way of its own stands in `SPECIAL`.
"""

import dataclasses
import inspect
import re
from typing import Any

import torch
from transformers import PreTrainedConfig

VOCABULARY = 128
LENGTH = 12

# The first expression that matches the name of a field says its size. Depth and tokens first:
COUNTS = [
    (r"(.*_)?layers|n_layers?|(.*_)?depth|num_blocks|(.*_)?num_(hidden_)?layers(_.*)?", 2),
    (r"num_(encoder|decoder|hidden)_(layers|blocks)", 2),
    (r"(.*_)?vocab_size(_.*)?|.*_vocab", VOCABULARY),
    (r"max_(.*_)?position(s|_embeddings)|n_positions|n_ctx|max_seq_len(gth)?|max_.*_len", 64),
    (r"image_size|img_size|pretrain_image_size", 32),
    (r"num_experts_per_tok(en)?|(.*_)?top_?k|num_selected_experts|moe_topk", 2),
    (r"n_group|topk_group|num_expert_groups?|n_shared_experts", 1),
    (r"(.*_)?(num|n)_(.*_)?experts", 4),
    (r"sliding_window|attention_window|local_attention|attention_chunk_size", 6),
    (r"num_queries|num_object_queries|num_query_tokens|num_latents|two_stage_num_proposals", 10),
]
WIDTHS = [
    (r"(.*_)?(key_value|kv)_heads", 2),
    (r"(.*_)?num_heads?|(.*_)?attention_heads|n_heads?|index_n_heads|num_attn_heads", 4),
    (r"(.*_)?head_dim|d_kv|d_head|head_size|.*_head_size", 8),
    (r"(.*_)?lora_rank(_.*)?", 16),
    (r"(.*_)?intermediate_size(_.*)?|(.*_)?ffn_dim|d_ff|mlp_dim|n_inner|(.*_)?ffn_hidden_size", 48),
    (r"(.*_)?hidden_size|d_model|n_embd|(.*_)?embed_dim|(.*_)?hidden_dim|dim", 32),
    (r"(.*_)?embedding_size|projection_dim|word_embed_proj_dim|(.*_)?proj(ection)?_(dim|size)", 32),
]
HEADS = ("num_attention_heads", "n_heads", "num_heads")
KEY_HEADS = ("num_key_value_heads", "num_kv_heads")
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
# Ways to make a configuration small, tried in turn until a model can be built and called.
WAYS: list[dict[str, Any]] = [
    {},
    {"sections": True},
    {"filled": {"head_dim": 8, "num_key_value_heads": 2, "n_group": 1, "topk_group": 1}},
    {"widths": False},
]
# What a model type needs beyond.
SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
    "chameleon": {"vocabulary_map": {"<image>": 5}},
    "codegen": {"rotary_dim": 8},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "donut-swin": {"window_size": 2},
    "emu3": {"vocabulary_map": {"<image>": 5}},
    "ernie4_5_moe": {"moe_k": 2},
    "esm": {"vocab_size": VOCABULARY},
    "falcon_h1": {
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "flaubert": {"emb_dim": 32, "n_words": VOCABULARY},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "granite_speech5_ctc": {"context_size": 16},
    "granite_speech5_encoder": {"context_size": 16},
    "nemotron": {"head_dim": 8},
    "swin": {"window_size": 2},
    "swinv2": {"window_size": 2},
    "xlm": {"emb_dim": 32, "n_words": VOCABULARY},
}


class TokenIds:
    """Ids of special tokens, each of its own, and one for a name throughout a configuration."""

    def __init__(self):
        self.ids = dict(TOKENS)

    def __getitem__(self, name: str) -> int:
        return self.ids.setdefault(name, VOCABULARY - 1 - len(self.ids))


def small_size(name: str, size: int, widths: bool) -> int:
    for expression, small in COUNTS + WIDTHS * widths:
        if re.fullmatch(expression, name):
            return min(size, small)
    return size


def small_value(name: str, value: Any, tokens: TokenIds, widths: bool) -> Any:
    if re.fullmatch(r".*token_(id|index)", name):
        return tokens[name] if isinstance(value, int) else value
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
        return value
    if isinstance(value, int):
        return small_size(name, value, widths)
    if re.fullmatch(r"depths|.*_depths|.*num_layers|layers?_per_.*", name):
        return type(value)(min(depth, 2) for depth in value)
    return value


def kinds_of_layers(config: PreTrainedConfig) -> int:
    """How many layers it takes to have each kind once."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or []
    kinds = [str(kind) for kind in kinds]
    return max([2, *(kinds.index(kind) + 1 for kind in set(kinds))])


def tiny_config(
    config_class: type[PreTrainedConfig],
    tokens: TokenIds | None = None,
    widths: bool = True,
    sections: bool = False,
    filled: dict[str, Any] | None = None,
) -> PreTrainedConfig:
    """The default configuration of a class with small sizes.

    Fields that are None by default are computed from the others, and stay so.
    """
    tokens = tokens or TokenIds()
    default = config_class()
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}
    # Heads that differ from stage to stage need the widths of the stages.
    widths = widths and not any(
        isinstance(getattr(default, name, 0), (list, tuple)) for name in HEADS
    )
    values: dict[str, Any] = {}
    for field in fields.values():
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        small = small_value(field.name, value, tokens, widths)
        if value is None and filled:
            small = filled.get(field.name)
        if small is not value and value is not dataclasses.MISSING:
            values[field.name] = small
    if "num_hidden_layers" in values:
        values["num_hidden_layers"] = min(kinds_of_layers(default), default.num_hidden_layers)
    for heads in HEADS:
        for name in KEY_HEADS:
            # As many heads of keys as of queries where these are equal in the model, too.
            if (
                heads in values
                and name in values
                and getattr(default, heads) == getattr(default, name)
            ):
                values[name] = values[heads]
    for name in config_class.sub_configs:
        part = getattr(default, name, None)
        if isinstance(part, PreTrainedConfig) and name in fields:
            values[name] = tiny_config(type(part), tokens, widths, sections, filled).to_dict()
    values |= SPECIAL.get(config_class.model_type, {})
    config = config_class(**values)
    fit_rotation(config, sections)
    return config


def fit_rotation(config: PreTrainedConfig, sections: bool) -> None:
    """Let the sections of a rotary embedding for images add up to half a head again."""
    parameters = getattr(config, "rope_parameters", None)
    if isinstance(parameters, dict) and (sections or "mrope_section" in parameters):
        size = getattr(config, "head_dim", None)
        size = size or config.hidden_size // getattr(config, "num_attention_heads", 4)
        half = int(size * parameters.get("partial_rotary_factor", 1.0)) // 2
        parameters["mrope_section"] = [half - 2 * (half // 3), half // 3, half // 3]


def find_size(config: PreTrainedConfig, *names: str, default: int) -> int:
    """The first of some fields that a configuration, or one of its parts, has."""
    parts = [config]
    for part in parts:
        parts += [
            inside for name in part.sub_configs if (inside := getattr(part, name, None)) is not None
        ]
    for name in names:
        for part in parts:
            value = getattr(part, name, None)
            while isinstance(value, (list, tuple)) and value:
                value = value[0]
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return default


def required_names(forward: Any) -> set[str]:
    return {
        name
        for name, parameter in inspect.signature(forward).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    }


def token_ids(length: int, seed: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 40, (2, length), generator=generator)


def padding_mask(length: int, padded: bool, left: bool = False) -> torch.Tensor:
    """Ones, with zeros for the last (or first) third of the first sequence."""
    mask = torch.ones(2, length, dtype=torch.int64)
    if padded:
        mask[0, length - length // 3 :] = 0
    return mask.flip(1) if left else mask


INPUT_WAYS = range(4)


def tiny_inputs(model: torch.nn.Module, padded: bool, way: int) -> dict[str, Any]:
    """Arguments of a model's forward by their names: two sequences, the first of them shorter.

    Even ways are what a model requires, odd ones all that it takes; the last two have sounds and
    pictures in other shapes.

    Raises
    ------
    LookupError
        If something is required that is not known here.
    """
    config, generator = model.config, torch.Generator().manual_seed(7)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    image = find_size(config, "image_size", default=32)
    channels = find_size(config, "num_channels", "in_channels", "in_chans", default=3)
    bins = find_size(
        config, "num_mel_bins", "feature_size", "input_feat_per_channel",
        "feature_projection_input_dim", "input_dim", default=80,
    )  # fmt: skip
    patch = find_size(config, "patch_size", default=14)
    frames = find_size(config, "num_frames", "frames_per_clip", default=2)
    merge = find_size(config, "spatial_merge_size", default=2)
    temporal = find_size(config, "temporal_patch_size", default=1)
    length = 2 * find_size(config, "max_source_positions", default=32)
    grid = torch.tensor([[1, 2 * merge, 2 * merge], [1, 2 * merge, merge]])
    other = way >= 2
    picture = (channels, image, image)
    makers = {
        "input_ids": lambda: token_ids(LENGTH),
        "decoder_input_ids": lambda: token_ids(LENGTH - 3),
        "attention_mask": lambda: padding_mask(LENGTH, padded),
        "decoder_attention_mask": lambda: padding_mask(LENGTH - 3, padded),
        "pixel_values": lambda: numbers(2, *(frames,) * other, *picture),
        "pixel_values_videos": lambda: numbers(2, frames, *picture),
        "input_features": lambda: numbers(2, *((length, bins) if other else (bins, length))),
        "input_features_mask": lambda: torch.ones(2, length).bool(),
        "input_values": lambda: numbers(2, *(1,) * other, 4000),
        "hidden_states": lambda: numbers(
            int(grid.prod(-1).sum()), channels * temporal * patch * patch
        ),
        "grid_thw": lambda: grid,
        "bbox": lambda: torch.arange(4).expand(2, LENGTH, 4).contiguous(),
        "past_values": lambda: numbers(2, 64),
    }
    required = required_names(model.forward)
    if unknown := sorted(required - set(makers)):
        raise LookupError(f"needs {unknown[0]}")
    first = model.main_input_name
    wanted = {first, "decoder_input_ids"} | (set(makers) if way % 2 else required)
    if first in ("input_ids", "decoder_input_ids"):
        wanted |= {"attention_mask", "decoder_attention_mask"}
    names = inspect.signature(model.forward).parameters
    return {name: make() for name, make in makers.items() if name in wanted and name in names}
