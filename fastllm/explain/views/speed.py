"""Reference against fast as HTML."""

import math

from fastllm.explain.formatting import seconds, times
from fastllm.explain.page import escape, tag
from fastllm.explain.render import Section, View, render
from fastllm.explain.speed import Agreement, Row


@render.register
def _(trace: Agreement) -> View:
    return View([speed_section(trace)])


def speed_section(trace: Agreement, note: str = "") -> Section:
    """Bars of the speed-up, how far results agree, the machine."""
    longest = max((math.log10(max(row.ratio or 1, 1)) for row in trace.rows), default=1) or 1
    head = tag(
        "tr",
        (
            tag("th", name, scope="col")
            for name in ("operation", "reference", "fast", "times faster", "results")
        ),
    )
    body = tag("tbody", (_row(row, longest) for row in trace.rows))
    machine = tag(
        "dl",
        (tag("div", tag("dt", escape(k)) + tag("dd", escape(v))) for k, v in trace.machine.items()),
        class_="machine",
    )
    html = (
        tag(
            "p",
            "Every number above is from the reference, the textbook in plain Python. The fast "
            "version gives the same: ids exactly, floats up to rounding. This is what that is "
            f"worth on the machine that made this page, on {escape(trace.text)}. "
            "Bars are on a logarithmic scale.",
        )
        + note
        + tag("div", tag("table", tag("thead", head) + body, class_="speed"), class_="scroll")
        + "".join(tag("p", escape(reason), class_="wrong") for reason in trace.missing)
        + tag("details", tag("summary", "The machine and the versions") + machine)
    )
    return Section("speed", "Reference against fast", html)


def _row(row: Row, longest: float) -> str:
    if row.ratio is None or row.fast_seconds is None:
        fast, bar = "-", "-"
    else:
        width = max(0.01, math.log10(max(row.ratio, 1)) / longest)
        fast = seconds(row.fast_seconds)
        bar = tag("span", "", class_="bar-of", style=f"--w:{width:.3f}") + tag(
            "b", times(row.ratio)
        )
    sign = {None: "", True: "✓ ", False: "✗ "}[row.agrees]
    kind = {None: "quiet", True: "good", False: "wrong"}[row.agrees]
    return tag(
        "tr",
        tag("th", escape(row.operation) + tag("small", escape(row.work)), scope="row")
        + tag("td", seconds(row.reference_seconds))
        + tag("td", fast)
        + tag("td", bar, class_="ratio")
        + tag("td", sign + escape(row.how), class_=kind),
    )
