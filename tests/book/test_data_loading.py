"""Windows over the ids of a text, as the book cuts them."""

import numpy as np
import pytest
from vocabularies import gpt2_folder

from fastllm import BPETokenizer, book


class Places:
    """A tokenizer whose ids are the places of the characters."""

    def encode(self, text, allowed_special):
        assert allowed_special == {"<|endoftext|>"}
        return list(range(len(text)))


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [5, 9, 10, 23])
def test_dataset_windows_are_those_of_the_loop_in_the_book(length, stride):
    dataset = book.GPTDatasetV1("x" * length, Places(), 4, stride)
    ids = list(range(length))
    starts = range(0, length - 4, stride)
    assert dataset.input_ids.tolist() == [ids[i : i + 4] for i in starts]
    assert dataset.target_ids.tolist() == [ids[i + 1 : i + 5] for i in starts]
    assert len(dataset) == len(starts) == len(list(dataset))
    assert dataset.input_ids.dtype == np.int64


def test_dataset_refuses_a_text_shorter_than_a_window():
    with pytest.raises(ValueError, match=r"txt has 4 tokens; .* max_length = 4 .* at least 5"):
        book.GPTDatasetV1("abcd", Places(), 4, 1)
    with pytest.raises(ValueError, match="stride must be at least 1, not 0"):
        book.GPTDatasetV1("abcde", Places(), 4, 0)


def test_dataset_takes_every_tokenizer_of_bytes():
    tokenizers = (
        BPETokenizer.train("", 257, special_tokens=["<|endoftext|>"]),
        book.BPETokenizerSimple(),
    )
    tokenizers[1].train("abc", 258)
    for tokenizer in tokenizers:
        dataset = book.GPTDatasetV1("ab<|endoftext|>c", tokenizer, 3, 1)
        assert dataset[0][0].tolist()[:2] == [97, 98]
        assert dataset[0][1].tolist()[2] == 99


@pytest.mark.parametrize("drop_last", [True, False])
def test_dataloader_gives_every_window_once(drop_last):
    dataset = book.GPTDatasetV1("x" * 30, Places(), 4, 3)  # nine windows
    loader = book.DataLoader(dataset, batch_size=4, shuffle=True, drop_last=drop_last)
    batches = list(loader)
    assert len(batches) == len(loader) == (2 if drop_last else 3)
    firsts = [inputs[0] for batch, _ in batches for inputs in batch]
    assert len(firsts) == len({*firsts}) == (8 if drop_last else 9)
    assert all((targets == inputs + 1).all() for inputs, targets in batches)
    inputs, _ = batches[0]
    inputs[:] = 0  # batches are copies: the dataset does not change
    assert dataset.input_ids[0].tolist() == [0, 1, 2, 3]


def test_dataloader_shuffles_alike_from_the_same_seed_only():
    dataset = book.GPTDatasetV1("x" * 200, Places(), 4, 1)
    loader = book.DataLoader(dataset, batch_size=200, shuffle=True)

    def order():
        return next(iter(loader))[0][:, 0].tolist()

    book.manual_seed(1)
    first, second = order(), order()
    assert first != second
    book.manual_seed(1)
    assert [order(), order()] == [first, second]


def test_create_dataloader_v1_windows_of_gpt2(monkeypatch):
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(gpt2_folder()))
    text = "I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough"
    loader = book.create_dataloader_v1(text, 2, max_length=4, stride=4, shuffle=False)
    inputs, targets = next(iter(loader))
    assert inputs.tolist() == [[40, 367, 2885, 1464], [1807, 3619, 402, 271]]
    assert targets.tolist() == [[367, 2885, 1464, 1807], [3619, 402, 271, 10899]]
    assert (loader.shuffle, loader.drop_last, len(loader)) == (False, True, 2)
    with pytest.raises(ValueError, match="num_workers must be at least 0"):
        book.create_dataloader_v1(text, num_workers=-1)
