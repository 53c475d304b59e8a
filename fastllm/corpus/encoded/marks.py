"""Ids around documents: one before each, one behind each."""

from __future__ import annotations

from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.checks import tokenization as arguments

FEW = 64  # where there are fewer marks than one for so many ids, parts are copied one by one


def mark_id(mark: str | int | None, tokenizer: Any, name: str) -> int | None:
    """The id of a separator or beginning, which is given as a token or as its id.

    Raises
    ------
    TypeError, ValueError
        If it is neither; the message calls it `name`.
    """
    if mark is None:
        return None
    if isinstance(mark, str):
        specials = tokenizer.special_tokens
        if mark in specials:
            return int(specials[mark])
        if not mark.isdecimal():
            ids = tokenizer.encode(mark, disallowed_special=()) if mark else []
            if len(ids) == 1:
                return int(ids[0])
            known = ", ".join(map(repr, sorted(specials)[:8])) or "none"
            raise ValueError(
                f"{name} {mark!r} is no token of the tokenizer; its special tokens are {known}"
            )
        mark = int(mark)
    number = arguments.check_integer(mark, name, 0)
    if number > tokenizer.max_token_value:
        raise ValueError(
            f"{name} {number} is no id of the tokenizer, whose ids end at "
            f"{tokenizer.max_token_value}"
        )
    return number


def add_marks(
    ids: np.typing.NDArray[Any],
    offsets: np.typing.NDArray[np.int64],
    starts: np.typing.NDArray[np.bool_],
    ends: np.typing.NDArray[np.bool_],
    begin: int | None,
    separator: int | None,
) -> tuple[np.typing.NDArray[Any], np.typing.NDArray[np.int64]]:
    """Ids with marks put in, and where each text now ends.

    Parameters
    ----------
    ids, offsets
        As `encode_batch_to_numpy` gives them.
    starts, ends : array of bool, one for each text
        Whether it begins, and ends, a document.
    begin, separator : int, optional
        What stands before each document, and behind it.

    Examples
    --------
    >>> import numpy as np
    >>> ids, offsets = np.array([5, 6, 7], np.uint16), np.array([0, 2, 2, 3])
    >>> starts, ends = np.array([True, True, True]), np.array([True, True, False])
    >>> [part.tolist() for part in add_marks(ids, offsets, starts, ends, 1, 0)]
    [[1, 5, 6, 0, 1, 0, 1, 7], [4, 6, 8]]
    """
    if begin is None and separator is None:
        return ids, offsets[1:]
    wanted = np.stack([starts & (begin is not None), ends & (separator is not None)], 1)
    places = np.stack([offsets[:-1], offsets[1:]], 1)[wanted]
    values = np.array([begin or 0, separator or 0], ids.dtype)
    marked = _inserted(ids, places, np.broadcast_to(values, wanted.shape)[wanted])
    return marked, offsets[1:] + np.cumsum(wanted.sum(1))


def _inserted(
    ids: np.typing.NDArray[Any], places: np.typing.NDArray[np.int64], marks: np.typing.NDArray[Any]
) -> np.typing.NDArray[Any]:
    if len(places) * FEW > len(ids):
        return np.insert(ids, places, marks)
    made = np.empty(len(ids) + len(places), ids.dtype)
    start = 0
    for number, place in enumerate(places.tolist()):
        made[start + number : place + number] = ids[start:place]
        start = place
    made[start + len(places) :] = ids[start:]
    made[places + np.arange(len(places))] = marks
    return made
