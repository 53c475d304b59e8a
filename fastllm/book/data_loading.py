"""Sliding windows over the ids of a text, in batches (section 2.6)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fastllm.book.random_numbers import Generator, default_generator
from fastllm.checks import tokenization as arguments
from fastllm.corpus.encoded.batches import Windows
from fastllm.corpus.encoded.dataset import TokenDataset
from fastllm.vocabularies.published import get_encoding

Ids = npt.NDArray[np.int64]
END_OF_TEXT = "<|endoftext|>"


class GPTDatasetV1:
    """Windows of a text as ids, and for each the same window one place to the right.

    Parameters
    ----------
    txt : str
        The text. ``<|endoftext|>`` in it is one token.
    tokenizer
        Anything with ``encode(txt, allowed_special={"<|endoftext|>"})``: a `BPETokenizer` of
        fastllm, a `BPETokenizerSimple`, an encoding of tiktoken.
    max_length : int
        The length of each window.
    stride : int
        How far each window lies behind the one before: windows overlap if it is less than
        `max_length`, and leave ids out if it is more.

    Attributes
    ----------
    input_ids, target_ids : ndarray of int64, shape (windows, max_length)
        What a model sees, and what it is to predict at each place of it. Both look into one array,
        so that overlapping windows take no memory.

    Raises
    ------
    TypeError, ValueError
        If a number is not an integer, or less than 1; if the text has no more ids than one window.

    Notes
    -----
    The ids at the end that do not fill a window are left out: with n ids there are windows from 0,
    `stride`, 2 `stride`, ... as long as start + `max_length` < n, since the last target has to be
    there too.

    Examples
    --------
    Ten letters, windows of four, one every three letters. There is a third window, "ghij", but no
    letter behind it to predict.

    >>> from fastllm import BPETokenizer
    >>> from fastllm.book import GPTDatasetV1
    >>> letters = BPETokenizer.train("", 256)
    >>> dataset = GPTDatasetV1("abcdefghij", letters, max_length=4, stride=3)
    >>> [(letters.decode(inputs), letters.decode(targets)) for inputs, targets in dataset]
    [('abcd', 'bcde'), ('defg', 'efgh')]
    """

    def __init__(self, txt: str, tokenizer: Any, max_length: int, stride: int) -> None:
        self.tokenizer = tokenizer
        length = arguments.check_integer(max_length, "max_length", 1)
        step = arguments.check_integer(stride, "stride", 1)
        ids = np.array(tokenizer.encode(txt, allowed_special={END_OF_TEXT}), np.int64)
        if len(ids) <= length:
            raise ValueError(
                f"txt has {len(ids)} tokens; a window of max_length = {length} and its target need "
                f"at least {length + 1}"
            )
        windows = np.lib.stride_tricks.sliding_window_view(ids, length)
        self.input_ids: Ids = windows[:-1:step]
        self.target_ids: Ids = windows[1::step]

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, idx: int) -> tuple[Ids, Ids]:
        return self.input_ids[idx], self.target_ids[idx]


class DataLoader:
    """The windows of a dataset in batches, in the order of PyTorch's data loader.

    Parameters
    ----------
    dataset : GPTDatasetV1 or Windows
    batch_size : int, default 1
    shuffle : bool, default False
        Whether to shuffle the windows, anew in every round.
    drop_last : bool, default False
        Whether to leave out the last batch if it is not full.

    Examples
    --------
    Each round draws a seed from the generator that `manual_seed` sets, and shuffles by it:

    >>> from fastllm import BPETokenizer
    >>> from fastllm.book import DataLoader, GPTDatasetV1, manual_seed
    >>> dataset = GPTDatasetV1("abcdefgh", BPETokenizer.train("", 256), max_length=2, stride=2)
    >>> _ = manual_seed(123)
    >>> for inputs, targets in DataLoader(dataset, batch_size=2, shuffle=True):
    ...     print(inputs.tolist(), targets.tolist())
    [[97, 98], [99, 100]] [[98, 99], [100, 101]]
    [[101, 102]] [[102, 103]]
    """

    def __init__(
        self,
        dataset: GPTDatasetV1 | Windows,
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_size = arguments.check_integer(batch_size, "batch_size", 1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)

    def __len__(self) -> int:
        """The number of batches."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[Ids]]:
        """Batches as lists of two arrays (batch_size, max_length): inputs, and targets."""
        # PyTorch draws this number for its workers, of which there are none here.
        default_generator().integer()
        return self._batches()

    def _batches(self) -> Iterator[list[Ids]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = Generator(default_generator().integer()).permutation(len(order))
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield [self.dataset.input_ids[chosen], self.dataset.target_ids[chosen]]


def create_dataloader_v1(
    txt: str | TokenDataset,
    batch_size: int = 4,
    max_length: int = 256,
    stride: int = 128,
    shuffle: bool = True,
    drop_last: bool = True,
    num_workers: int = 0,
) -> DataLoader:
    """Batches of windows over the GPT-2 ids of a text, or over ids that lie in files.

    Parameters
    ----------
    txt : str or TokenDataset
    batch_size, shuffle, drop_last
        As for `DataLoader`.
    max_length, stride
        As for `GPTDatasetV1`.
    num_workers : int, default 0
        Not used: the windows are there already, so there is no work to share.

    Returns
    -------
    DataLoader
        Each batch is a list of two arrays of int64, shape (batch_size, max_length).

    Raises
    ------
    FileNotFoundError
        If GPT-2's vocabulary is neither on this machine nor can be downloaded; the message says
        where to get it. See `fastllm.get_encoding`.
    TypeError, ValueError
        If a number is not an integer or too small, or the text is shorter than a window.

    Examples
    --------
    Where GPT-2's vocabulary is at hand::

        loader = create_dataloader_v1(
            "I HAD always thought", 1, max_length=4, stride=1, shuffle=False
        )
        next(iter(loader))  # [array([[40, 367, 2885, 1464]]), array([[367, 2885, 1464, 1807]])]
    """
    arguments.check_integer(num_workers, "num_workers", 0)
    dataset: GPTDatasetV1 | Windows
    if isinstance(txt, TokenDataset):
        dataset = txt.windows(max_length, stride)
    else:
        dataset = GPTDatasetV1(txt, get_encoding("gpt2"), max_length, stride)
    return DataLoader(dataset, batch_size, shuffle, drop_last)
