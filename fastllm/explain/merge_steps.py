"""Merges one by one, as data: what all that merges has in common."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

from fastllm.explain.formatting import readable

Rank = int | float
CANDIDATES = 6  # pairs of a step that are kept, the best first
MOST_PARTS = 64  # of a pre-token that text and tables show
MOST_MERGES = 200
MOST_DEPTH = 20  # of a tree


@dataclass(frozen=True)
class Candidate:
    """A pair of neighbours that could be merged.

    Attributes
    ----------
    place : int
        How many parts stand before it.
    left, right : bytes
    rank : int or float
        The lower, the earlier it was learned.
    """

    place: int
    left: bytes
    right: bytes
    rank: Rank


@dataclass(frozen=True)
class Merge:
    """One merge.

    Attributes
    ----------
    made : Candidate
        The pair that was merged.
    data : bytes
        What came of it: mostly both together.
    id : int
        The id of that token.
    candidates : tuple of Candidate
        The pairs there were to choose from, best first, no more than `CANDIDATES`.
    choices : int
        How many there were.
    """

    made: Candidate
    data: bytes
    id: int
    candidates: tuple[Candidate, ...]
    choices: int


@dataclass(frozen=True)
class Node:
    """A token as the tree of the merges that made it; what merging begins with has no children."""

    data: bytes
    id: int
    children: tuple["Node", ...] = field(default=(), repr=False)  # a tree may be as deep as a word


@dataclass(frozen=True)
class Piece:
    """A pre-token on its way from bytes, or characters, to tokens.

    Attributes
    ----------
    data : bytes
    parts : tuple of bytes
        What merging begins with: its bytes or characters, those aside that the vocabulary lacks.
    merges : tuple of Merge
    tokens : tuple of Node
        What it ends with.
    whole : bool
        Whether it was taken whole because it is a token, although merging does not make it.
    """

    data: bytes
    parts: tuple[bytes, ...]
    merges: tuple[Merge, ...]
    tokens: tuple[Node, ...]
    whole: bool = False

    @property
    def ids(self) -> list[int]:
        """The id of each token."""
        return [node.id for node in self.tokens]

    def shown_states(self) -> Iterator[list[str]]:
        """The parts before the first merge, and after each, as text; of many only the first."""
        for state in islice(self.states(), MOST_MERGES + 1):
            shown = list(map(readable, state[:MOST_PARTS]))
            more = len(state) - len(shown)
            yield [*shown, f"… and {more:,} more"] if more else shown

    def states(self) -> Iterator[list[bytes]]:
        """The parts before the first merge, and after each."""
        parts = list(self.parts)
        yield list(parts)
        for merge in self.merges:
            place = merge.made.place
            parts[place : place + 2] = [merge.data]
            yield list(parts)


def merge_all(
    data: bytes,
    nodes: Sequence[Node],
    rank_of: Callable[[bytes, bytes], Rank | None],
    joined: Callable[[bytes, bytes], Node],
) -> Piece:
    """Merge by the plain rule: look at all pairs, take the best, look again."""
    start = tuple(node.data for node in nodes)
    nodes = list(nodes)
    ranks = [rank_of(a.data, b.data) for a, b in pairwise(nodes)]
    merges = []
    while any(rank is not None for rank in ranks):
        choices = [(rank, place) for place, rank in enumerate(ranks) if rank is not None]
        best = tuple(
            Candidate(place, nodes[place].data, nodes[place + 1].data, rank)
            for rank, place in heapq.nsmallest(CANDIDATES, choices)
        )
        place = best[0].place
        pair = nodes[place], nodes[place + 1]
        made = replace(joined(pair[0].data, pair[1].data), children=pair)
        nodes[place : place + 2] = [made]
        del ranks[place]
        for i in (place - 1, place):
            if 0 <= i < len(ranks):
                ranks[i] = rank_of(nodes[i].data, nodes[i + 1].data)
        merges.append(Merge(best[0], made.data, made.id, best, len(choices)))
    return Piece(data, start, tuple(merges), tuple(nodes))


def taken_whole(data: bytes, id: int, parts: tuple[bytes, ...] = ()) -> Piece:
    """A pre-token that is a token, and has not been merged."""
    return Piece(data, parts or (data,), (), (Node(data, id),), whole=True)
