"""Tokens side by side, and strategies side by side, as HTML."""

from collections.abc import Iterator
from itertools import groupby

from fastllm.explain.formatting import BLANKS, counted, hexadecimal, visible, visible_character
from fastllm.explain.page import escape, tag
from fastllm.explain.render import Section, View, render
from fastllm.explain.strategies import Strategy, Token, Tokenization

COLOURS = 5
MOST = 1000  # tokens in a row; what follows is only counted


@render.register
def _(trace: Tokenization) -> View:
    return View([strategies_section(trace)])


def token_text(data: bytes) -> str:
    """What is in a token: its text, white space marked, bytes that are no character as numbers."""
    return "".join(_character(c) for c in data.decode(errors="surrogateescape"))


def _character(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return tag("i", f"{ord(character) - 0xDC00:02X}", class_="x")
    if character in BLANKS:
        # Only a blank is seen by its width alone; anything else always has a sign.
        kind = "w" if character == " " else "w on"
        return tag("i", " " if character == " " else "", class_=kind, data_w=BLANKS[character])
    shown = visible_character(character)
    if shown != character and character not in "\u200d\ufe0f":
        return tag("i", escape(shown), class_="x")
    return escape(character)


def token_row(tokens: tuple[Token, ...], *, ids: bool = False) -> str:
    """Tokens in colours that take turns; those which are parts of one character stay together."""
    runs = [list(run) for _, run in groupby(tokens[:MOST], key=lambda token: token.group)]
    inside = "".join(_runs(runs, ids))
    if len(tokens) > MOST:
        inside += tag("span", f"… and {len(tokens) - MOST:,} more", class_="quiet")
    return tag("div", inside, class_="token-row", role="group", aria_label="tokens")


def _runs(runs: list[list[Token]], ids: bool) -> Iterator[str]:
    for colour, run in enumerate(runs):
        if len(run) == 1:
            yield _token(run[0], colour, ids, "")
            continue
        whole = b"".join(token.data for token in run).decode(errors="replace")
        parts = [
            _token(token, colour, ids, f"part {i} of {len(run)} of {visible(whole)}")
            for i, token in enumerate(run, 1)
        ]
        yield tag("span", tag("span", escape(whole), class_="whole") + "".join(parts), class_="run")


def _token(token: Token, colour: int, ids: bool, part: str) -> str:
    unknown = "not in the vocabulary" if token.unknown else ""
    note = "; ".join(filter(None, (part, unknown)))
    return tag(
        "span",
        tag("bdi", token_text(token.data)) + (tag("small", str(token.id)) if ids else ""),
        class_=f"tok c{colour % COLOURS}" + (" unknown" if token.unknown else ""),
        data_id=token.id,
        data_bytes=hexadecimal(token.data),
        data_note=note or None,
        title=f"id {token.id}, bytes {hexadecimal(token.data)}" + (f", {note}" if note else ""),
    )


def white_space_switch() -> str:
    """What makes white space visible; the page's script listens."""
    box = '<input type="checkbox" class="show-blanks"> show white space'
    return tag("label", box, class_="switch script")


def tokens_section(strategy: Strategy, note: str = "") -> Section:
    """The tokens of one strategy, large."""
    figures = (
        f"{counted(len(strategy.tokens), 'token')} · "
        f"{counted(sum(len(token.data) for token in strategy.tokens), 'byte')} · "
        f"{strategy.bytes_per_token:.2f} bytes per token · "
        f"vocabulary of {strategy.vocab_size:,}"
    )
    return Section(
        name="tokens",
        title="Tokens",
        html=tag(
            "p",
            "A model reads numbers. The text is cut into tokens, and each kind of token has a "
            "number, its id. Point at a token, or walk along with the arrow keys, for its id and "
            "its bytes.",
        )
        + note
        + tag("div", token_row(strategy.tokens, ids=True), class_="large")
        + tag("div", tag("span", figures, class_="figures") + white_space_switch(), class_="bar"),
    )


def strategies_section(
    trace: Tokenization, contrast: Tokenization | None = None, note: str = ""
) -> Section:
    """Every strategy on one text; on another one as well, if that is given."""
    html = tag(
        "p",
        "How to cut is a choice. A vocabulary of words is easy to read and helpless before a word "
        "that it lacks; characters make long sequences; byte pairs start from the 256 bytes, so "
        "that nothing is unknown, and join what often stands together.",
    )
    html += note + _cards(trace)
    if contrast is not None:
        html += tag("h3", "The same on a text that is not so tame")
        html += tag("p", escape(visible(contrast.text, blanks=False)), class_="sample")
        html += _cards(contrast)
    return Section("strategies", "Three strategies", html)


def _cards(trace: Tokenization) -> str:
    return tag("div", map(_card, trace.strategies), class_="cards")


def _card(strategy: Strategy) -> str:
    fine = strategy.lost == "nothing"
    figures = (
        ("tokens", f"{len(strategy.tokens):,}"),
        ("vocabulary", f"{strategy.vocab_size:,}"),
        ("bytes per token", f"{strategy.bytes_per_token:.2f}"),
    )
    facts = tag(
        "dl", (tag("div", tag("dt", escape(name)) + tag("dd", value)) for name, value in figures)
    )
    ids = " ".join(map(str, strategy.ids[:MOST])) + (" …" if len(strategy.ids) > MOST else "")
    lost = tag(
        "p",
        ("✓ decoding loses nothing" if fine else f"✗ decoding loses {escape(strategy.lost)}"),
        class_="verdict " + ("good" if fine else "wrong"),
    )
    decoded = "" if fine else tag("p", _difference(strategy), class_="decoded")
    return tag(
        "article",
        tag("h4", escape(strategy.name))
        + facts
        + token_row(strategy.tokens)
        + tag("p", ids, class_="ids")
        + lost
        + decoded,
    )


def _difference(strategy: Strategy) -> str:
    """What decoding gives, with what is missing struck out and what stands in its place marked."""
    parts = []
    for before, after in strategy.changes:
        if before == after:
            parts.append(tag("bdi", escape(after)))
            continue
        if before:
            parts.append(tag("del", tag("bdi", escape(visible(before)))))
        if after:
            parts.append(tag("ins", tag("bdi", escape(visible(after)))))
    return "".join(parts)
