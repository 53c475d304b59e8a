"""The two backends are twins: names, order, parameters, docstrings."""

import ast
import doctest
import importlib
import inspect
import pickle

import pytest

import fastllm
from fastllm import _backend, fast, reference
from fastllm.fast import attention as fast_attention
from fastllm.fast import tokenization as fast_bpe
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe

TWINS = [(reference_bpe, fast_bpe), (reference_attention, fast_attention)]
NAMES = [(r, f, name) for r, f in TWINS for name in r.__all__]


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def public_methods(cls):
    return [name for name in dir(cls) if not name.startswith("_")]


def test_backends_have_the_same_names():
    assert sorted(reference.__all__) == sorted(fast.__all__)
    for slow, quick in TWINS:
        assert slow.__all__ == quick.__all__
    assert sorted(reference.__all__) == sorted(n for slow, _ in TWINS for n in slow.__all__)


@pytest.mark.parametrize(("slow", "quick", "name"), NAMES)
def test_backends_have_the_same_parameters_and_docstrings(slow, quick, name):
    one, two = getattr(slow, name), getattr(quick, name)
    assert one is not two
    assert parameters(one) == parameters(two)
    assert one.__doc__
    assert one.__doc__ == two.__doc__


def run_examples(function, backend):
    """Run the examples of a docstring, which import from fastllm, on one backend."""
    source = inspect.getdoc(function).replace("from fastllm import", f"from {backend} import")
    test = doctest.DocTestParser().get_doctest(source, {}, function.__name__, None, 0)
    report = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert not report, "".join(report)
    return len(test.examples)


@pytest.mark.parametrize("backend", ["fastllm.reference", "fastllm.fast"])
@pytest.mark.parametrize("name", reference.__all__)
def test_examples_of_public_names_hold_on_each_backend(backend, name):
    assert run_examples(getattr(importlib.import_module(backend), name), backend) >= 2


@pytest.mark.parametrize("backend", ["fastllm.reference", "fastllm.fast"])
@pytest.mark.parametrize("name", reference.__all__)
def test_public_names_can_be_pickled(backend, name):
    function = getattr(importlib.import_module(backend), name)
    assert pickle.loads(pickle.dumps(function)) == function


def test_public_functions_are_bound_in_the_same_order():
    for slow, quick in TWINS:
        orders = [
            [name for name in vars(module) if inspect.ismethod(getattr(module, name))]
            for module in (slow, quick)
        ]
        assert orders[0] == orders[1]
        assert len(orders[0]) >= 3


@pytest.mark.parametrize("name", public_methods(reference_bpe.BytePairEncoder))
def test_encoders_have_the_same_methods(name):
    one = getattr(reference_bpe.BytePairEncoder, name)
    two = getattr(fast_bpe.BytePairEncoder, name)
    assert parameters(one) == parameters(two)
    assert one.__doc__
    assert one.__doc__ == two.__doc__


def test_encoders_have_no_other_methods():
    quick = {name for name in dir(fast_bpe.BytePairEncoder) if not name.startswith("_")}
    assert quick == set(public_methods(reference_bpe.BytePairEncoder))


def test_reference_imports_nothing_of_fast():
    for module in (reference, reference_bpe, reference_attention):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            assert not any(n.startswith(("fastllm.fast", "numba", "Cython")) for n in names)


def test_package_serves_the_chosen_backend():
    assert fastllm.backends() == {"bpe": "fast", "attention": "fast"}
    for name in reference.__all__:
        assert getattr(fastllm, name) is getattr(fast, name)
    assert _backend.bpe is fast_bpe


def test_package_names_exist():
    for name in fastllm.__all__:
        assert getattr(fastllm, name) is not None
