"""What the command check-book does and shows: what the book prints, computed again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fastllm.book import check, sections
from fastllm.cli.progress import plain_console
from fastllm.explain import comparison
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe

FIRST = 2  # numbers of an array
LONGEST = 17  # characters that show how a fact begins

WHERE_TO_GET = {
    sections.STORY: (
        "--story names the file, which section 2.2 of the book says where to get; or put it into a "
        "folder that FASTLLM_VOCAB_DIR names, or let fastllm download it: "
        "pip install 'fastllm-kernels[vocab]'"
    ),
    sections.VOCABULARY: (
        "put encoder.json and vocab.bpe, or r50k_base.tiktoken, into a folder that "
        "FASTLLM_VOCAB_DIR names, or let fastllm download it: pip install 'fastllm-kernels[vocab]'"
    ),
    sections.MODEL: (
        "--gpt makes two, each of 163 million random weights; that takes 1.5 GB of memory and "
        "half a minute, with the story a minute more"
    ),
    check.FAST: "the reference would take an hour",
}


def check_book(story: Path | None, gpt: bool, numbers: bool) -> bool:
    """Compute all facts and show how they agree; whether nothing disagreed."""
    text = check.find_story() if story is None else story.read_text("utf-8")
    console = plain_console()
    backends, missing = find_backends()
    with console.status("computing (the first time, kernels are compiled) ..."):
        rows = list(check.check(backends, text, model=gpt))
    if numbers:
        show_numbers(console, rows)
    else:
        show_table(console, rows)
    if missing:
        console.print(Text(f"The reference alone was checked: {missing}."))
    return show_verdict(console, rows, [backend.name for backend in backends])


def find_backends() -> tuple[list[sections.Backend], str]:
    """The backends there are, and why there is not more than one."""
    backends = [sections.Backend("reference", reference_bpe, reference_attention)]
    bpe, attention = comparison.fast_backend("bpe"), comparison.fast_backend("attention")
    if bpe.module is not None and attention.module is not None:
        backends.append(sections.Backend("fast", bpe.module, attention.module))
    return backends, bpe.missing or attention.missing


def show_table(console: Console, rows: Sequence[check.Row]) -> None:
    """Print one line for each fact, with the beginning of what it says."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("", "what", "the book", "ours", "agrees"):
        table.add_column(title, overflow="fold")
    section = ""
    for row in rows:
        ours = {beginning(value) for value in row.computed.values()}
        table.add_row(
            Text(row.section if row.section != section else "", style="bold"),
            Text.assemble(row.what, (shape(row.printed), "dim")),
            Text(beginning(row.printed)),
            Text("\n".join(sorted(ours)) or "-"),
            _agreement(row),
        )
        section = row.section
    console.print(table)


def show_numbers(console: Console, rows: Sequence[check.Row]) -> None:
    """Print all that each fact says, and what was computed where it does not look the same."""
    for row in rows:
        title = Text.assemble((row.section, "bold"), f" {row.what}", (shape(row.printed), "dim"))
        console.print(Text.assemble(title, ": ", _agreement(row)))
        printed = whole(row.printed)
        console.print(Text(printed), soft_wrap=True)
        for name, value in row.computed.items():
            if whole(value) != printed:
                console.print(Text(f"{name}:\n{whole(value)}"), soft_wrap=True)


def _agreement(row: check.Row) -> Text:
    if row.missing:
        return Text("not checked", style="dim")
    if len(row.agreeing) == len(row.computed):
        return Text("both" if len(row.agreeing) == 2 else "".join(row.agreeing), style="green")
    others = [name for name in row.computed if name not in row.agreeing]
    return Text(f"NO: {', '.join(others)}", style="bold red")


def show_verdict(console: Console, rows: Sequence[check.Row], names: Sequence[str]) -> bool:
    """Print what it comes to; whether nothing disagreed."""
    checked = [row for row in rows if not row.missing]
    wrong = [row for row in checked if len(row.agreeing) < len(row.computed)]
    for need, where in WHERE_TO_GET.items():
        count = sum(need in row.missing for row in rows)
        if count:
            console.print(Text(f"{count} not checked for want of {need}: {where}."))
    if wrong:
        found = ", ".join(f"{row.section} {row.what}" for row in wrong)
        console.print(Text(f"DIFFERENT FROM THE BOOK: {found}.", style="bold red"))
        return False
    backends = "both backends" if len(names) == 2 else f"the {names[0]}"
    found = f"{len(checked)} of {len(rows)} facts reproduced on {backends}"
    alone = sum(len(row.computed) < len(names) for row in checked)
    found += f", but for {alone} that are too much for the reference." if alone else "."
    console.print(Text(found, style="green"))
    return True


def shape(value: Any) -> str:
    """The shape of an array, to be put behind its name.

    >>> shape([[1, 2, 3], [4, 5, 6]]), shape(7)
    (' 2x3', '')
    """
    lengths = np.shape(value)
    return "" if not lengths else " " + "x".join(map(str, lengths))


def whole(value: Any) -> str:
    """All of a fact, as the book prints it: numbers to four digits, one line for each row.

    >>> print(whole([[0.5, -1.0], [0.25, 2.0]]))
     0.5000 -1.0000
     0.2500  2.0000
    """
    words, array = _words(value), np.asarray(value)
    width = max(map(len, words))
    length = array.shape[-1] if array.ndim else 1
    rows = [words[start : start + length] for start in range(0, len(words), length)]
    return "\n".join(" ".join(word.rjust(width) for word in row) for row in rows)


def beginning(value: Any) -> str:
    """What a fact begins with.

    >>> beginning([[0.5, -1.0], [0.25, 2.0]]), beginning(7)
    ('0.5000 -1.0000 …', '7')
    """
    words = _words(value)
    text = " ".join(words[:FIRST])
    if len(text) > LONGEST - 2:
        return f"{text[: LONGEST - 2]} …"
    return text if len(words) <= FIRST else f"{text} …"


def _words(value: Any) -> list[str]:
    """Each number or text of an array."""
    items = np.asarray(value).reshape(-1).tolist()
    return [f"{item:.4f}" if isinstance(item, float) else str(item) for item in items]
