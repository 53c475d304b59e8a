"""How long what a model gets may be, and what it is filled up with: what files say of both."""

from __future__ import annotations

from fastllm.api.record import Record
from fastllm.checks import tokenization as checks

STRATEGIES = ("longest_first", "only_first", "only_second")
DIRECTIONS = ("right", "left")


class Truncation(Record):
    """Texts with more ids than a model takes are cut off.

    Attributes
    ----------
    max_length : int
        How many ids stay, special tokens around texts included.
    strategy : {"longest_first", "only_first", "only_second"}
        Which of two texts is cut: the longer one until both are alike, or always the same.
    stride : int
        How many ids a part that is cut off begins with that the part before it ends with.
    direction : {"right", "left"}
        The end that is cut off.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or value, or a stride that is not below `max_length`.
    """

    max_length: int
    strategy: str
    stride: int
    direction: str

    def __init__(
        self,
        max_length: int,
        strategy: str = "longest_first",
        stride: int = 0,
        direction: str = "right",
    ) -> None:
        self._set(
            max_length=checks.check_integer(max_length, "max_length", 0),
            strategy=checks.check_choice(strategy, "strategy", STRATEGIES),
            stride=checks.check_integer(stride, "stride", 0),
            direction=checks.check_choice(direction, "direction", DIRECTIONS),
        )
        if 0 < self.max_length <= self.stride:
            raise ValueError(f"stride must be below max_length, {max_length}, not {stride}")


class Padding(Record):
    """Rows of a batch are filled up until all are as long.

    Attributes
    ----------
    id, type_id : int
        What is filled in: the id of a token, and its type.
    token : str
        That token; only written into files.
    length : int, optional
        How long rows are made; as long as the longest of them, if not given.
    multiple_of : int, optional
        Rows get longer until their length is a multiple of this.
    direction : {"right", "left"}
        The end that is filled up.

    Raises
    ------
    TypeError, ValueError
        For a field of the wrong type or value.
    """

    id: int
    type_id: int
    token: str
    length: int | None
    multiple_of: int | None
    direction: str

    def __init__(
        self,
        id: int = 0,
        type_id: int = 0,
        token: str = "[PAD]",
        length: int | None = None,
        multiple_of: int | None = None,
        direction: str = "right",
    ) -> None:
        for value, name in ((length, "length"), (multiple_of, "multiple_of")):
            if value is not None:
                checks.check_integer(value, name, 0)
        self._set(
            id=checks.check_integer(id, "id", 0),
            type_id=checks.check_integer(type_id, "type_id", 0),
            token=checks.check_is_text(token, "token"),
            length=length,
            multiple_of=multiple_of,
            direction=checks.check_choice(direction, "direction", DIRECTIONS),
        )

    def length_of(self, longest: int) -> int:
        """The length of all rows, where the longest has so many ids.

        >>> Padding(multiple_of=8).length_of(9), Padding(length=4).length_of(3)
        (16, 4)
        """
        length = longest if self.length is None else self.length
        return length + (-length % self.multiple_of if self.multiple_of else 0)
