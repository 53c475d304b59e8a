"""Merges as HTML: tables for notebooks, and what the page's script replays."""

from typing import Any

from fastllm.explain.formatting import counted, readable
from fastllm.explain.merge_steps import MOST_DEPTH, MOST_MERGES, MOST_PARTS, Node, Piece
from fastllm.explain.merging import Merging
from fastllm.explain.page import escape, table, tag, token_name
from fastllm.explain.render import Section, View, render

MOST_PIECES = 200


@render.register
def _(trace: Merging) -> View:
    return View([merges_section(trace)])


def merges_section(trace: Merging, note: str = "", start: int = 0) -> Section:
    """Every merge of every pre-token; `start` is the one to begin with."""
    pieces = trace.distinct()
    html = (
        tag(
            "p",
            "The text is split into pre-tokens, mostly words, and each begins as single bytes. Of "
            "all pairs of neighbours the one with the lowest rank is joined, the leftmost if it "
            "stands there twice, until no pair has a rank. The rank is when the pair was learned: "
            "low is early. A dot (·) is a blank, which belongs to the word behind it.",
        )
        + note
        + tag("div", "", class_="widget")
    )
    data = {"start": start, "pieces": [_pre_token_data(piece) for piece in pieces[:MOST_PIECES]]}
    static = "".join(map(_pre_token_table, pieces[:MOST_PIECES]))
    if len(pieces) > MOST_PIECES:
        more = counted(len(pieces) - MOST_PIECES, "pre-token")
        html += tag("p", f"… and {more} more.", class_="quiet")
    return Section("merges", "The merges behind each token", html, data, static)


def _pre_token_data(piece: Piece) -> dict[str, Any]:
    return {
        "text": readable(piece.data),
        "whole": piece.whole,
        "parts": [readable(part) for part in piece.parts],
        "bytes": [part.hex().upper() for part in piece.parts],
        "tokens": [[readable(node.data), node.id] for node in piece.tokens],
        "merges": [
            {
                "at": merge.made.place,
                "made": readable(merge.data),
                "id": merge.id,
                "choices": merge.choices,
                "pairs": [
                    [readable(pair.left), readable(pair.right), pair.rank, pair.place]
                    for pair in merge.candidates
                ],
            }
            for merge in piece.merges[:MOST_MERGES]
        ],
        "more": max(0, len(piece.merges) - MOST_MERGES),
    }


def _pre_token_table(piece: Piece) -> str:
    states = [
        " | ".join(tag("bdi", escape(part)) for part in state) for state in piece.shown_states()
    ]
    rows = [["0", "", "", "", states[0]]]
    for number, (merge, state) in enumerate(zip(piece.merges, states[1:], strict=False), 1):
        pair = f"{token_name(merge.made.left)} + {token_name(merge.made.right)}"
        rows.append([str(number), tag("b", pair), str(merge.made.rank), str(merge.id), state])
    ending = "a token, taken whole" if piece.whole else counted(len(piece.tokens), "token")
    return tag("h3", f"{token_name(piece.data)}: {ending}") + (
        table(("step", "merge", "rank", "id", "parts"), rows)
        + _more(len(piece.merges) - MOST_MERGES, "merge")
        + tag("ul", map(_branch, piece.tokens[:MOST_PARTS]), class_="tree")
        + _more(len(piece.tokens) - MOST_PARTS, "token")
    )


def _more(count: int, kind: str) -> str:
    return tag("p", f"… and {counted(count, f'more {kind}')}", class_="quiet") if count > 0 else ""


def _branch(node: Node, depth: int = 1) -> str:
    children = node.children if depth <= MOST_DEPTH else ()
    below = tag("ul", [_branch(child, depth + 1) for child in children]) if children else ""
    return tag("li", f"{token_name(node.data)} {tag('small', str(node.id))}{below}")
