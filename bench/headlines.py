"""The few figures that the README shows, taken from the tables of ``docs/benchmarks.md``.

``python -m bench.report`` writes them, so that the two never differ. Rows in which another library
is ahead belong here as well.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Headline(NamedTuple):
    """A cell of a table in ``docs/benchmarks.md``, and what the README says of it."""

    what: str
    table: str
    row: str  # how its first cell begins
    other: str  # the column compared with fastllm's
    heading: str = ""  # how the line above the table begins, where a name has several tables


ARRAYS = "Arrays, document by document, warm"
CL100K = "encode English, cl100k, warm"
HEADLINES = (
    Headline(CL100K, "rivals-encode", "cl100k, english", "tiktoken", ARRAYS),
    Headline(CL100K, "rivals-encode", "cl100k, english", "gigatoken", ARRAYS),
    Headline(
        "encode English, o200k, cold",
        "rivals-encode",
        "o200k, english",
        "fastokens",
        "Flat batch, cold",
    ),
    Headline("decode English, cl100k", "rivals-decode", "english", "tiktoken"),
    Headline(
        "train 32,000 tokens, 40 MB of English",
        "rivals-train",
        "english, 40.0 MB, 32,000 tokens, 1 thread",
        "gigabpe",
        "Time",
    ),
    Headline(
        "attention, 1,024 positions, 12 heads, causal",
        "rivals-attention",
        "12 heads x 1024 x 64, float32, causal, 1 thread",
        "torch",
    ),
    Headline(
        "attention, one query, 32 heads, 8 KV heads, 8,192 keys",
        "rivals-attention",
        "one query, 32 heads on 8, 8192 x 128, float32, 1 thread",
        "torch",
    ),
    Headline(
        "the same, 32 KV heads, 1,024 keys, bfloat16",
        "rivals-attention",
        "one query, 32 heads on 32, 1024 x 128, bfloat16, 1 thread",
        "torch",
    ),
    Headline(
        "first attention call of a process, never compiled before",
        "rivals-attention",
        "12 heads x 512 x 64, first call of a process",
        "torch",
    ),
    Headline(
        "memory, encode English in one batch, o200k",
        "rivals-encode",
        "o200k, english",
        "quicktok",
        "Flat batch, memory",
    ),
    Headline("encode English, warm", "encode", "encode, warm, english", "reference"),
    Headline(
        "attention, 512 positions, 4 heads, causal",
        "attention",
        "scaled_dot_product_attention, 4 heads, 512 x 64, float32, causal",
        "reference",
    ),
)
SHOWN = {"torch": "PyTorch", "reference": "the reference"}


class Compared(NamedTuple):
    """What one headline says: two figures as they stand in the tables, and their ratio."""

    what: str
    ours: str
    other: str
    theirs: str
    ratio: str


def compared(page: str, headlines: Sequence[Headline] = HEADLINES) -> Iterator[Compared]:
    """The headlines that the tables of `page` have figures for, of fastllm and of the other one.

    >>> page = '''<!-- bench:begin decode -->
    ... | what | fastllm | torch |
    ... | :-- | --: | --: |
    ... | english, 4.0 MB | 2 ms ± 1 % | 3 ms ± 2 % (1.5x) |
    ... <!-- bench:end decode -->'''
    >>> list(compared(page, [Headline("decode", "decode", "english", "torch")]))
    [Compared(what='decode', ours='2 ms', other='PyTorch', theirs='3 ms', ratio='1.5x')]
    """
    for line in headlines:
        cells = _find(page, line) or {}
        theirs = cells.get(line.other, "-")
        if theirs == "-":  # not measured, or not installed where it was
            continue
        ours = cells.get("fastllm") or cells["fast"]
        ratio = re.search(r"\(([\d.,]+x)\)$", theirs)
        yield Compared(
            line.what,
            _figure(ours),
            SHOWN.get(line.other, line.other),
            _figure(theirs),
            ratio[1] if ratio else cells["reference / fast"],
        )


def headline_table(rows: Sequence[Compared]) -> str:
    """The table of the README: 0.5x in its last column is twice as fast as fastllm."""
    lines = ["| what | fastllm | compared with | slower by |", "| :-- | --: | --: | --: |"]
    for row in rows:
        ratio = f"**{row.ratio}**" if is_ahead(row) else row.ratio
        lines.append(f"| {row.what} | {row.ours} | {row.other}: {row.theirs} | {ratio} |")
    return "\n".join(lines)


def is_ahead(row: Compared) -> bool:
    """Whether the other one takes less than fastllm."""
    return times(row) < 1


def times(row: Compared) -> float:
    """The ratio as a number."""
    return float(row.ratio.removesuffix("x").replace(",", ""))


def _find(page: str, line: Headline) -> Mapping[str, str] | None:
    """The cells of a headline's row by their columns; None if the page lacks it."""
    name = re.escape(line.table)
    place = re.search(f"<!-- bench:begin {name} -->(.*?)<!-- bench:end {name} -->", page, re.DOTALL)
    if place is None:
        return None
    heading, header = "", list[str]()
    for text in place[1].splitlines():
        if not text.startswith("|"):
            heading, header = text or heading, []
            continue
        cells = [cell.strip() for cell in text.strip("|").split("|")]
        if not header:
            header = cells
        elif heading.startswith(line.heading) and cells[0].startswith(line.row):
            return dict(zip(header, cells, strict=True))
    return None


def _figure(cell: str) -> str:
    """A cell without its spread and ratio.

    >>> _figure("373 MB/s ± 1 % (1.6x)")
    '373 MB/s'
    """
    return cell.split(" ± ")[0].split(" (")[0]
