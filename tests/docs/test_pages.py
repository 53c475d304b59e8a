"""The examples of README and docs are run, and their links lead somewhere."""

import doctest
import importlib
import importlib.util
import os
import re
from pathlib import Path

import pytest
from formats.shapes import SHAPES

ROOT = Path(__file__).parents[2]
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
]
NEED_FAST = {"docs/reference-and-fast.md"}
NEED_RAY = {"docs/scale.md"}
BACKENDS = os.environ.get("FASTLLM_TEST_BACKENDS", "reference,fast").split(",")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def blocks(page):
    """The line and the text of each block of Python."""
    text = (ROOT / page).read_text("utf-8")
    return [(text[: match.start(1)].count("\n"), match[1]) for match in BLOCK.finditer(text)]


def runnable_pages():
    return [
        page
        for page in PAGES
        if ">>> " in (ROOT / page).read_text("utf-8")
        and ("fast" in BACKENDS or page not in NEED_FAST)
        and (importlib.util.find_spec("ray") or page not in NEED_RAY)
    ]


@pytest.mark.parametrize("page", runnable_pages())
def test_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    parser, names, failures = doctest.DocTestParser(), {}, []
    for line, block in blocks(page):
        assert block.startswith(">>> "), f"{page}, line {line}: a block that nobody runs"
        test = parser.get_doctest(block, names, f"{page}, block", page, line)
        runner.run(test, out=failures.append, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0, "\n".join(failures)


def headings(page):
    """The anchors of a page, as GitHub makes them."""
    text = FENCED.sub("", page.read_text("utf-8"))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    text = FENCED.sub("", (ROOT / page).read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / file).resolve() if file else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in headings(target), f"{page}: {link}"


HISTORY = {"CHANGELOG.md"}  # names files as they were


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_files_that_pages_name(page):
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"`((?:fastllm|tests|bench|docs|\.ci)/[\w./*-]+)`", text)
    missing = [name for name in named if not any(ROOT.glob(name))]
    assert not missing, f"{page} names what is not there"


def test_modules_have_moved_where_the_changelog_says():
    moved = re.findall(
        r"^\| `([\w.]+)` \| `([\w.]+)` \|$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert len(moved) > 30
    for old, new in moved:
        assert importlib.util.find_spec(new), new
        assert not Path(ROOT, *old.split(".")).with_suffix(".py").exists(), old


def test_the_two_commands_of_the_readme():
    code = FENCED.findall((ROOT / "README.md").read_text("utf-8"))
    commands = [block for block in code if "pip install -e" in block]
    assert commands[:2] == [
        "```\npip install -e '.[cli]' && fastllm demo\n```",
        "```\npip install -e '.[test]' && pytest\n```",
    ]


def test_the_arrows_are_those_of_the_sources():
    spec = importlib.util.spec_from_file_location("draw", ROOT / "docs/internals/draw_arrows.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    assert doctest.testmod(draw).failed == 0
    page = (ROOT / "docs/internals/README.md").read_text("utf-8")
    assert draw.picture() in page, "python docs/internals/draw_arrows.py"


def test_the_automata_are_drawn_as_they_are():
    spec = importlib.util.spec_from_file_location("draw_automata", ROOT / "docs/draw_automata.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    for path, drawn in draw.drawings().items():
        assert path.read_text("utf-8") == drawn, "python docs/draw_automata.py"


def test_walks_name_functions_that_are_there():
    """Each step of the walks: a file, and what is in it."""
    page = (ROOT / "docs/internals/README.md").read_text("utf-8")
    steps = re.findall(r"^\| \d+ \| `([^`]+)`[^|]* \| ([^|]+) \|", page, re.MULTILINE)
    assert len(steps) > 30
    for file, functions in steps:
        source = (ROOT / file).read_text("utf-8")
        for function in re.findall(r"`([^`]+)`", functions):
            name = re.split(r"\.|::", function)[-1]
            assert re.search(rf"\b{name}\b", source), f"{file}: {function}"


def test_headlines_are_those_of_the_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    headlines = importlib.import_module("bench.headlines")
    plot = importlib.import_module("bench.plot")
    rows = list(headlines.compared((ROOT / "docs/benchmarks.md").read_text("utf-8")))
    assert len(rows) == len(headlines.HEADLINES)
    assert any(map(headlines.is_ahead, rows)), "where others are ahead belongs there, too"
    assert headlines.headline_table(rows) in (ROOT / "README.md").read_text("utf-8")
    drawn = plot.ratios([(row.what, row.other, headlines.times(row)) for row in rows])
    assert drawn == (ROOT / "docs/pictures/headlines.svg").read_text("utf-8")


def test_the_page_on_files_names_every_shape():
    page = (ROOT / "docs/tokenizer-files.md").read_text("utf-8")
    named = re.findall(r"`([^`]+)`", page.split("## What is refused")[0])
    assert [name for name in SHAPES if name not in named] == []
