"""Pages and fragments: valid HTML, every number from the trace, nothing of a text but text."""

import base64
import hashlib
import html
import json
import re

import html5lib
import numpy as np
import pytest
from hostile import HOSTILE

from fastllm import BPETokenizer, explain
from fastllm.explain import page, worked_example
from fastllm.explain.formatting import decimal, readable, visible
from fastllm.explain.render import render
from fastllm.explain.views.tokens import token_text
from fastllm.explain.worked_example import WORDS

INPUTS = np.array(worked_example.INPUTS)
ALL = " ".join(HOSTILE.values())


def traces(text):
    """Every kind of trace, with `text` wherever a text can be."""
    names = [text] * 3
    x = INPUTS[:3]
    return {
        "tokenization": explain.tokenization(text),
        "bpe": explain.bpe(explain.story.story_bpe(), text),
        "training": explain.training(text, 260),
        "attention": explain.attention(x, tokens=names),
        "queries and keys": explain.attention(x, x[:2], x[:2], tokens=names, key_tokens=names[:2]),
        "heads": explain.heads(np.full((2, 3, 3), 1 / 3), names),
        "pattern": explain.pattern(rf"\s|{re.escape(text[:9])}|(?:[<&]|\PL)+", text[:400]),
        "journey": explain.journey(text),
    }


def written(trace, folder):
    path = folder / "page.html"
    trace.to_html(path)
    return path.read_text("utf-8")


def block(text, name):
    """The data of a view."""
    found = re.search(rf'<script type="application/json" id="data-{name}">(.*?)</script>', text)
    return json.loads(found[1])


def parsed(text):
    """The elements of a page, or a ParseError at what is not HTML."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_pages_are_html_in_which_a_text_is_only_text(text, tmp_path):
    for name, trace in traces(text).items():
        tree = parsed(written(trace, tmp_path))
        scripts = [s for s in tree.iter("script") if s.get("type") is None]
        assert len(scripts) == 1, name
        for element in tree.iter():
            assert element.tag not in ("img", "iframe", "object", "embed", "form"), name
            assert not [key for key in element.attrib if key.startswith("on")], name
            for key in ("href", "src"):
                value = element.get(key, "#")
                assert value.startswith("#") or value == "data:,", name


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_fragments_for_notebooks_are_html_without_script(text):
    for name, trace in traces(text).items():
        fragment = trace._repr_html_()
        tree = parsed(f"<!DOCTYPE html><title>x</title><body>{fragment}")
        assert not list(tree.iter("script")), name
        assert not [k for element in tree.iter() for k in element.attrib if k.startswith("on")]
        fragment.encode()


def test_page_loads_nothing_and_allows_one_script_by_its_hash(tmp_path):
    text = written(explain.journey(), tmp_path)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)[1]
    assert "default-src 'none'" in policy
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "unsafe-eval" not in policy


def test_every_number_of_attention_is_that_of_the_trace(tmp_path):
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 4, 3))
    for causal in (False, True):
        trace = explain.attention(q, k, v, causal=causal)
        data = block(written(trace, tmp_path), "attention")
        for name, found in (("full", trace), ("masked", trace)):
            found = trace if found.causal == (name == "masked") else trace.switched()
            for head, matrices in enumerate(data[name]):
                check_matrices(matrices, found, head)
        for name in "qkv":
            shown = [[[decimal(x) for x in row] for row in h] for h in getattr(trace, name)]
            assert data[name] == shown


def check_matrices(matrices, trace, head):
    for name in ("scores", "shifted", "exponentials", "weights"):
        for i, row in enumerate(matrices[name]):
            assert len(row) == (i + 1 if trace.causal else len(trace.key_tokens))
            for j, number in enumerate(row):
                shown = decimal(getattr(trace, name)[head, i, j])
                assert f"{number / 10000:.4f}" == shown
    assert [f"{n / 10000:.4f}" for n in matrices["sums"]] == [
        decimal(x) for x in trace.row_sums[head]
    ]
    assert matrices["context"] == [
        [round(float(decimal(x)) * 10000) for x in row] for row in trace.context[head]
    ]


def test_merges_and_rounds_of_the_page_are_those_of_the_traces(tmp_path):
    trace = explain.journey("Your journeys start 🙂")
    text = written(trace, tmp_path)
    pieces = block(text, "merges")["pieces"]
    assert len(pieces) == len(trace.merging.distinct())
    for shown, piece in zip(pieces, trace.merging.distinct(), strict=True):
        assert shown["tokens"] == [[readable(node.data), node.id] for node in piece.tokens]
        assert [m["at"] for m in shown["merges"]] == [m.made.place for m in piece.merges]
        assert [m["pairs"][0][2] for m in shown["merges"]] == [m.made.rank for m in piece.merges]
    rounds = block(text, "training")["rounds"]
    assert [r["pairs"][0][2] for r in rounds] == [r.winner.count for r in trace.training.rounds]
    assert [r["tied"] for r in rounds] == [r.tied for r in trace.training.rounds]


def test_notebook_tables_hold_the_numbers_and_their_arithmetic():
    trace = explain.attention(INPUTS, tokens=WORDS)
    fragment = html.unescape(trace._repr_html_())
    for i in range(6):
        for j in range(6):
            assert f'title="{trace.weight_arithmetic(i, j)}">' in fragment
            assert f'{trace.score_arithmetic(i, j)}">{decimal(trace.scores[0, i, j])}<' in fragment
    assert "to look around in" in explain.attention(np.ones((40, 2)))._repr_html_()


def test_page_of_200_tokens_stays_under_two_megabytes(tmp_path):
    source = np.random.default_rng(0)
    words = source.choice(explain.story.STORY.split(), 200)
    trace = explain.journey(" ".join(words)[:900], BPETokenizer.train(explain.story.STORY, 280))
    assert len(trace.attention.tokens) == 200
    assert len(written(trace, tmp_path).encode()) < 2_000_000


def test_page_replaces_a_file_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("before")
    monkeypatch.setattr(page, "document", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        explain.tokenization("a").to_html(path)
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        explain.tokenization("a").to_html(tmp_path / "nowhere" / "page.html")


def test_what_has_no_view_cannot_be_rendered():
    with pytest.raises(TypeError, match="no view of int"):
        render(3)


def test_json_blocks_survive_any_text():
    for text in (*HOSTILE.values(), "\u2028\u2029", "<!--"):
        shown = page.json_block("x", {"text": text})
        inside = shown.removeprefix('<script type="application/json" id="x">')
        inside = inside.removesuffix("</script>")
        assert not set(inside) & set("<>&")
        assert json.loads(inside) == json.loads(json.dumps({"text": text}))


def test_escape_leaves_no_markup_and_no_control():
    shown = page.escape(ALL)
    assert not re.search("[<>\"'\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert not re.search("[\ud800-\udfff]", shown)


def test_token_text_shows_every_byte():
    assert token_text(b" a\n") == ('<i class="w" data-w="·"> </i>a<i class="w on" data-w="↵"></i>')
    assert token_text("é".encode()[:1]) == '<i class="x">C3</i>'
    assert token_text(b"<") == "&lt;"
    assert token_text("\u202e".encode()) == '<i class="x">\\u202e</i>'
    assert visible("\u00a0") == "\\xa0"
