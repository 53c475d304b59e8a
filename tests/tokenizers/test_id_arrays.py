"""Arrays of ids: 32 bits each unless asked for; new ones, or given."""

from itertools import chain

import numpy as np
import pytest
from texts import TRAPS

from fastllm import BPETokenizer
from fastllm.reference import tokenization as reference

BYTES = {bytes([b]): b for b in range(256)}
TEXTS = ["ab<s>", "", "é", *TRAPS.values()]


@pytest.fixture
def tokenizer(bpe_tokenizer):
    return bpe_tokenizer(BYTES | {b"ab": 65_534}, pattern="gpt2", special_tokens={"<s>": 65_535})


OPTIONS = [{"disallowed_special": ()}, {"allowed_special": "all"}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint16, "uint16", np.uint32, "<u4", np.int32, "int64"])
def test_arrays_are_of_the_type_asked_for(tokenizer, dtype, options):
    expected = [tokenizer.encode(text, **options) for text in TEXTS]
    for text, ids in zip(TEXTS, expected, strict=True):
        array = tokenizer.encode_to_numpy(text, dtype=dtype, **options)
        assert (array.dtype, array.tolist()) == (np.dtype(dtype), ids)
    flat, offsets = tokenizer.encode_batch_to_numpy(TEXTS, dtype=dtype, **options)
    assert (flat.dtype, flat.tolist()) == (np.dtype(dtype), [*chain(*expected)])
    assert np.diff(offsets).tolist() == [len(ids) for ids in expected]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
@pytest.mark.parametrize("pattern", ["gpt2", r"\S+"])
def test_arrays_given_are_used_again(bpe_tokenizer, dtype, options, pattern):
    tokenizer = bpe_tokenizer(BYTES, pattern=pattern, special_tokens={"<s>": 256})
    out = np.full(2000, 7, dtype)
    for texts in (TEXTS, ["ab"], []):
        ids, offsets = tokenizer.encode_batch_to_numpy(texts, out=out, **options)
        assert ids.size == 0 or np.shares_memory(ids, out)
        assert ids.dtype == dtype
        expected, places = tokenizer.encode_batch_to_numpy(texts, **options)
        assert (ids.tolist(), offsets.tolist()) == (expected.tolist(), places.tolist())
    ids, _ = tokenizer.encode_batch_to_numpy(["ab"], out=out, dtype=dtype)
    assert out[:3].tolist() == [97, 98, out[2]]


def test_arrays_are_of_32_bits_unless_asked_for(tokenizer):
    assert tokenizer.encode_to_numpy("ab").dtype == np.uint32
    assert tokenizer.encode_batch_to_numpy(["ab"])[0].dtype == np.uint32


def test_arrays_that_ids_do_not_fit_are_refused(bpe_tokenizer):
    # Neither text holds the id that does not fit: what counts is the vocabulary.
    for tokens in ({"special_tokens": {"<s>": 65_536}}, {"ranks": BYTES | {b"ab": 65_536}}):
        tokenizer = bpe_tokenizer(**{"ranks": BYTES, "pattern": "gpt2"} | tokens)
        message = "uint16 holds ids up to 65535, but the highest of the vocabulary is 65536"
        for call in (
            lambda t=tokenizer: t.encode_to_numpy("a", dtype=np.uint16),
            lambda t=tokenizer: t.encode_batch_to_numpy(["a"], dtype=np.uint16),
            lambda t=tokenizer: t.encode_batch_to_numpy(["a"], out=np.empty(9, np.uint16)),
        ):
            with pytest.raises(ValueError, match=message):
                call()


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, float, "uint64", ">u2", "nonsense", 5])
def test_arrays_of_other_types_are_refused(tokenizer, dtype):
    with pytest.raises(ValueError, match="dtype must be uint32, uint16, int32 or int64, not"):
        tokenizer.encode_to_numpy("a", dtype=dtype)
    with pytest.raises(ValueError, match="dtype must be uint32, uint16, int32 or int64, not"):
        tokenizer.encode_batch_to_numpy(["a"], dtype=dtype)


def test_arrays_given_must_be_of_the_type_asked_for_and_have_room(tokenizer):
    with pytest.raises(ValueError, match="out holds uint32, but dtype is uint16"):
        tokenizer.encode_batch_to_numpy(["a"], out=np.empty(9, np.uint32), dtype=np.uint16)
    with pytest.raises(ValueError, match="out has room for 1 ids, but the texts have 2"):
        tokenizer.encode_batch_to_numpy(["xy"], out=np.empty(1, np.uint16))
    with pytest.raises(TypeError, match="out must be an array, not list"):
        tokenizer.encode_batch_to_numpy(["xy"], out=[0, 0])
    for wrong in (np.empty(9, np.int8), np.empty((3, 3), np.uint16), np.empty(9, np.uint16)[::2]):
        with pytest.raises(ValueError, match="contiguous array of uint32, uint16, int32 or int64"):
            tokenizer.encode_batch_to_numpy(["xy"], out=wrong)


def test_arrays_of_a_published_size_of_vocabulary_fit():
    tokenizer = BPETokenizer(BYTES | {b"ab": 50_255}, pattern="gpt2")
    texts = ["ab" * 70_000, "b"] * 2
    wide, _ = tokenizer.encode_batch_to_numpy(texts, threads=2)
    narrow, _ = tokenizer.encode_batch_to_numpy(texts, threads=2, dtype=np.uint16)
    assert wide.tolist() == narrow.tolist()


def test_arrays_keep_their_ids_while_anything_refers_to_them(tokenizer):
    # Long enough for threads, where there are any.
    long = 1 if tokenizer._bpe is reference else 20
    first, second = ["low lower " * 200 * long] * 3, ["é 中 new " * 150 * long] * 5
    expected = [i for text in first for i in tokenizer.encode(text)]
    for threads in (1, 2):
        ids, _ = tokenizer.encode_batch_to_numpy(first, threads=threads)
        part = ids[10:-10]
        del ids
        for _ in range(3):
            others, _ = tokenizer.encode_batch_to_numpy(second, threads=threads)
            others[:] = 0
            del others
        assert part.tolist() == expected[10:-10]
        tokenizer.count_batch(second, threads=threads)
        assert part.tolist() == expected[10:-10]


class Tensor:
    """What a tensor of PyTorch is to decoding: slow to go through one by one."""

    def __init__(self, values):
        self._values = values

    def __iter__(self):
        raise AssertionError("each number would be a tensor of its own")

    def tolist(self):
        return self._values


def test_tensors_are_decoded_in_one_go(tokenizer):
    assert tokenizer.decode(Tensor([104, 105])) == tokenizer.decode(np.array([104, 105])) == "hi"
    assert tokenizer.decode(Tensor(104)) == tokenizer.decode(np.array(104)) == "h"
