"""The page of one sentence: its lead, its sections in order, and what ties them together."""

from fastllm.explain.formatting import counted, visible
from fastllm.explain.lattice import Lattice
from fastllm.explain.longest_matches import LongestMatches
from fastllm.explain.merging import Merging
from fastllm.explain.novel import TITLE
from fastllm.explain.page import escape, tag
from fastllm.explain.render import Section, View, render
from fastllm.explain.sample_text import STORY
from fastllm.explain.sentence import MOST_TOKENS, Journey
from fastllm.explain.views.attention import attention_sections
from fastllm.explain.views.lattice import lattice_section
from fastllm.explain.views.longest_matches import longest_matches_section
from fastllm.explain.views.merges import MOST_PIECES, merges_section
from fastllm.explain.views.patterns import pattern_section
from fastllm.explain.views.speed import speed_section
from fastllm.explain.views.tokens import strategies_section, tokens_section
from fastllm.explain.views.training import training_section
from fastllm.explain.worked_example import WORDS

LONG = 80  # characters that a heading can hold in large letters


@render.register
def _(trace: Journey) -> View:
    return View(_sections(trace), _lead(trace))


def _lead(trace: Journey) -> str:
    """What stands above everything: the text, and what is to come."""
    weights = counted(trace.attention.weights.size, "weight")
    tokens = counted(len(trace.merging.ids), "token")
    text = escape(visible(trace.text, blanks=False))
    return tag(
        "header",
        tag("p", "From text to context vectors, every number shown", class_="eyebrow")
        + tag("h1", tag("bdi", text), class_="long" if len(trace.text) > LONG else None)
        + tag(
            "p",
            f"{counted(len(trace.text), 'character')} become {tokens}, the tokens become vectors, "
            f"and {weights} later each vector has taken in what stands around it. Follow it from "
            "top to bottom; everything that can be pointed at, or reached with Tab and the arrow "
            "keys, tells where it is from.",
            class_="lead",
        ),
    )


def _sections(trace: Journey) -> list[Section]:
    """The views, in the order of what happens to the text."""
    pairs = trace.tokenization.strategies[-1]
    found = [
        tokens_section(pairs),
        strategies_section(trace.tokenization, trace.contrast, _vocabulary_note(trace)),
        pattern_section(trace.splitting, _pattern_note(trace)),
        _followed_section(trace.merging),
        training_section(trace.training, _training_note(trace)),
    ]
    if trace.attention.tokens:
        found += attention_sections(trace.attention, _vectors_note(trace), trace.cell)
    if trace.agreement is not None:
        found.append(speed_section(trace.agreement, _checks_note(trace)))
    elif trace.checks:
        html = _checks_note(trace) + tag(
            "p", "How much faster it is on this machine was not measured for this page."
        )
        found.append(Section("speed", "Reference against fast", html))
    return found


def _followed_section(trace: Merging | LongestMatches | Lattice) -> Section:
    """How the tokens came about."""
    if isinstance(trace, LongestMatches):
        return longest_matches_section(trace)
    if isinstance(trace, Lattice):
        return lattice_section(trace)
    pieces = trace.distinct()[:MOST_PIECES]
    opened = max(range(len(pieces)), key=lambda i: len(pieces[i].merges), default=0)
    return merges_section(trace, start=opened)


def _vocabulary_note(trace: Journey) -> str:
    learned = "Words and characters" if trace.own_tokenizer else "All three vocabularies"
    note = f"{learned} were learned from {TITLE}."
    if not trace.own_tokenizer:
        note += " What is rare in it, such as code or another language, falls into small tokens."
    return tag("p", note, class_="note")


def _pattern_note(trace: Journey) -> str:
    note = (
        "Tokens stay inside of pre-tokens, so the text is split first. This pattern is that of "
        "GPT-2 without its contractions and numbers, small enough to be drawn."
    )
    if len(trace.splitting.text) < len(trace.text):
        note += f" The first {len(trace.splitting.text)} characters are split here."
    return tag("p", note, class_="note")


def _training_note(trace: Journey) -> str:
    if not isinstance(trace.merging, Merging):
        origin = "Your tokenizer has no merges; this is how a vocabulary of byte pairs is learned"
        return tag("p", f"{origin}, on a text short enough to count by hand.", class_="note")
    origin = (
        "What your tokenizer was trained on is not in its file"
        if trace.own_tokenizer
        else f"The byte pairs of this page were learned from {TITLE}, which is long"
    )
    whose = f"{origin}, so this is the same algorithm on a text short enough to count by hand"
    sample = tag("blockquote", escape(STORY).replace("\n", "<br>"))
    return tag("details", tag("summary", f"{whose}.") + sample)


def _vectors_note(trace: Journey) -> str:
    known = {token.strip() for token in trace.attention.tokens} & set(WORDS)
    if len(known) == len(set(trace.attention.tokens)):
        origin = (
            "The vectors are those of a well-known worked example, three numbers for each word."
        )
    else:
        origin = (
            "The vectors are three arbitrary numbers for each kind of token, the same wherever it "
            "stands. In a model they are learned; here they serve to show what is done with them."
        )
    if trace.left_out:
        origin += (
            f" Attention is shown between the first {MOST_TOKENS} tokens; "
            f"{counted(trace.left_out, 'token')} after them left out."
        )
    return tag("p", origin, class_="note")


def _checks_note(trace: Journey) -> str:
    items = [
        tag(
            "li",
            f"{'✓' if holds else '✗'} {escape(what)}: {escape(how)}",
            class_="good" if holds else "wrong",
        )
        for what, holds, how in trace.checks
    ]
    if not items:
        return ""
    asked = "The fast version was asked for this very text as well, and compared:"
    return tag("p", asked) + tag("ul", items, class_="checks")
