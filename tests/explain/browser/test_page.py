"""The page in a browser: what it shows, by mouse and by keyboard, and what it never does."""

import json
import re

import numpy as np
import pytest
from hostile import HOSTILE

from fastllm import explain
from fastllm.explain.formatting import decimal, readable, visible
from fastllm.explain.worked_example import KNOWN_WEIGHTS

pytestmark = pytest.mark.browser

LEFT, UP, RIGHT, DOWN, TAB = "\ue012", "\ue013", "\ue014", "\ue015", "\ue004"


class Page:
    """A page that is open, and ways to ask it things."""

    def __init__(self, driver, path):
        self.driver, self.address = driver, path.as_uri()
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(self.address)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} of {selector}"
        return found[0]

    def texts(self, selector):
        """The text of each element, whether it is in view or not."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return self.driver.execute_script(script, selector)

    def click(self, element):
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self, script="return document.activeElement"):
        return self.driver.execute_script(script)

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """Addresses that were asked for, the page's own aside, and what Chromium began with."""
        events = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and not event["params"]["documentURL"].startswith("chrome://")
        ]
        return [url for url in asked if url != self.address and not url.startswith("data:")]


@pytest.fixture(scope="module")
def journey():
    return explain.journey()


@pytest.fixture(scope="module")
def written(journey, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    journey.to_html(path)
    return path


@pytest.fixture
def page(chromium, written):
    page = Page(chromium, written)
    yield page
    assert page.complaints() == []
    assert page.requests() == []


def opened(chromium, trace, folder):
    path = folder / "page.html"
    trace.to_html(path)
    return Page(chromium, path)


# --- Tokens


def test_hover_shows_id_and_bytes(page, journey):
    from selenium.webdriver import ActionChains

    tokens = page.all("#tokens .tok")
    assert len(tokens) == len(journey.merging.ids)
    tip = page.one("#tip")
    assert not tip.is_displayed()
    for element, token in zip(tokens, journey.tokenization.strategies[-1].tokens, strict=True):
        ActionChains(page.driver).move_to_element(element).perform()
        assert f"id {token.id}" in tip.text
        assert token.data.hex(" ").upper() in tip.text
    ActionChains(page.driver).move_to_element(page.one("h1")).perform()
    assert not tip.is_displayed()


def test_white_space_is_made_visible_on_demand(page):
    script = "return getComputedStyle(document.querySelector('#tokens .w'), '::before').content"
    assert page.focused(script) == "none"
    page.click(page.one(".show-blanks"))
    assert page.focused(script) == '"·"'


def test_unknown_words_and_what_is_lost_can_be_seen_without_colour(page):
    unknown = page.all("#strategies .tok.unknown")
    assert unknown
    style = "return getComputedStyle(arguments[0])"
    assert page.driver.execute_script(f"{style}.borderTopStyle", unknown[0]) == "dashed"
    verdicts = page.texts("#strategies .verdict")
    assert [verdict[0] for verdict in verdicts] == ["✓", "✓", "✓", "✗", "✗", "✓"]


# --- The automaton of a split pattern


def test_look_ups_step_through_the_text(chromium, tmp_path):
    trace = explain.pattern(r" ?[a-z]+|\s+(?!\S)|\s|[^\sa-z]+", "so  it, is")
    page = opened(chromium, trace, tmp_path)
    assert len(page.all("#pattern svg .state")) == len(trace.states)
    forth = page.one("#pattern [aria-label='look-up: on']")
    steps = list(trace.shown_look_ups())
    for number, (attempt, look_up) in enumerate(steps):
        if number:
            page.click(forth)
        cell = trace.cell(look_up.state, look_up.column)
        assert page.texts("#pattern .state.now text")[0] == str(look_up.state)
        assert page.texts("#pattern [data-cell].now") == [cell]
        target = trace.states[look_up.state].targets[look_up.column]
        arrows = [] if target is None else [f"{look_up.state}-{target}"]
        found = page.all("#pattern .arrow.now")
        assert [arrow.get_attribute("data-arrow") for arrow in found] == arrows
        character = trace.text[look_up.place : look_up.place + 1]
        assert page.texts("#pattern .tok.next") == [visible(character) or "end"]
        assert trace.meaning(attempt, look_up) in page.one("#pattern .happens").text
    assert not forth.is_enabled()
    edges = page.driver.execute_script(
        "return [...document.querySelectorAll('#pattern .looked .tok')]"
        ".map((e, i) => (e.classList.contains('edge') ? i : -1)).filter((i) => i >= 0)"
    )
    places = [sum(map(len, trace.pieces[: i + 1])) for i in range(len(trace.pieces) - 1)]
    assert edges == places
    assert page.complaints() == []


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_hostile_texts_go_through_a_pattern(chromium, tmp_path, text):
    page = opened(chromium, explain.pattern(r"\s|[<&]+|(?s:.)", text[:200]), tmp_path)
    assert page.complaints() == []
    assert page.requests() == []


# --- Merges


def shown_parts(page):
    return page.texts("#merges .parts .tok")


def test_merge_slider_steps_through_the_merges(page, journey):
    pieces = journey.merging.distinct()
    for number, piece in enumerate(pieces):
        radio = page.all("#merges .choices input")[number]
        page.driver.execute_script("arguments[0].click()", radio)
        states = [list(map(readable, state)) for state in piece.states()]
        assert shown_parts(page) == states[-1]
        slider = page.one("#merges .slider")
        slider.send_keys(*[LEFT] * len(piece.merges))
        for state in states:
            assert shown_parts(page) == state
            slider.send_keys(RIGHT)
        tree = page.texts("#merges .tree-picture .name")
        assert sorted(tree) == sorted(names(piece))


def names(piece):
    """Every node of the trees of a piece."""
    nodes = list(piece.tokens)
    for node in nodes:
        nodes += node.children
    return [readable(node.data) for node in nodes]


def test_merge_buttons_step_and_stop_at_the_ends(page, journey):
    back, forth = page.all("#merges .stepper button")
    assert not forth.is_enabled()
    page.click(back)
    assert forth.is_enabled()
    merges = journey.merging.pieces[1].merges
    assert page.one("#merges output").text == f"merge {len(merges) - 1} of {len(merges)}"


def test_training_slider_shows_counts_winners_ties_and_cuts(page, journey):
    slider = page.one("#training .slider")
    trace = journey.training
    for number, found in enumerate(trace.rounds):
        rows = page.texts("#training .pairs tbody tr")
        pair = found.winner
        assert rows[0].startswith(
            f"{readable(pair.left)} + {readable(pair.right)}{pair.count}◀ joined next"
        )
        assert ("the lowest ids" in rows[0]) == (found.tied > 1)
        slider.send_keys(RIGHT)
        if number == len(trace.rounds) // 2:
            check_words(page, explain.training(explain.story.STORY, found.id + 1))
        assert f"The text is {found.tokens} tokens long." in page.texts("#training .happens")[0]
    check_words(page, trace)


def check_words(page, trace):
    tokenizer = trace.tokenizer()
    script = """return [...document.querySelectorAll('#training .word')].map(
        (word) => [...word.querySelectorAll('.tok')].map((part) => part.textContent))"""
    expected = [
        list(map(readable, tokenizer.decode_tokens_bytes(tokenizer.encode(word.data.decode()))))
        for word in trace.words
    ]
    assert page.driver.execute_script(script) == expected


# --- Attention


def cells(page, kind="column"):
    """The buttons of the table, by row and column."""
    script = """return [...document.querySelectorAll(`.matrix button[data-${arguments[0]}]`)].map(
        (b) => [Number(b.dataset.row), Number(b.dataset[arguments[0]]), b.textContent])"""
    return {(i, j): text for i, j, text in page.driver.execute_script(script, kind)}


def check_cells(page, trace):
    """Every cell opens its arithmetic, which is the trace's."""
    for i, j in cells(page):
        page.driver.execute_script(
            "document.querySelector(arguments[0]).click()",
            f".matrix button[data-row='{i}'][data-column='{j}']",
        )
        formulas = page.texts(".recipe .formula")
        expected = [trace.score_arithmetic(i, j), *trace.weight_arithmetic(i, j).splitlines()]
        assert formulas == expected
        assert page.texts("#heads .figures")[0].endswith(decimal(trace.weights[0, i, j]))
    for (i, d), text in cells(page, "dimension").items():
        assert text == decimal(trace.context[0, i, d])
        page.driver.execute_script(
            "document.querySelector(arguments[0]).click()",
            f".context button[data-row='{i}'][data-dimension='{d}']",
        )
        assert page.texts(".recipe .formula") == [trace.context_arithmetic(i, d)]


def shown_weights(page):
    found = cells(page)
    size = 1 + max(i for i, _ in found)
    return [[found[i, j] for j in range(size)] for i in range(size)]


def written_out(matrix):
    return [[decimal(x) for x in row] for row in matrix]


def test_page_opens_with_why_journey_weighs_what_it_does(page):
    assert page.texts(".recipe .formula") == [
        "0.55*0.55 + 0.87*0.87 + 0.66*0.66 = 1.4950",
        "1.4950 - 1.4950 = 0.0000",
        "exp(0.0000) = 1.0000",
        "0.5824 + 1.0000 + 0.9806 + 0.5212 + 0.4548 + 0.6646 = 4.2036",
        "1.0000 / 4.2036 = 0.2379",
    ]
    assert "takes 0.2379 of its context from itself" in page.texts(".recipe .moral")[0]


def test_clicking_a_cell_opens_its_arithmetic(page, journey):
    cell = page.one(".matrix button[data-row='1'][data-column='2']")
    page.click(cell)
    assert page.texts(".recipe .formula")[0] == "0.55*0.57 + 0.87*0.85 + 0.66*0.64 = 1.4754"
    check_cells(page, journey.attention)


def test_causal_switch_changes_the_weights(page, journey):
    full, causal = journey.attention, journey.attention.switched()
    assert shown_weights(page) == written_out(full.weights[0])
    page.click(page.one(".causal"))
    assert shown_weights(page) == written_out(causal.weights[0])
    assert shown_weights(page) != written_out(full.weights[0])
    check_cells(page, causal)
    page.click(page.one(".causal"))
    assert shown_weights(page) == written_out(full.weights[0])


def test_every_stage_shows_its_numbers(page, journey):
    stages = ("scores", "shifted", "exponentials", "weights")
    for number, stage in enumerate(stages):
        radio = page.all("#attention .choices input")[number]
        page.driver.execute_script("arguments[0].click()", radio)
        assert shown_weights(page) == written_out(getattr(journey.attention, stage)[0])


def test_row_table_shows_every_number_of_the_row(page, journey):
    trace = journey.attention
    rows = page.texts(".row-table tbody tr")
    for j, row in enumerate(rows):
        numbers = [getattr(trace, n)[0, 1, j] for n in ("scores", "shifted", "exponentials")]
        expected = "".join(map(decimal, [*numbers, trace.weights[0, 1, j]]))
        assert row.startswith(visible(trace.tokens[j]) + expected)
    context = "  ".join(map(decimal, trace.context[0, 1]))
    assert page.texts(".row-table tfoot")[0].endswith(context)


def test_heat_map_and_lines_choose_as_well(page, journey):
    from selenium.webdriver import ActionChains

    canvas = page.one("canvas")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    margin, size = 84, 44
    width, height = canvas.size["width"], canvas.size["height"]
    x, y = margin + 4.5 * size - width / 2, margin + 2.5 * size - height / 2
    ActionChains(page.driver).move_to_element_with_offset(canvas, int(x), int(y)).click().perform()
    trace = journey.attention
    assert page.texts(".recipe .formula")[-1].endswith(decimal(trace.weights[0, 2, 4]))
    page.click(page.one(".lines g[data-row='3']"))
    assert page.texts(".lines .weight") == [decimal(x) for x in trace.weights[0, 3]]


# --- Keyboard


def test_keyboard_alone_reaches_everything(page, journey):
    """Tab from the top to the end, stopping once at each thing that can be used."""
    stops = []
    for _ in range(80):
        page.press(TAB)
        stop = page.focused(
            "const e = document.activeElement; const part = e.closest('section');"
            "return e === document.body ? null : [part ? part.id : '', e.tagName.toLowerCase(),"
            " e.type ?? '']"
        )
        if stop is None:
            break
        stops.append(tuple(stop))
    found = {(part, tag) for part, tag, _ in stops}
    assert {
        ("tokens", "span"), ("tokens", "input"), ("strategies", "span"), ("merges", "input"),
        ("merges", "button"), ("training", "input"), ("training", "button"),
        ("training", "summary"), ("attention", "input"), ("attention", "button"),
        ("attention", "div"), ("heads", "canvas"), ("heads", "g"),
    } <= found  # fmt: skip
    kinds = {(part, kind) for part, _, kind in stops}
    assert {("merges", "radio"), ("merges", "range"), ("training", "range")} <= kinds
    assert {("attention", "radio"), ("attention", "checkbox")} <= kinds
    assert sum(part == "attention" and tag == "button" for part, tag, _ in stops) == 2


def focus(page, selector):
    page.driver.execute_script("document.querySelector(arguments[0]).focus()", selector)


def test_arrow_keys_walk_along_tokens(page, journey):
    focus(page, "#tokens .tok")
    page.press(RIGHT, RIGHT, LEFT)
    assert f"id {journey.merging.ids[1]}" in page.one("#tip").text


def test_arrow_keys_walk_through_cells_and_keep_the_focus(page, journey):
    trace = journey.attention
    focus(page, ".matrix button[tabindex='0']")
    for key, cell in ((RIGHT, (1, 2)), (DOWN, (2, 2)), (LEFT, (2, 1)), (UP, (1, 1)), (UP, (0, 1))):
        page.press(key)
        assert page.texts(".recipe .formula")[0] == trace.score_arithmetic(*cell)
    focus(page, ".context button[tabindex='0']")
    page.press(DOWN, RIGHT)
    assert page.texts(".recipe .formula") == [trace.context_arithmetic(1, 1)]
    focus(page, "canvas")
    page.press(DOWN)
    assert page.texts(".recipe .formula")[0] == trace.score_arithmetic(2, 1)
    focus(page, ".lines g[tabindex='0']")
    page.press(DOWN, DOWN)
    assert page.texts(".lines .weight") == [decimal(x) for x in trace.weights[0, 4]]
    focus(page, ".causal")
    page.press(" ")
    assert shown_weights(page) == written_out(trace.switched().weights[0])


# --- Colours


def luminance(colour):
    """Relative luminance of what `getComputedStyle` calls a colour."""
    numbers = [float(x) for x in re.findall(r"[\d.]+", colour.split("/")[0])]
    if colour.startswith("rgb"):
        numbers = [x / 255 for x in numbers[:3]]
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in numbers[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


BACKGROUND = """
let at = arguments[0];
const clear = (c) => c === 'rgba(0, 0, 0, 0)' || c === 'transparent';
while (at.parentElement && clear(getComputedStyle(at).backgroundColor)) at = at.parentElement;
return [getComputedStyle(arguments[0]).color, getComputedStyle(at).backgroundColor];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_can_be_read(page, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        paper = page.driver.execute_script(BACKGROUND, page.one("h1"))[1]
        assert (luminance(paper) > 0.5) == (scheme == "light")
        selectors = (
            "h1", ".lead", "nav a", "nav b", "section > p", ".tok.c0", ".tok.c1", ".tok.c2",
            ".tok.c3", ".tok.c4", ".tok.c0 small", ".tok.unknown", ".figures", ".verdict.good",
            ".verdict.wrong", ".decoded del", ".ids", "caption", ".matrix td button", ".formula",
            ".choices input:checked + bdi", ".note", "summary", "h2 .n",
        )  # fmt: skip
        for selector in selectors:
            ink, background = page.driver.execute_script(BACKGROUND, page.all(selector)[0])
            high, low = sorted((luminance(ink), luminance(background)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (selector, ink, background)
    finally:
        page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# --- Any text, any trace


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text(name, chromium, tmp_path):
    from selenium.common.exceptions import NoAlertPresentException

    trace = explain.journey(HOSTILE[name])
    page = opened(chromium, trace, tmp_path)
    with pytest.raises(NoAlertPresentException):
        _ = page.driver.switch_to.alert.text
    assert page.complaints() == []
    assert page.requests() == []
    assert page.texts("h1") == [visible(trace.text, blanks=False)]
    assert page.all("img, iframe, object, embed, svg[onload], [onerror], [onmouseover]") == []
    scripts = [s for s in page.all("script") if s.get_dom_attribute("type") is None]
    assert len(scripts) == 1
    assert [e.get_dom_attribute("data-id") for e in page.all("#tokens .tok")] == [
        str(number) for number in trace.merging.ids
    ]
    if trace.attention.tokens:
        check_first_cells(page, trace.attention)


def check_first_cells(page, trace):
    for (i, j), text in cells(page).items():
        assert text == decimal(trace.weights[0, i, j])


def test_hostile_names_of_tokens_stay_text(chromium, tmp_path):
    names = list(HOSTILE.values())
    x = np.random.default_rng(0).normal(size=(len(names), 3))
    page = opened(chromium, explain.attention(x, tokens=names), tmp_path)
    assert page.complaints() == []
    assert page.all("img, iframe, script:not([type]) ~ script") == []
    labels = page.texts(".vectors tbody th")
    assert labels == [visible(name) for name in explain.attention(x, tokens=names).tokens]


def test_queries_keys_and_values_of_two_heads(chromium, tmp_path):
    q, k, v = np.random.default_rng(3).normal(size=(3, 2, 5, 4)).round(2)
    trace = explain.attention(q, k[:, :4], v[:, :4], causal=True)
    page = opened(chromium, trace, tmp_path)
    for head in range(2):
        radios = page.all("#attention .choices:last-child input")
        page.driver.execute_script("arguments[0].click()", radios[head])
        numbers = np.array(page.texts(".vectors td"), dtype=float)
        np.testing.assert_allclose(
            numbers, np.concatenate([x[head].ravel() for x in (trace.q, trace.k, trace.v)])
        )
        for i in range(5):
            for j in range(4):
                page.driver.execute_script(
                    "document.querySelector(arguments[0]).click()",
                    f".matrix button[data-row='{i}'][data-column='{j}']",
                )
                steps = trace.weight_arithmetic(i, j, head).splitlines()
                expected = [trace.score_arithmetic(i, j, head), *steps]
                assert page.texts(".recipe .formula") == expected
    assert page.complaints() == []


def test_weights_of_any_heads(chromium, tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(6), size=(3, 4))
    trace = explain.heads(weights, list("abcd"), list("uvwxyz"))
    page = opened(chromium, trace, tmp_path)
    for head, radio in enumerate(page.all("#heads .choices input")):
        page.driver.execute_script("arguments[0].click()", radio)
        assert page.texts(".lines .weight") == [decimal(x) for x in weights[head, 0]]
    assert page.complaints() == []


def test_every_other_trace_has_a_page(chromium, tmp_path):
    for trace in (
        explain.tokenization("so it goes"),
        explain.bpe(explain.story.story_bpe(), "journeys"),
        explain.training("aaabdaaabac", 259),
        explain.training("", 256),
        explain.attention(np.empty((0, 3))),
        explain.attention(np.ones((2, 3)), np.empty((0, 3)), np.empty((0, 3))),
        explain.attention([[np.nan, 1.0], [np.inf, 2.0], [1e9, -1e-9]]),
        explain.heads(np.empty((1, 2, 0))),
        explain.journey(""),
    ):
        page = opened(chromium, trace, tmp_path)
        assert page.complaints() == []
        assert page.requests() == []


def test_a_long_text_has_a_window_that_the_arrow_keys_move(chromium, tmp_path):
    trace = explain.journey("step by step, one with another. " * 5)
    page = opened(chromium, trace, tmp_path)
    count = len(trace.attention.tokens)
    assert count > 40
    focus(page, ".matrix button[tabindex='0']")
    page.press(*[UP] * count, *[LEFT] * count)
    assert f"rows 1 to 12 of {count}" in page.texts(".matrix .quiet")[0]
    page.press(*[DOWN] * count)
    assert page.texts(".recipe .formula")[0] == trace.attention.score_arithmetic(count - 1, 0)
    check_first_cells(page, trace.attention)
    assert page.complaints() == []


def test_notebook_fragment_needs_no_script(chromium, tmp_path, journey):
    path = tmp_path / "notebook.html"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    path.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><title>x</title><link rel="icon" href="data:,">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; img-src data:">'
        + journey._repr_html_(),
        "utf-8",
    )
    page = Page(chromium, path)
    assert page.complaints() == []
    assert "0.2379" in page.texts(".notebook")[0]
    assert page.one("span[title^='1.4950 - 1.4950 = 0.0000']").text == "0.2379"
    assert all(not widget.is_displayed() for widget in page.all(".widget"))
    assert KNOWN_WEIGHTS[1] == 0.2379


# --- Other models


def test_a_lattice_and_longest_matches_open_and_show_no_complaint(chromium, tmp_path):
    from fastllm import UnigramTokenizer, WordPieceTokenizer

    pieces = [("<unk>", 0.0), ("▁a", -1.0), ("b", -2.0), ("▁", -3.0), ("a", -4.0), ("ab", -9.0)]
    page = opened(chromium, explain.unigram(UnigramTokenizer(pieces), "ab <b>"), tmp_path)
    assert page.texts("details[open] .taken .piece") == ["▁a -1.0", "b -2.0"]
    assert page.one("details[open] svg").is_displayed()
    assert page.complaints() == []
    words = WordPieceTokenizer({"[UNK]": 0, "a": 1, "##b": 2})
    page = opened(chromium, explain.word_piece(words, "ab <b>"), tmp_path)
    assert "##b" in page.one("details[open] table").text
    page.click(page.all("summary")[1])
    assert page.complaints() == page.requests() == []
