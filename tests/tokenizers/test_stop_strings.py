"""Text up to a stop string, whatever pieces it comes in: against a search of the whole text."""

import itertools
import random

import pytest

from fastllm import WordPieceTokenizer
from fastllm.tokenizers.stop_strings import StopStrings


def until_stop(text, stop):
    """The plain rule: the string that ends first, the longest of those; what comes before it."""
    for end in range(1, len(text) + 1):
        complete = [each for each in stop if text[:end].endswith(each)]
        if complete:
            found = max(complete, key=len)
            return text[: end - len(found)], found
    return text, None


def in_pieces(text, stop, cuts):
    """The same by pushing one piece after the other."""
    stopping = StopStrings(stop)
    given = [stopping.push(text[a:b]) for a, b in itertools.pairwise([0, *cuts, len(text)])]
    return "".join(given) + stopping.finish(), stopping.found


def test_every_cut_of_every_short_text_is_the_plain_rule():
    stops = [["aab"], ["aa", "b"], ["ab", "aab", "ba"], ["abab"], ["c"], []]
    for stop, text in itertools.product(stops, map("".join, itertools.product("ab", repeat=6))):
        expected = until_stop(text, stop)
        assert in_pieces(text, stop, []) == in_pieces(text, stop, range(1, 6)) == expected


def test_random_texts_in_random_pieces_are_the_plain_rule():
    draw = random.Random(5)
    for _ in range(300):
        stop = ["".join(draw.choices("abé", k=draw.randint(1, 5))) for _ in range(3)]
        text = "".join(draw.choices("abé", k=40))
        cuts = sorted(draw.choices(range(41), k=6))
        assert in_pieces(text, stop, cuts) == until_stop(text, stop)


def test_what_cannot_begin_a_stop_string_is_given_at_once():
    stopping = StopStrings("</s>")
    assert [stopping.push(character) for character in "a<b</s"] == ["a", "", "<b", "", "", ""]
    assert (stopping.finish(), stopping.found) == ("</s", None)


def test_nothing_comes_behind_a_stop_string():
    stopping = StopStrings(["."])
    assert (stopping.push("a.b"), stopping.push("c"), stopping.finish()) == ("a", "", "")
    stopping.reset()
    assert (stopping.found, stopping.push("b")) == (None, "b")


def test_a_long_stop_string_costs_no_more_than_its_text():
    stopping = StopStrings("a" * 200_000 + "b")
    assert stopping.push("a" * 200_001) == "a"
    assert stopping.push("c") == "a" * 200_000 + "c"


def test_a_stream_ends_before_a_stop_string(bpe_tokenizer):
    tokenizer = bpe_tokenizer({bytes([b]): b for b in range(256)} | {b"s>": 256}, pattern="gpt2")
    ids = tokenizer.encode("é</</s>é")
    decoder = tokenizer.stream_decoder(stop=["</s>", "\n\n"])
    assert "".join(decoder.push(number) for number in ids) == "é</"
    assert decoder.stopped == "</s>"
    assert (decoder.finish(), decoder.stopped) == ("", None)
    assert decoder.push(tokenizer.encode("a</s")) + decoder.finish() == "a</s"
    words = WordPieceTokenizer({"[UNK]": 0, "so": 1, "##on": 2, "it": 3}).stream_decoder(
        stop="on i"
    )
    assert [words.push(number) for number in (1, 2, 3)] == ["s", "o", ""]


@pytest.mark.parametrize(
    ("stop", "error", "message"),
    [
        (5, TypeError, "stop must be a str or an iterable of str, not int"),
        (b"a", TypeError, "stop must be a str or an iterable of str, not bytes"),
        (["a", 1], TypeError, "stop holds 1; every stop string must be a str"),
        (["a", ""], ValueError, "stop holds an empty string"),
    ],
)
def test_other_stop_strings_are_refused(stop, error, message):
    with pytest.raises(error, match=message):
        StopStrings(stop)
