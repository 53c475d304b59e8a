"""Traces as HTML. Importing this registers a view of each with `fastllm.explain.render`."""

from fastllm.explain.views import (
    attention,
    journey,
    lattice,
    longest_matches,
    merges,
    patterns,
    speed,
    tokens,
    training,
)

__all__ = [
    "attention",
    "journey",
    "lattice",
    "longest_matches",
    "merges",
    "patterns",
    "speed",
    "tokens",
    "training",
]
