"""Special tokens follow tiktoken's rules; added tokens are always taken whole."""

import pytest
import tiktoken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_patterns import SCANNED as NAMED

from fastllm import BPETokenizer

RANKS = {bytes([b]): b for b in range(256)} | {b"ab": 256, b"<|": 257}
SPECIALS = {"<|a|>": 300, "<|b|>": 301, "<|a|><|b|>": 302}


@pytest.fixture
def tokenizer(bpe_tokenizer):
    return bpe_tokenizer(RANKS, pattern="gpt2", special_tokens=SPECIALS)


def test_special_text_raises_unless_allowed(tokenizer):
    for method in (tokenizer.encode, tokenizer.encode_to_numpy, tokenizer.count):
        with pytest.raises(ValueError, match=r"'<\|a\|>', which is a special token"):
            method("x<|a|>")
        with pytest.raises(ValueError, match="disallowed_special=\\(\\)"):
            method("x<|a|><|b|>", allowed_special={"<|b|>"})
    for method in (tokenizer.encode_batch, tokenizer.encode_batch_to_numpy):
        with pytest.raises(ValueError, match=r"'<\|a\|>'"):
            method(["fine", "x<|a|>"])


def test_special_text_becomes_its_id_where_allowed(tokenizer):
    assert tokenizer.encode("ab<|a|>ab", allowed_special="all") == [256, 300, 256]
    assert tokenizer.encode("ab<|a|>ab", allowed_special={"<|a|>"}) == [256, 300, 256]
    assert tokenizer.encode("<|a|>", allowed_special=["<|a|>"]) == [300]


def test_special_text_is_ordinary_where_not_disallowed(tokenizer):
    ordinary = [257, 97, 124, 62]
    assert tokenizer.encode("<|a|>", disallowed_special=()) == ordinary
    assert tokenizer.encode("<|a|>", disallowed_special={"<|b|>"}) == ordinary
    assert tokenizer.encode_ordinary("<|a|>") == ordinary
    ids = tokenizer.encode("<|a|><|b|>", allowed_special={"<|b|>"}, disallowed_special=())
    assert ids == [*ordinary, 301]


def test_special_any_text_can_be_disallowed(tokenizer):
    with pytest.raises(ValueError, match="'secret'"):
        tokenizer.encode("a secret", disallowed_special=["secret"])


def test_special_leftmost_and_longest_wins(tokenizer):
    assert tokenizer.encode("<|a|><|b|>", allowed_special="all") == [302]
    assert tokenizer.encode("<|b|><|a|>", allowed_special="all") == [301, 300]


def test_special_arguments_are_checked(tokenizer):
    with pytest.raises(ValueError, match='allowed_special must be "all"'):
        tokenizer.encode("a", allowed_special="<|a|>")
    with pytest.raises(ValueError, match='disallowed_special must be "all"'):
        tokenizer.encode("a", disallowed_special="none")
    with pytest.raises(TypeError):
        tokenizer.encode("a", allowed_special=3)


def test_special_tokens_cut_text_before_it_is_split(tokenizer):
    # Together "a <|a|>" has the pre-token " <|"; apart the blank ends its part.
    assert tokenizer.split("a <|a|>") == ["a", " <|", "a", "|>"]
    assert tokenizer.encode("a <|a|> ab", allowed_special="all") == [97, 32, 300, 32, 256]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["<|a|>", "<|b|>", "ab", " ", "<|", "|>", "x"]), max_size=8),
    st.sampled_from([set(), {"<|a|>"}, {"<|b|>"}, {"<|a|>", "<|b|>"}, "all"]),
    st.sampled_from([(), {"<|a|>"}, "all"]),
)
def test_special_rules_are_tiktokens(bpe_backend, parts, allowed, disallowed):
    specials = {"<|a|>": 300, "<|b|>": 301}
    kind = type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe_backend})
    rival = tiktoken.Encoding(
        "rival", pat_str=NAMED["gpt2"].steps[0], mergeable_ranks=RANKS, special_tokens=specials
    )
    tokenizer = kind(RANKS, pattern="gpt2", special_tokens=specials)
    options = {"allowed_special": allowed, "disallowed_special": disallowed}
    text = "".join(parts)
    try:
        expected = rival.encode(text, **options)
    except ValueError:
        with pytest.raises(ValueError, match="special token"):
            tokenizer.encode(text, **options)
    else:
        assert tokenizer.encode(text, **options) == expected
        assert tokenizer.encode_batch(["", text], **options) == [[], expected]
        assert tokenizer.decode(expected) == text


def test_added_tokens_are_always_taken_whole(bpe_tokenizer):
    tokenizer = bpe_tokenizer(
        RANKS, pattern="gpt2", special_tokens={"<|a|>": 300}, added_tokens={"tool": 301}
    )
    assert tokenizer.encode("abtoolab") == tokenizer.encode_ordinary("abtoolab") == [256, 301, 256]
    assert tokenizer.encode("tool<|a|>", disallowed_special=()) == [301, 257, 97, 124, 62]
    assert tokenizer.split("abtoolab") == ["ab", "tool", "ab"]


def test_normalized_tokens_are_looked_for_last_and_in_normal_form(bpe_tokenizer):
    def make(normalized):
        return bpe_tokenizer(
            RANKS,
            pattern="qwen2",
            added_tokens={"<t>": 300, "é": 301},
            normalized_tokens=normalized,
        )

    decomposed, struck = "e\u0301", "<t>\u0338"
    assert make([]).encode(decomposed) == [*"é".encode()]
    assert make(["é"]).encode(decomposed) == [301]
    assert make([]).encode(struck) == [300, *"\u0338".encode()]
    assert make(["<t>"]).encode(struck) == [*"<t≯".encode()]
    late = bpe_tokenizer(
        RANKS, pattern="gpt2", added_tokens={"ab": 256, "abc": 300}, normalized_tokens=["abc"]
    )
    assert late.encode("abc") == [256, 99]


def test_special_tokens_of_many_different_calls_are_not_all_kept(tokenizer):
    for number in range(200):
        tokenizer.encode("ab", disallowed_special=[f"x{number}"])
    assert len(tokenizer._policies) <= 64
    assert tokenizer.encode("<|a|>", allowed_special="all") == [300]


def test_special_tokens_made_by_joining_surrogates_are_found(bpe_tokenizer):
    tokenizer = bpe_tokenizer(RANKS, pattern="gpt2", special_tokens={"🎈": 300, "\ufffd": 301})
    assert tokenizer.encode("a\ud83c\udf88\ud800", allowed_special="all") == [97, 300, 301]


def test_decoding_leaves_special_tokens_out_where_asked(bpe_tokenizer):
    ranks = {bytes([b]): b for b in range(256)}
    tokenizer = bpe_tokenizer(
        ranks, pattern="gpt2", special_tokens={"<s>": 256}, added_tokens={"<t>": 257}
    )
    ids = [256, 97, 257, 0xC3, 256, 0xA9]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<t>é"
    assert tokenizer.decode_batch([ids], skip_special_tokens=True) == ["a<t>é"]
    decoder = tokenizer.stream_decoder(skip_special_tokens=True)
    assert "".join(map(decoder.push, ids)) + decoder.finish() == "a<t>é"
    assert tokenizer.decode([256, 999, 97], skip_special_tokens=True) == "a"
    with pytest.raises(KeyError, match="id 999 is not in the vocabulary"):
        tokenizer.decode([256, 999])
