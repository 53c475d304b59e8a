"""Every kind of model of transformers with fastllm's attention and with "eager", side by side.

python tests/integrations/transformers/torch/sweep.py [--write] [MODEL_TYPE...]
"""

import argparse
import inspect
import multiprocessing
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import torch
import transformers
from tiny_models import (
    INPUT_WAYS,
    WAYS,
    padding_mask,
    tiny_config,
    tiny_inputs,
    token_ids,
)
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from fastllm.integrations import transformers_attention
from fastllm.integrations.transformers import register

TOLERANCE = 1e-5
LARGEST = 2e7
NAME = "fastllm"
# What a refusal says, whatever else it says.
REFUSAL = "load it with attn_implementation="
GENERATING = (
    modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING,
    modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING,
)


class Row(NamedTuple):
    """What was found of a model class.

    `outcome` is "equal", "refused" or "not tried", and otherwise what is wrong.
    """

    model_class: str
    outcome: str
    why: str = ""


def model_types() -> list[str]:
    return list(modeling_auto.MODEL_MAPPING_NAMES)


def classes_of(model_type: str) -> Iterator[type]:
    """The bare model, and one that generates."""
    config_class = CONFIG_MAPPING[model_type]
    for mappings in ((modeling_auto.MODEL_MAPPING,), GENERATING):
        for mapping in mappings:
            if config_class in mapping:
                found = mapping[config_class]
                yield found[0] if isinstance(found, (list, tuple)) else found
                break


def sweep(types: list[str]) -> list[Row]:
    """The rows of some model types, made on all processors."""
    processors = os.cpu_count() or 1
    with multiprocessing.get_context("spawn").Pool(processors, prepare) as pool:
        rows = pool.imap_unordered(examine_type, types, chunksize=4)
        return without_repeats(row for of_type in rows for row in of_type)


def without_repeats(rows: Iterable[Row]) -> list[Row]:
    """Sorted, and a class that several model types share once, by a type for which it is tried."""
    rows = sorted(set(rows))
    tried = {row.model_class for row in rows if row.outcome != "not tried"}
    first = {row.model_class: row for row in reversed(rows)}
    return [
        row
        for row in rows
        if row.outcome != "not tried"
        or (row.model_class not in tried and row is first[row.model_class])
    ]


def prepare() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    torch.set_num_threads(1)
    register(NAME)
    transformers.AttentionInterface.register(NAME, counted_attention)


calls = 0


@wraps(transformers_attention.attention_forward)
def counted_attention(*args: Any, **kwargs: Any) -> Any:
    global calls
    calls += 1
    return transformers_attention.attention_forward(*args, **kwargs)


def examine_type(model_type: str) -> list[Row]:
    try:
        classes = list(dict.fromkeys(classes_of(model_type)))
    except Exception as error:
        return [Row(model_type, "not tried", reason(error))]
    return [examine(model_class, CONFIG_MAPPING[model_type]) for model_class in classes]


def examine(model_class: type, config_class: type) -> Row:
    """What becomes of a model class: the first way to build and call it decides."""
    name, why = model_class.__name__, ""
    for way in WAYS:
        try:
            model = build(model_class, config_class, way, "eager")
        except Exception as error:
            why = why or reason(error)
            continue
        if row := refused(model, model_class, config_class, way):
            return row
        make_lively(model)
        for input_way in INPUT_WAYS:
            try:
                runs = list(all_runs(model, input_way, "eager"))
                nan = any(has_nan(run) for run in runs)
                if nan:
                    runs = list(all_runs(model, input_way, "sdpa"))
            except Exception as error:
                why = why or reason(error)
                continue
            row = compare(model, runs, name)
            return (
                row._replace(why='to "sdpa", as "eager" gives NaN') if nan and not row.why else row
            )
    return Row(name, "not tried", why)


def build(
    model_class: type, config_class: type, way: dict[str, Any], implementation: str
) -> torch.nn.Module:
    config = tiny_config(config_class, **way)
    config._attn_implementation = implementation
    if implementation == "eager" and size_of(model_class, config) > LARGEST:
        raise ValueError("cannot be made small by the names of its sizes alone")
    torch.manual_seed(0)
    return model_class(config).eval()


def size_of(model_class: type, config: Any) -> int:
    try:
        with torch.device("meta"):
            return sum(weight.numel() for weight in model_class(config).parameters())
    except (RuntimeError, NotImplementedError):  # reads numbers while it is built
        return 0


def refused(
    model: torch.nn.Module, model_class: type, config_class: type, way: dict[str, Any]
) -> Row | None:
    """A row if the model is refused: when it is built, and in the same words when it is told."""
    messages = []
    for load in (
        lambda: build(model_class, config_class, way, NAME),
        lambda: model.set_attn_implementation(NAME),
    ):
        try:
            load()
            messages.append("")
        except (ValueError, NotImplementedError) as error:
            if REFUSAL not in str(error):
                raise
            messages.append(str(error))
    name = model_class.__name__
    if not any(messages):
        return None
    if not all(messages):
        return Row(name, "refused in one of two ways to load", " / ".join(messages))
    if model.config._attn_implementation != "eager":
        return Row(name, "changed by a refusal", messages[1])
    return Row(name, "refused", messages[0].split(": load it")[0])


class Run(NamedTuple):
    """A call, or several with one cache, and where its results are not padding."""

    call: Any
    expected: Any
    masks: list[torch.Tensor]


