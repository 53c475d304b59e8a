"""Methods of tokenizers that are timed nowhere else. `bench.method_rivals` has tiktoken beside."""

import pytest

from fastllm import BPETokenizer, CharTokenizer, WordTokenizer


@pytest.fixture
def tokenizer(bpe, ranks):
    """`BPETokenizer` on each backend in turn."""
    return type("BPETokenizer", (BPETokenizer,), {"_bpe": bpe})(ranks, pattern="gpt2")


@pytest.mark.parametrize("method", ["decode_tokens_bytes", "decode_with_offsets", "decode"])
def test_decoding(measure, tokenizer, text, method):
    ids = BPETokenizer(tokenizer.mergeable_ranks, pattern="gpt2").encode_ordinary(text)
    found = measure(method, lambda: lambda: getattr(tokenizer, method)(ids))
    made = {
        "decode_tokens_bytes": lambda: b"".join(found).decode(),
        "decode_with_offsets": lambda: found[0],
        "decode": lambda: found,
    }
    assert made[method]() == text


def test_stream(measure, tokenizer, text):
    ids = tokenizer.encode_ordinary(text)

    def stream():
        decoder = tokenizer.stream_decoder()
        return "".join([decoder.push(number) for number in ids]) + decoder.finish()

    assert measure("a stream, token by token", lambda: stream) == text


def test_encode_with_offsets(measure, tokenizer, text):
    ids, spans = measure("encode_with_offsets", lambda: lambda: tokenizer.encode_with_offsets(text))
    assert ids == tokenizer.encode_ordinary(text)
    assert spans[-1][1] == len(text)


def test_truncate(measure, tokenizer, text):
    half = len(tokenizer.encode_ordinary(text)) // 2
    found = measure("truncate", lambda: lambda: tokenizer.truncate(text, half))
    assert text.startswith(found)
    assert tokenizer.count(found) <= half


@pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer])
def test_simple_tokenizers(measure, text, kind):
    tokenizer = kind.train(text)
    ids = tokenizer.encode(text)
    tokens = measure(f"{kind.__name__}.encode", lambda: lambda: tokenizer.encode(text))
    assert tokens == ids
    assert kind is WordTokenizer or tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer])
def test_decoding_of_simple_tokenizers(measure, text, kind):
    tokenizer = kind.train(text)
    ids = tokenizer.encode(text)
    found = measure(f"{kind.__name__}.decode", lambda: lambda: tokenizer.decode(ids))
    assert tokenizer.encode(found) == ids
