"""Training as HTML: a table for notebooks, and what the page's script replays."""

from typing import Any

from fastllm.corpus.byte_order import byte_order
from fastllm.explain.formatting import readable
from fastllm.explain.page import escape, table, tag, token_name
from fastllm.explain.render import Section, View, render
from fastllm.explain.training_steps import TIE_RULES, Training, decided_by

MOST_WORDS = 60


@render.register
def _(trace: Training) -> View:
    return View([training_section(trace)])


def training_section(trace: Training, note: str = "") -> Section:
    """Every round of training."""
    html = (
        tag(
            "p",
            "Ranks come from training. Count how often each pair of neighbours stands in a text, "
            "join the most frequent one everywhere, give it the next id, and count again. Where "
            "several pairs are as frequent, a rule decides: "
            f"here {escape(TIE_RULES[trace.tie_break])}.",
        )
        + note
        + tag("div", "", class_="widget")
    )
    rows = [
        [
            str(number),
            tag("b", f"{token_name(found.winner.left)} + {token_name(found.winner.right)}"),
            f"{found.winner.count:,}",
            str(found.id),
            f"{found.tokens:,}",
            decided_by(found),
        ]
        for number, found in enumerate(trace.rounds, 1)
    ]
    static = table(("round", "merge", "count", "id", "tokens", "decided by"), rows)
    if trace.early_end:
        html += tag("p", escape(trace.early_end), class_="quiet")
    return Section("training", "Where the merges come from", html, _training_data(trace), static)


def _training_data(trace: Training) -> dict[str, Any]:
    order = byte_order(trace.tie_break)
    words = trace.words[:MOST_WORDS]
    return {
        "start": trace.start_tokens,
        "rule": TIE_RULES[trace.tie_break],
        "bytes": [readable(order[i : i + 1]) for i in range(256)],
        "words": [[[order.index(byte) for byte in word.data], word.count] for word in words],
        "more": max(0, len(trace.words) - MOST_WORDS),
        "rounds": [
            {
                "joins": found.winner.ids,
                "made": readable(found.winner.left + found.winner.right),
                "id": found.id,
                "tokens": found.tokens,
                "tied": found.tied,
                "kinds": found.pairs,
                "pairs": [
                    [readable(pair.left), readable(pair.right), pair.count]
                    for pair in found.leading
                ],
            }
            for found in trace.rounds
        ],
    }