def all_runs(model: torch.nn.Module, input_way: int, implementation: str) -> Iterator[Run]:
    """The calls of a model, with what another implementation makes of them."""
    model.set_attn_implementation(implementation)
    for padded in (False, True):
        inputs = tiny_inputs(model, padded, input_way)
        masks = [value.bool() for name, value in inputs.items() if name.endswith("attention_mask")]

        def call(inputs: dict[str, Any] = inputs) -> Any:
            return model(**inputs)

        yield Run(call, quiet(call), masks)
        if takes_cache(model) and "input_ids" in inputs:

            def cached(padded: bool = padded) -> Any:
                return with_cache(model, padded)

            yield Run(cached, quiet(cached), [])


def has_nan(run: Run) -> bool:
    return any(tensor.isnan().any().item() for tensor in tensors_of(run.expected))


def quiet(call: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        return call()


def takes_cache(model: torch.nn.Module) -> bool:
    names = inspect.signature(model.forward).parameters
    return (
        model.can_generate()
        and {"input_ids", "attention_mask", "use_cache", "logits_to_keep"} <= set(names)
        and "decoder_input_ids" not in names
    )


def with_cache(model: torch.nn.Module, padded: bool) -> list[torch.Tensor]:
    """Logits of eight tokens, of which three are kept, of three more, and of one more."""
    ids, mask = token_ids(12), padding_mask(12, padded, left=True)
    cache_name = (
        "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    )
    cache, logits = {}, []
    for begin, end in ((0, 8), (8, 11), (11, 12)):
        output = model(
            input_ids=ids[:, begin:end],
            attention_mask=mask[:, :end],
            use_cache=True,
            logits_to_keep=3 if begin == 0 else 0,
            **cache,
        )
        logits.append(output.logits)
        if output.get(cache_name) is None:  # an encoder that could be a decoder
            break
        cache = {cache_name: output[cache_name]}
    return logits


def compare(model: torch.nn.Module, runs: list[Run], name: str) -> Row:
    global calls
    model.set_attn_implementation(NAME)
    for run in runs:
        calls = 0
        try:
            actual = quiet(run.call)
        except Exception as error:
            return Row(name, "fails", reason(error))
        difference = largest_difference(run.expected, actual, run.masks)
        if not difference < TOLERANCE:
            return Row(name, "different", f"{difference:.1e}")
        if not calls:
            return Row(name, "never called")
    return Row(name, "equal")


def make_lively(model: torch.nn.Module) -> None:
    """Give a model weights by which attention matters, whatever it is begun with."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator).to(weight.dtype)
            if weight.ndim >= 2:
                weight.copy_(noise * max(1, weight[0].numel()) ** -0.5)
            elif "norm" not in name.lower() or name.endswith("bias"):
                weight.add_(noise * 0.1)


def tensors_of(output: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors of an output."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, (dict, list, tuple)):
        for part in output.values() if isinstance(output, dict) else output:
            yield from tensors_of(part)


def largest_difference(expected: Any, actual: Any, masks: list[torch.Tensor]) -> float:
    """How far two outputs are apart but for padding, against 1 or the largest number."""
    worst = 0.0
    for one, other in zip(tensors_of(expected), tensors_of(actual), strict=True):
        for mask in masks:
            if one.shape[:2] == mask.shape:
                one, other = one[mask], other[mask]
                break
        same = (one == other) | (one.isnan() & other.isnan())
        if not same.all():
            size = one.abs().masked_fill(~one.isfinite(), 1.0).clamp(min=1.0).max().item()
            difference = (one - other)[~same].abs().max().item() / size
            worst = max(worst, difference) if difference == difference else float("inf")
    return worst


def reason(error: Exception) -> str:
    """The first words of an error."""
    text = " ".join(str(error).split()) or type(error).__name__
    if found := re.search(r"requires the (\w+) library", text):
        return f"needs the {found[1]} library"
    if isinstance(error, LookupError) and text.startswith("needs"):
        return text
    return f"{type(error).__name__}: {text}"[:100]


OUTCOMES = {
    "equal": "Equal to eager",
    "refused": "Refused",
    "not tried": "Not tried",
}
PAGE = Path(__file__).parents[4] / "docs" / "transformers-models.md"


def page(rows: list[Row]) -> str:
    """The rows as a page of the documentation."""
    lines = [
        "# Models of transformers",
        "",
        f"Model classes of transformers {transformers.__version__} with "
        '`attn_implementation="fastllm"`: each bare model, and the',
        "one that generates, from a small random configuration in float32, without padding and "
        "with it; where the class takes",
        "them, with a cache (8 tokens, 3 more, 1 more) and `logits_to_keep=3`. "
        "`python tests/integrations/transformers/torch/sweep.py --write`",
        "makes this page; the test beside it makes it again and compares.",
    ]
    for outcome, title in OUTCOMES.items():
        found = [row for row in rows if row.outcome == outcome]
        lines += ["", f"## {title}: {len(found)}", ""]
        if outcome == "equal":
            lines += [
                f'Every output is within {TOLERANCE:g} of that of "eager" (times its largest '
                "number, where that is beyond 1).",
                "",
                *textwrap.wrap(", ".join(named(row) for row in found) + ".", 130),
            ]
            continue
        if outcome == "refused":
            lines += [
                "Loading it raises an error that says this, as does `set_attn_implementation`:",
                "",
            ]
        else:
            lines += ["Not made small and called by the rules of the sweep, because of this:", ""]
        lines += ["| class | reason |", "|---|---|"]
        lines += [f"| {row.model_class} | {row.why.replace('|', chr(92) + '|')} |" for row in found]
    return "\n".join(lines) + "\n"


def named(row: Row) -> str:
    return f"{row.model_class} ({row.why})" if row.why else row.model_class


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*", help="model types, all by default")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    rows = sweep(arguments.types or model_types())
    if arguments.write:
        PAGE.write_text(page(rows), "utf-8")
    for row in rows:
        if not arguments.write or row.outcome not in OUTCOMES:
            print(*row, sep=" | ")
