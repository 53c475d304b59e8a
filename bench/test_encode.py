"""Turning text into ids, with the word cache cold and warm."""

from fastllm.reference import tokenization as reference


def test_encode_cold(measure, bpe, text, ranks):
    def prepare():
        encoder = bpe.BytePairEncoder(ranks)
        return lambda: encoder.encode(text)

    ids = measure("encode, cold", prepare)
    assert ids == reference.BytePairEncoder(ranks).encode(text)


def test_encode_warm(measure, bpe, text, ranks):
    encoder = bpe.BytePairEncoder(ranks)
    encoder.encode(text)
    ids = measure("encode, warm", lambda: lambda: encoder.encode(text))
    assert ids == reference.BytePairEncoder(ranks).encode(text)


def test_encode_to_numpy(measure, bpe, text, ranks):
    encoder = bpe.BytePairEncoder(ranks)
    encoder.encode(text)
    ids = measure("encode to NumPy, warm", lambda: lambda: encoder.encode_to_numpy(text))
    assert ids.tolist() == reference.BytePairEncoder(ranks).encode(text)
