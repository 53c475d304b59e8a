"""Longest matches as HTML: for each word a row of letters, and what was looked for."""

from fastllm.explain.formatting import counted, visible
from fastllm.explain.longest_matches import MOST_STEPS, LongestMatches, Word
from fastllm.explain.page import escape, table, tag
from fastllm.explain.render import Section, View, render

MOST_WORDS = 40


@render.register
def _(trace: LongestMatches) -> View:
    return View([longest_matches_section(trace)])


def longest_matches_section(trace: LongestMatches, note: str = "") -> Section:
    """The search of every word; that with the most steps stands open."""
    words = trace.distinct()
    shown = words[:MOST_WORDS]
    opened = max(range(len(shown)), key=lambda i: len(shown[i].steps), default=0)
    html = (
        tag(
            "p",
            "Of each word the longest beginning that is a token is taken, then the longest of what "
            "is left, and so on; tokens that do not begin a word are written with a mark before "
            "them. If nothing begins what is left, the whole word is unknown. Nobody looks back: "
            "it is a good way to cut, not always the best.",
        )
        + note
        + "".join(
            tag(
                "details",
                tag("summary", tag("b", tag("bdi", escape(visible(word.text)))) + _said(word))
                + _steps(word),
                open="open" if number == opened else None,
            )
            for number, word in enumerate(shown)
        )
    )
    if len(words) > MOST_WORDS:
        more = counted(len(words) - MOST_WORDS, "more word")
        html += tag("p", f"… and {more}", class_="quiet")
    return Section("matches", "The longest match each time", html)


def _said(word: Word) -> str:
    tokens = " | ".join(tag("bdi", escape(visible(token))) for token in word.tokens)
    return f": {escape(word.said)}" + (f" · {tokens}" if len(word.tokens) > 1 else "")


def _steps(word: Word) -> str:
    if not word.steps:
        return ""
    rows = []
    for step in word.steps[:MOST_STEPS]:
        done, rest = word.text[: step.place], word.text[step.place :]
        tried = [tag("del", tag("bdi", escape(visible(token)))) for token in step.tried]
        more = step.failures - len(step.tried)
        if more:
            tried.append(escape(f"… ({more} more)"))
        found = (
            tag("span", "nothing", class_="wrong")
            if step.token is None
            else tag("b", tag("bdi", escape(visible(step.token))))
        )
        left = tag("span", escape(visible(done)), class_="quiet") + escape(visible(rest))
        number = "" if step.id is None else str(step.id)
        rows.append([tag("bdi", left), " ".join(tried), found, number])
    header = ("left of the word", "looked for, longest first", "found", "id")
    return table(header, rows, row_heads=False)
