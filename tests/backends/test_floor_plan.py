"""The floor plan: each part of the package imports only what lies below it, and nothing in circles.

`FLOORS` is the drawing, from the ground up. A part is a folder of the package or a file in it;
parts on one floor do not know each other. What is above the engines reaches them through
`fastllm._backend`, and the two engines know nothing of one another: that keeps the oracle honest.
"""

import ast
from pathlib import Path

import pytest
from backends.arrows import NODES, arrows, circles

FLOORS = [
    ["patterns"],
    ["checks"],
    ["corpus"],
    ["api"],
    ["reference", "fast"],
    ["_backend"],
    ["formats"],
    ["tokenizers"],
    ["vocabularies", "kv_cache"],
    ["__init__"],
    ["compat", "book", "integrations", "_machine", "_pyinstaller"],
    ["explain"],
    ["cli"],
    ["__main__"],
]
HEIGHT = {part: height for height, parts in enumerate(FLOORS) for part in parts}


@pytest.fixture(scope="module")
def drawn():
    return arrows()


def part(node):
    return node.split("/")[0]


def test_every_file_has_a_floor():
    assert {part(node) for node in NODES} <= set(HEIGHT)


@pytest.mark.parametrize("name", sorted(HEIGHT))
def test_imports_go_down(name, drawn):
    upward = [
        f"{start} imports {end}"
        for start in sorted(drawn)
        if part(start) == name
        for end in sorted(drawn[start])
        if part(end) != name and HEIGHT[part(end)] >= HEIGHT[name]
    ]
    assert upward == []


def test_nothing_imports_in_circles(drawn):
    assert [" <-> ".join(circle) for circle in circles(drawn)] == []


def test_hidden_imports_are_seen(drawn):
    assert "fast/tokenization" in drawn["_backend"]  # a name in a string
    assert "kv_cache" in drawn["__init__"]  # in a function
    compiled = "fast/_tokenization/"
    assert compiled + "split/split.pxi" in drawn[compiled + "_kernels"]
    assert compiled + "split/splitter.h" in drawn[compiled + "split/split.pxi"]
    assert compiled + "split/kernels.h" in drawn[compiled + "split/dispatch.h"]  # by a macro


TESTS = Path(__file__).parents[1]
WITHOUT_EXTENSION = ("fastllm.fast.attention", "fastllm.fast._attention")
ATTENTION = {"scaled_dot_product_attention", "self_attention", "softmax"}


def _names_imported(path):
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _needs_the_extension(name):
    inside = name.removeprefix("fastllm.fast")
    if inside == name or inside.removeprefix(".") in ATTENTION:
        return False
    return inside[:1] in ("", ".") and not name.startswith(WITHOUT_EXTENSION)


def test_tests_that_import_the_extension_lie_in_folders_named_fast():
    """Elsewhere they could not be collected where there is only the reference."""
    wrong = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in sorted(TESTS.rglob("*.py"))
        if "fast" not in path.relative_to(TESTS).parts
        for name in _names_imported(path)
        if _needs_the_extension(name)
    ]
    assert wrong == []
