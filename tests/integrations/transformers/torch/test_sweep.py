"""Every kind of model of transformers: equal to "eager", or refused; and the page that says so.

The sweep takes minutes: ``pytest -m sweep tests/integrations``.
"""

from collections import Counter

import pytest
import torch
import transformers
from sweep import (
    OUTCOMES,
    PAGE,
    examine_type,
    largest_difference,
    model_types,
    page,
    prepare,
    sweep,
)

from fastllm.integrations import transformers_attention
from fastllm.integrations.transformers import register


@pytest.fixture(scope="module")
def rows():
    return sweep(model_types())


@pytest.fixture
def alone():
    """What the sweep sets in its processes, in this one."""
    threads = torch.get_num_threads()
    prepare()
    yield
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_warning()
    register()


@pytest.mark.sweep
def test_no_model_is_silently_different(rows):
    assert [row for row in rows if row.outcome not in OUTCOMES] == []


@pytest.mark.sweep
def test_most_models_are_tried_and_all_others_have_a_reason(rows):
    counts = Counter(row.outcome for row in rows)
    assert counts["equal"] >= 530
    assert counts["refused"] >= 160
    assert all(row.why for row in rows if row.outcome != "equal")


@pytest.mark.sweep
def test_page_is_what_the_sweep_finds(rows):
    assert PAGE.read_text("utf-8") == page(rows)


def test_sweep_finds_a_difference():
    one, other = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    other[0, 2] = 0.5
    assert largest_difference([one], {"context": one.clone()}, []) == 0.0
    assert largest_difference([one], [other], []) == 0.5
    padding = torch.tensor([[True, True, False], [True, True, True]])
    assert largest_difference([one], [other], [padding]) == 0.0
    assert largest_difference(one + 1000.0, other + 1000.0, []) == pytest.approx(5e-4)
    assert largest_difference(one, other * float("nan"), []) == float("inf")
    with pytest.raises(ValueError):
        largest_difference([one], [one, one], [])


@pytest.mark.parametrize(
    ("model_type", "outcome"),
    {
        "clip": "equal",  # two parts
        "deepseek_v32": "refused",  # passes indices=
        "deepseek_v4": "refused",  # changes its mask
        "falcon": "refused",  # a table of classes
        "inkling2": "equal",  # a sink for each query
        "mpt": "refused",  # its own code
        "resnet": "refused",  # no attention
        "t5": "equal",  # biases
    }.items(),
)
def test_sweep_examines(alone, model_type, outcome):
    assert {row.outcome for row in examine_type(model_type)} == {outcome}


def test_sweep_sees_a_model_that_sees_the_future(alone, monkeypatch):
    """One kind of model as it is, and with a mask left out."""
    assert {row.outcome for row in examine_type("llama")} == {"equal"}
    attend = transformers_attention.attention_forward

    def without_mask(module, query, key, value, attention_mask, **kwargs):
        return attend(module, query, key, value, None, **{**kwargs, "is_causal": False})

    monkeypatch.setattr(transformers_attention, "attention_forward", without_mask)
    assert {row.outcome for row in examine_type("llama")} == {"different"}
