"""Build the walkthroughs as notebooks: ``python docs/build_notebooks.py [FOLDER]``.

Needs the extra ``docs``. The pages are written once, as text with ``>>>`` examples that the tests
run. Here text becomes cells of text, and each example that shows something ends a cell of code,
which already holds what the page shows.
"""

import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat.v4 as nbformat_v4
from nbformat import write

HERE = Path(__file__).parent
WALKTHROUGHS = ("tokenization", "automaton", "attention")
FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    """Code of a page, what the page shows for it, and whether that is an exception."""

    source: str
    output: str
    raises: bool


def examples(block: str) -> Iterator[Example]:
    """The examples of a block of code; those that show nothing are joined to the next.

    >>> list(examples(">>> x = 1\\n>>> x + 1\\n2\\n"))
    [Example(source='x = 1\\nx + 1', output='2\\n', raises=False)]
    """
    lines: list[str] = []
    for example in doctest.DocTestParser().get_examples(block):
        lines.append(example.source.rstrip("\n"))
        if example.want:
            yield Example("\n".join(lines), example.want, example.exc_msg is not None)
            lines = []
    if lines:
        yield Example("\n".join(lines), "", False)


def notebook(page: str) -> Any:
    """The notebook of a page of Markdown."""
    made = nbformat_v4.new_notebook()
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    for number, part in enumerate(FENCE.split(page)):
        if number % 2:
            made.cells += [_code_cell(example) for example in examples(part)]
        elif part.strip():
            made.cells.append(nbformat_v4.new_markdown_cell(part.strip()))
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"  # the same page gives the same file
    return made


def _code_cell(example: Example) -> Any:
    cell = nbformat_v4.new_code_cell(example.source)
    if example.raises:
        cell.metadata["tags"] = ["raises-exception"]
    elif example.output:
        output = example.output.replace("<BLANKLINE>\n", "\n")
        cell.outputs = [nbformat_v4.new_output("stream", text=output)]
    return cell


def build(folder: Path) -> list[Path]:
    """Write the notebooks of all walkthroughs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in WALKTHROUGHS:
        page = (HERE / f"{name}.md").read_text("utf-8")
        paths.append(folder / f"{name}.ipynb")
        write(notebook(page), paths[-1])
    return paths


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "notebooks"):
        print(path)
