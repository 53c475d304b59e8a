"""The notebooks of the walkthroughs run from top to bottom, and show what the pages show."""

import doctest
import importlib.util
from pathlib import Path

import nbclient
import pytest

ROOT = Path(__file__).parents[2]


def load_builder():
    spec = importlib.util.spec_from_file_location(
        "build_notebooks", ROOT / "docs/build_notebooks.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDER = load_builder()


def test_examples_of_the_builder():
    assert doctest.testmod(BUILDER).failed == 0


def shown(cell):
    """All that a cell shows, as text."""
    return "".join(
        output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
        for output in cell.outputs
        if output["output_type"] in ("stream", "execute_result")
    )


@pytest.mark.filterwarnings("ignore")  # of the libraries that run it
@pytest.mark.parametrize("name", BUILDER.WALKTHROUGHS)
def test_notebook_runs_and_shows_what_the_page_does(name, tmp_path):
    made = BUILDER.notebook((ROOT / "docs" / f"{name}.md").read_text("utf-8"))
    expected = [shown(cell) for cell in made.cells if cell.cell_type == "code"]
    nbclient.NotebookClient(made, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    checker = doctest.OutputChecker()
    for cell, want in zip(cells, expected, strict=True):
        if "raises-exception" in cell.metadata.get("tags", ()):
            assert cell.outputs[-1]["output_type"] == "error"
            continue
        got = shown(cell)
        same = checker.check_output(want.strip(), got.strip(), doctest.NORMALIZE_WHITESPACE)
        assert same, f"{cell.source}\n\nshows\n{got}\ninstead of\n{want}"
    assert len(cells) > 15


def test_notebooks_are_written_and_are_the_same_each_time(tmp_path):
    paths = BUILDER.build(tmp_path / "notebooks")
    once = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == [f"{name}.ipynb" for name in BUILDER.WALKTHROUGHS]
    assert [path.read_bytes() for path in BUILDER.build(tmp_path / "notebooks")] == once
