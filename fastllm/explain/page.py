"""One HTML file: its frame, its safety, and the fragment of it that a notebook shows.

Text of a user comes in here from everywhere, and may hold anything. Two functions let it through:
`escape` into HTML, `json_block` into a block of data that no browser runs. The page loads nothing:
its policy forbids it, and allows the one script by its hash.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape as escape_html
from pathlib import Path
from typing import Any

import fastllm
from fastllm.corpus.atomic_write import replacing
from fastllm.explain.formatting import readable, visible_character
from fastllm.explain.render import Section


@cache
def _asset(name: str) -> str:
    """The text of a file of this package."""
    return Path(__file__).with_name(name).read_text("utf-8")


def escape(text: str) -> str:
    """Text as HTML, in which nothing of it means anything.

    >>> escape('<b title="x">'), escape("\\x00\\u202e")
    ('&lt;b title=&quot;x&quot;&gt;', '\\\\x00\\\\u202e')
    """
    shown = "".join(c if c in " \n\t\u200d\ufe0f" else visible_character(c) for c in text)
    return escape_html(shown, quote=True)


def json_block(name: str, data: Any) -> str:
    r"""Data for the script: JSON that cannot end its block, whatever it holds.

    >>> json_block("x", "</script>")
    '<script type="application/json" id="x">"\\u003c/script\\u003e"</script>'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'


def tag(name: str, content: str | Iterable[str], **attributes: object) -> str:
    """An element; `content` is HTML already, attributes are escaped. `class_` is written class.

    >>> tag("td", escape("<"), class_="n", data_id=3)
    '<td class="n" data-id="3">&lt;</td>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = content if isinstance(content, str) else "".join(content)
    return f"<{name}{written}>{inside}</{name}>"


def token_name(data: bytes) -> str:
    """A token, white space and partial characters made visible, whatever its direction of writing.

    >>> token_name(b" a")
    '<bdi>·a</bdi>'
    """
    return tag("bdi", escape(readable(data)))


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    row_heads: bool = True,
) -> str:
    """A table of cells that are HTML already, the first of each row its heading."""
    head = tag("tr", (tag("th", cell, scope="col") for cell in header))
    body = [
        tag(
            "tr",
            (
                tag("th", cell, scope="row") if row_heads and i == 0 else tag("td", cell)
                for i, cell in enumerate(row)
            ),
        )
        for row in rows
    ]
    title = tag("caption", escape(caption)) if caption else ""
    inside = f"{title}{tag('thead', head)}{tag('tbody', body)}"
    return tag("div", tag("table", inside), class_="scroll")


def fragment(sections: Sequence[Section]) -> str:
    """What a notebook shows: HTML and style, no script."""
    style = _asset("page.css")
    body = "".join(tag("section", tag("h2", escape(s.title)) + s.html + s.static) for s in sections)
    return f'<style>{style}</style><div class="fastllm notebook">{body}</div>'


def document(sections: Sequence[Section], title: str, lead: str = "") -> str:
    """The whole page as HTML; `lead` is HTML that stands above the sections."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )
    links = "".join(
        tag("a", tag("b", str(i)) + escape(s.name.capitalize()), href=f"#{s.name}")
        for i, s in enumerate(sections, 1)
    )
    numbered = len(sections) > 1
    body = "".join(
        tag(
            "section",
            tag("h2", (tag("span", str(i), class_="n") if numbered else "") + escape(s.title))
            + s.html
            + (json_block(f"data-{s.name}", s.data) if s.data is not None else ""),
            id=s.name,
            data_view=s.name,
        )
        for i, s in enumerate(sections, 1)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>\n{_asset('page.css')}</style>\n</head>\n"
        '<body class="fastllm">\n'
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f"{lead or tag('header', tag('h1', escape(title)))}\n"
        f"{tag('nav', links, aria_label='Parts of this page') if numbered else ''}\n"
        '<noscript><p class="note">What moves on this page needs JavaScript; nothing is loaded '
        "from anywhere. The same numbers are in the text that <code>print</code> shows.</p>"
        "</noscript>\n"
        f'<main id="main">{body}</main>\n'
        f"<footer>Made by fastllm {escape(fastllm.__version__)}. One file, no network: keep it, "
        "send it, open it anywhere.</footer>\n"
        '<div id="tip" role="tooltip" hidden></div>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def write(
    path: str | os.PathLike[str], sections: Sequence[Section], title: str, lead: str = ""
) -> None:
    """Write the page to a file, whole or not at all."""
    with replacing(path) as file:
        file.write(document(sections, title, lead))
