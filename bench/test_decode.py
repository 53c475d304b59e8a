"""Turning ids back into bytes."""

from fastllm.reference import tokenization as reference


def test_decode(measure, bpe, text, ranks):
    ids = reference.BytePairEncoder(ranks).encode(text)
    encoder = bpe.BytePairEncoder(ranks)
    data = measure("decode", lambda: lambda: encoder.decode_bytes(ids))
    assert data == text.encode()
