"""Traces of automata: the table that the engine runs, and the pieces that `split` gives."""

import pytest

from fastllm import explain, reference
from fastllm.explain.pattern_steps import MOST_LOOK_UPS, MOST_STATES, described
from fastllm.explain.views.patterns import picture
from fastllm.patterns.code_points import complement, union
from fastllm.patterns.syntax import NoAutomatonError

SMALL = r" ?[a-z]+|\s+(?!\S)|\s|[^\sa-z]+"
EXPRESSIONS = ["ab|a", SMALL, "a*b?", "^a|(?:b??)+c", r"\p{L}++\z|.", "(?=b)|a", r"[^\s\S]", "gpt2"]
TEXTS = ["", "a", "abaab cc", "so  it\n\n is, no?", "xyzABC\u0301 \u202e "]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_look_ups_lead_to_the_pieces(expression):
    for text in TEXTS:
        trace = explain.pattern(expression, text)
        assert list(trace.pieces) == reference.split(text, expression)
        found = [(attempt.start, attempt.end) for attempt in trace.attempts if attempt.end]
        pieces = [text[start:end] for start, end in found if end > start]
        assert [piece for piece in trace.pieces if piece in pieces] == pieces
        for attempt in trace.attempts:
            check_attempt(trace, attempt)


def check_attempt(trace, attempt):
    """Each look-up begins where the last has led, and the last match that is seen is the end."""
    ends = []
    for number, look_up in enumerate(attempt.look_ups):
        state = trace.states[look_up.state]
        assert look_up.place == attempt.start + number
        character = trace.text[look_up.place : look_up.place + 1]
        if character:
            runs = trace.classes[look_up.column].runs
            assert any(first <= ord(character) <= last for first, last in runs)
        else:
            assert trace.columns[look_up.column] == "end"
        target = state.targets[look_up.column]
        later = attempt.look_ups[number + 1 :]
        assert target == (later[0].state if later else None)
        ends += [look_up.place] if state.matches[look_up.column] else []
    assert attempt.end == (ends[-1] if ends else None)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_character_is_in_one_class(expression):
    trace = explain.pattern(expression)
    assert union(*(found.runs for found in trace.classes)) == ((0, 0x10FFFF),)
    assert sum(found.count for found in trace.classes) == 0x110000
    assert len(set(trace.columns)) == len(trace.columns)
    for state in trace.states:
        assert len(state.targets) == len(state.matches) == len(trace.columns)
        assert state.targets[-1] is None


def test_a_match_is_seen_one_character_late():
    trace = explain.pattern("ab|a", "ac")
    first, *_ = trace.attempts
    assert [(look.place, trace.cell(look.state, look.column)) for look in first.look_ups] == [
        (0, "1"),
        (1, "✓ -"),
    ]
    assert trace.meaning(first, first.look_ups[1]) == "a match may end here; nowhere on: a"


def test_what_is_given_back_is_said():
    trace = explain.pattern(SMALL, "a  b")
    said = [trace.meaning(attempt, look_up) for attempt, look_up in trace.shown_look_ups()]
    assert "nowhere on: ·, 1 character back" in said
    lost = explain.pattern("(?:b)", "a")
    assert "no match: this character is left as it is" in str(lost)
    assert "an empty match" in str(explain.pattern("b?", "a"))


def test_sets_are_written_as_people_would():
    assert described(()) == "nothing"
    assert described(((0, 0x10FFFF),)) == "any"
    assert described(((97, 98), (100, 100))) == "[abd]"
    assert described(complement(((97, 122),))) == "[^a-z]"
    assert [found.name for found in explain.pattern(SMALL).classes] == ["0…", "\\s…", "·", "[a-z]"]
    assert [found.name for found in explain.pattern("b|b[b-d]").classes] == ["b", "[cd]", "else"]


def test_large_patterns_and_texts_are_shown_in_part():
    trace = explain.pattern(r"a{90}|\s", "a " * 4000)
    assert sum(len(attempt.look_ups) for attempt in trace.attempts) <= MOST_LOOK_UPS + 91
    assert len(trace.pieces) == 8000
    assert f"… and {len(trace.states) - MOST_STATES} more states" in str(trace)
    assert "… and 7,800 more pieces" in str(trace)
    assert "too many to draw" in trace.sections()[0].html
    assert "<svg" not in trace.sections()[0].html


def test_pictures_have_each_state_and_each_arrow():
    trace = explain.pattern(SMALL)
    drawn = picture(trace)
    arrows = {(i, t) for i, s in enumerate(trace.states) for t in s.targets if t is not None}
    assert drawn.count('class="state"') == len(trace.states) == 8
    assert drawn.count('class="arrow"') == len(arrows)
    assert "stroke-dasharray" in drawn


def test_patterns_that_have_no_automaton_say_why():
    with pytest.raises(NoAutomatonError, match="it looks behind"):
        explain.pattern("(?<=a)b")
    with pytest.raises(ValueError, match="neither a name"):
        explain.pattern("(")
    with pytest.raises(TypeError, match="text must be a str, not int"):
        explain.pattern("a", 3)
    assert explain.pattern("smollm2", "12 a").expression.startswith("'(?:")
