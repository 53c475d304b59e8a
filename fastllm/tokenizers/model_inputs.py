"""Batches as models take them: rows of ids, cut off and filled up to one length.

On paper, with a template that puts C before a text and S behind it, at most five ids, and P to fill
up with, the texts "a b c d e" and "f" are

    C a b c S     1 1 1 1 1          and with what was cut off,     C a b c S
    C f S P P     1 1 1 0 0          stride 1:                      C c d e S
    ids           attention mask                                    C f S P P

What is cut off is counted in ids of the texts, before anything is put around them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from fastllm.checks import lazy_numpy as np
from fastllm.checks.tokenization import IdArray
from fastllm.tokenizers.lengths import Padding, Truncation
from fastllm.tokenizers.template import Part, Template

Numbers: TypeAlias = "np.typing.NDArray[np.int64]"
Range = tuple[int, int]


class ModelInputs(NamedTuple):
    """A batch of texts as a model takes it.

    Attributes
    ----------
    ids, type_ids : array of int64, shape (rows, length)
    attention_mask : array of int64, shape (rows, length)
        1 where there is a token, 0 where a row was filled up.
    special_tokens_mask : array of int64, shape (rows, length)
        1 for what was put around texts or filled in, 0 for tokens of texts.
    text_numbers : array of int64, shape (rows,)
        Which text a row is of: several have the same where parts that were cut off follow.
    offsets : array of int64, shape (rows, length, 2), optional
        Where each token begins and ends in its text; (0, 0) for what is of none.
    """

    ids: Numbers
    type_ids: Numbers
    attention_mask: Numbers
    special_tokens_mask: Numbers
    text_numbers: Numbers
    offsets: Numbers | None = None


class EncodedTexts(NamedTuple):
    """The ids of many texts, in one array.

    Attributes
    ----------
    ids : array
    ends : array of int64, one more than there are texts
        The ids of text i are ``ids[ends[i]:ends[i + 1]]``.
    spans : array of int64, shape (ids, 2), optional
        Where each token begins and ends in its text.
    """

    ids: IdArray
    ends: Numbers
    spans: Numbers | None = None


class Rows(NamedTuple):
    """Which ids each row has, of one text or of two.

    Attributes
    ----------
    numbers : array of int64, shape (rows,)
    starts, ends : array of int64, shape (rows, 1 or 2)
        Those of text number n are from ``starts`` to ``ends`` of it.
    """

    numbers: Numbers
    starts: Numbers
    ends: Numbers


def model_inputs(
    sides: list[EncodedTexts],
    template: Template,
    truncation: Truncation | None,
    padding: Padding | None,
    overflowing: bool,
) -> ModelInputs:
    """Texts, or pairs of them, as a model takes them."""
    is_pair = len(sides) == 2
    lengths = np.stack([np.diff(side.ends) for side in sides], axis=1)
    kept = lengths
    if truncation is not None:
        room = room_for_texts(truncation, template.added(is_pair))
        kept = lengths_kept(lengths, room, truncation.strategy)
    if overflowing and truncation is not None:
        rows = all_rows(lengths, kept, truncation)
    else:
        from_left = truncation is not None and truncation.direction == "left"
        starts = lengths - kept if from_left else np.zeros_like(lengths)
        rows = Rows(np.arange(len(lengths)), starts, starts + kept)
    return filled_up(sides, rows, template, padding)


# --- Truncation ----------------------------------------------------------------------------------


def room_for_texts(truncation: Truncation, added: int) -> int:
    """How many ids of texts there may be, beside those that are put around them."""
    if truncation.max_length < added:
        raise ValueError(
            f"max_length must be at least {added}, the number of special tokens around texts, not "
            f"{truncation.max_length}"
        )
    return truncation.max_length - added


def lengths_kept(lengths: Numbers, room: int, strategy: str) -> Numbers:
    """How many ids of each text stay, so that no row has more than `room`.

    >>> lengths_kept(np.array([[9, 3], [2, 2], [7, 8]]), 7, "longest_first").tolist()
    [[4, 3], [2, 2], [3, 4]]
    """
    if room == 0:
        return np.zeros_like(lengths)
    too_many = np.maximum(lengths.sum(axis=1) - room, 0)
    if strategy == "longest_first":
        return np.where(too_many[:, None] > 0, _longest_cut_first(lengths, room), lengths)
    cut = int(strategy == "only_second")
    if cut >= lengths.shape[1]:
        if too_many.any():
            raise ValueError("strategy 'only_second' cuts the second text, and there is none")
        return lengths
    kept = lengths.copy()
    kept[:, cut] -= too_many
    if (kept[too_many > 0, cut] <= 0).any():
        raise ValueError(
            f"strategy {strategy!r} would leave nothing of a text: cutting it alone does not make "
            "room enough"
        )
    return kept


def _longest_cut_first(lengths: Numbers, room: int) -> Numbers:
    """The shorter of two keeps its ids if they are no more than half of the room."""
    if lengths.shape[1] == 1:
        return np.minimum(lengths, room)
    shorter = lengths.min(axis=1)
    longer = np.maximum(shorter, room - shorter)
    both = shorter + longer > room  # are longer than half
    shorter = np.where(both, room // 2, shorter)
    longer = np.where(both, room - room // 2, longer)
    first_is_longer = lengths[:, 0] > lengths[:, 1]
    return np.stack(
        [np.where(first_is_longer, longer, shorter), np.where(first_is_longer, shorter, longer)],
        axis=1,
    )


def all_rows(lengths: Numbers, kept: Numbers, truncation: Truncation) -> Rows:
    """Of each text the part that stays, then those that were cut off.

    Of two texts each part goes with each: behind the first part of the first text come its other
    parts, each with all of the second; then the first again, with the other parts of the second.
    """
    numbers: list[int] = []
    ranges: list[tuple[Range, ...]] = []
    for number, (sizes, keep) in enumerate(zip(lengths.tolist(), kept.tolist(), strict=True)):
        parts = [[*ranges_of(*each, truncation)] for each in zip(sizes, keep, strict=True)]
        rows: list[tuple[Range, ...]] = [(part,) for part in parts[0]]
        if len(parts) == 2:
            first, *others = parts[0]
            rows = [(first, parts[1][0])]
            rows += [(other, second) for other in others for second in parts[1]]
            rows += [(first, second) for second in parts[1][1:]]
        numbers += [number] * len(rows)
        ranges += rows
    edges = np.array(ranges, dtype=np.int64).reshape(-1, lengths.shape[1], 2)
    return Rows(np.array(numbers, dtype=np.int64), edges[..., 0], edges[..., 1])


def ranges_of(size: int, keep: int, truncation: Truncation) -> Iterator[Range]:
    """The parts of a text of `size` ids, each of `keep` or less; they overlap by the stride.

    >>> [*ranges_of(8, 4, Truncation(9, stride=1))]
    [(0, 4), (3, 7), (6, 8)]
    >>> [*ranges_of(8, 4, Truncation(9, stride=1, direction="left"))]
    [(4, 8), (1, 5), (0, 2)]
    >>> [*ranges_of(8, 0, Truncation(9))]
    [(0, 0), (0, 8)]
    """
    if keep == 0 or keep >= size:
        yield 0, keep
        if keep < size:
            yield 0, size
        return
    step = keep - truncation.stride
    if step <= 0:
        raise ValueError(
            f"stride must be below {keep}, the number of ids that stay of a text, not "
            f"{truncation.stride}"
        )
    for begin in range(0, size - keep + step, step):
        end = min(begin + keep, size)
        yield (begin, end) if truncation.direction == "right" else (size - end, size - begin)


# --- Rows ----------------------------------------------------------------------------------------


def filled_up(
    sides: list[EncodedTexts], rows: Rows, template: Template, padding: Padding | None
) -> ModelInputs:
    """Rows with what is put around texts, all of one length."""
    parts = template.single if len(sides) == 1 else template.pair
    sizes = sizes_of(parts, rows, template)
    part_of = np.repeat(np.tile(np.arange(len(parts)), len(sizes)), sizes.ravel())
    ids = np.empty(len(part_of), dtype=np.int64)
    spans = np.zeros((len(part_of), 2), dtype=np.int64)
    for number, part in enumerate(parts):
        if not part.is_text:
            ids[part_of == number] = np.tile(template.ids[part.name], len(sizes))
            continue
        which = int(part.name == "B")
        side = sides[which]
        places = places_of(rows.starts[:, which] + side.ends[rows.numbers], sizes[:, number])
        ids[part_of == number] = side.ids[places]
        if side.spans is not None:
            spans[part_of == number] = side.spans[places]

    is_filled = where_tokens_are(sizes.sum(axis=1), padding)
    padding = padding or Padding()

    def filled(values: Numbers, others: int) -> Numbers:
        made = np.full(is_filled.shape + values.shape[1:], others, dtype=np.int64)
        made[is_filled] = values
        return made

    types = np.array([part.type_id for part in parts], dtype=np.int64)
    is_special = np.array([not part.is_text for part in parts], dtype=np.int64)
    return ModelInputs(
        filled(ids, padding.id),
        filled(types[part_of], padding.type_id),
        is_filled.astype(np.int64),
        filled(is_special[part_of], 1),
        rows.numbers,
        None if sides[0].spans is None else filled(spans, 0),
    )


def sizes_of(parts: Sequence[Part], rows: Rows, template: Template) -> Numbers:
    """How many ids each part has in each row."""
    lengths = rows.ends - rows.starts
    return np.stack(
        [
            lengths[:, int(part.name == "B")]
            if part.is_text
            else np.full(len(lengths), len(template.ids[part.name]), dtype=np.int64)
            for part in parts
        ],
        axis=1,
    )


def places_of(starts: Numbers, sizes: Numbers) -> Numbers:
    """All places of several ranges, one range behind the other.

    >>> places_of(np.array([7, 2]), np.array([3, 1])).tolist()
    [7, 8, 9, 2]
    """
    behind = np.cumsum(sizes) - sizes
    return np.repeat(starts - behind, sizes) + np.arange(int(sizes.sum()))


def where_tokens_are(lengths: Numbers, padding: Padding | None) -> np.typing.NDArray[np.bool_]:
    """For rows of so many ids, where they stand when all rows are of one length.

    >>> where_tokens_are(np.array([1, 2]), Padding(direction="left")).astype(int).tolist()
    [[0, 1], [1, 1]]
    """
    longest = int(lengths.max(initial=0))
    if padding is None:
        if lengths.min(initial=longest) < longest:
            raise ValueError(
                f"rows have from {lengths.min()} to {longest} ids, and the tokenizer has no "
                "padding: give padding=Padding(id) for the token to fill them up with"
            )
        return np.ones((len(lengths), longest), dtype=bool)
    width = padding.length_of(longest)
    if longest > width:
        raise ValueError(
            f"a row has {longest} ids, and padding makes rows of {width}: give "
            f"truncation=Truncation({width}) as well, or a padding without a length"
        )
    places = np.arange(width)
    if padding.direction == "left":
        return places >= width - lengths[:, None]
    return places < lengths[:, None]
