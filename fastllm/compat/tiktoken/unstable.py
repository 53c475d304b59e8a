"""Which tokens a text surely begins with, and which may follow, when more text is yet to come.

The last tokens of a text are not stable: "fanta" is one token, but with "stic" behind it another
will be. Completions are the sequences of tokens that the unstable end can turn into, as far as the
last of them reaches over it. The procedure, its approximations included, is tiktoken's: what
follows is a list of candidates, not of all that can be.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from fastllm.patterns.compiling import compile_pattern

Ids = list[int]
_BLANKS = frozenset(b" \n\t")
_WHITE_SPACE = compile_pattern(r"\s")


def last_unstable(ids: Sequence[int], last_piece: int, token_of: Mapping[int, bytes]) -> int:
    """How many of the last tokens are not stable, given how many the last piece has.

    More text can make one piece of a piece of blanks and those before it.

    >>> tokens = {1: b"a", 2: b" ", 3: b"\\n"}
    >>> last_unstable([1, 2, 3], 1, tokens), last_unstable([3, 1], 1, tokens)
    (2, 1)
    """

    def is_blank(number: int) -> bool:
        return number in token_of and _BLANKS.issuperset(token_of[number])

    if last_piece and is_blank(ids[-last_piece]):
        while last_piece < len(ids) and is_blank(ids[-last_piece - 1]):
            last_piece += 1
    return last_piece


class Completions:
    """Finds what the unstable end of a text can turn into.

    Parameters
    ----------
    ranks : mapping from bytes to int
    encode_batch : callable
        The ids of each of several texts, special tokens being ordinary text.
    merge : callable
        The ids of bytes that are not split.

    Examples
    --------
    >>> ranks = {b"a": 0, b"b": 1, b"ab": 2, b"bb": 3}
    >>> merge = lambda data: {b"ab": [2], b"abb": [2, 1]}[data]
    >>> completions = Completions(ranks, lambda texts: [merge(t.encode()) for t in texts], merge)
    >>> completions.of(b"ab")
    [[2]]
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        encode_batch: Callable[[list[str]], list[Ids]],
        merge: Callable[[bytes], Ids],
    ) -> None:
        self._ranks = ranks
        self._length = {number: len(token) for token, number in ranks.items()}
        self._sorted = sorted(ranks)
        self._encode_batch = encode_batch
        self._merge = merge

    def of(self, unstable: bytes) -> list[Ids]:
        """The completions of bytes, sorted."""
        found: set[tuple[int, ...]] = set()
        if unstable:
            found.update((self._ranks[token],) for token in self._beginning_with(unstable))
            found.update(self._straddling(unstable))
            found.update(self._split_before_white_space(unstable))
        return sorted(map(list, found))

    def _beginning_with(self, prefix: bytes) -> Iterator[bytes]:
        """The tokens that begin with `prefix`, in order."""
        place = bisect_left(self._sorted, prefix)
        while place < len(self._sorted) and self._sorted[place].startswith(prefix):
            yield self._sorted[place]
            place += 1

    def _straddling(self, unstable: bytes) -> Iterator[tuple[int, ...]]:
        """What there is if the text goes on so that some token reaches over its end.

        For each place at which that token may begin: put it there, and encode the whole anew.
        """
        texts: list[str] = []
        for place in range(1, len(unstable)):
            for token in self._beginning_with(unstable[place:]):
                possible = unstable[:place] + token
                try:
                    texts.append(possible.decode())
                except UnicodeDecodeError:
                    yield self._up_to(len(unstable), self._merge(possible))
        for ids in self._encode_batch(texts):
            yield self._up_to(len(unstable), ids)

    def _up_to(self, length: int, ids: Ids) -> tuple[int, ...]:
        """The first tokens, as many as it takes to hold `length` bytes."""
        for count, number in enumerate(ids, 1):
            length -= self._length[number]
            if length <= 0:
                return tuple(ids[:count])
        return tuple(ids)

    def _split_before_white_space(self, unstable: bytes) -> Iterator[tuple[int, ...]]:
        r"""What there is if the text goes on so that its last white space becomes a piece.

        ``\s+(?!\S)`` keeps "\n\n" whole at the end of a text, but cuts it before a letter.
        """
        start = len(unstable) - 1
        while start > 0 and 0x80 <= unstable[start] < 0xC0:
            start -= 1
        last = unstable[start:].decode(errors="replace")
        if start > 0 and _WHITE_SPACE.fullmatch(last):
            yield (*self._merge(unstable[:start]), *self._merge(unstable[start:]))
