"""Splitting by automata against cl100k's encoding, `re` and tiktoken, one pattern after the other.

``python -m bench.split_rivals [--size 16_000_000] [--patterns kimi-k2,ling] [--rounds 7]``

For each pattern without a scanner written by hand, and for some trivial expressions, and for each
corpus, in MB/s, on one core:

- *boundaries*: where pre-tokens start, without making strings, by the automaton; and how many times
  as fast this is as encoding by cl100k (its own pattern, arrays) and as `re` (a part of the text).
- *arrays*: documents encoded by cl100k's ranks and the pattern, and how many times as fast this is
  as encoding by cl100k's own.
- *lists*: the same through `compat.tiktoken`, and how many times as fast this is as tiktoken (a
  part of the text), where tiktoken takes the pattern.

And how long compiling the pattern takes, tables of C++ included. Pre-tokens of that part are
compared with those of `re`, and ids with tiktoken's, before anything is timed. All calls of a row
take turns; medians.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench import corpora
from bench.cases import ranks_of
from bench.encoding_rivals import in_process
from bench.report import markdown_table
from bench.turns import take_turns
from fastllm import BytePairEncoder
from fastllm.patterns.coverage import matches_all_text
from fastllm.patterns.named import NAMED, SplitPattern

TRIVIAL = (r"\s+|\S+", r"[^\n]+|[\n]+", "[A-Za-z]+|[0-9]|[^A-Za-z0-9]", r"\S+")
PATTERNS = (*(name for name, pattern in NAMED.items() if pattern.scanner is None), *TRIVIAL)
HEADER = ("pattern", "corpus", "compile", "boundaries", "of cl100k's arrays", "times re")
HEADER += ("arrays", "of cl100k's arrays", "lists", "times tiktoken")
PART = 200_000  # characters for the slow


def rows_of(name: str, size: int, rounds: int) -> list[tuple[str, ...]]:
    """The rows of a pattern, one for each corpus."""
    from fastllm.fast._tokenization import _kernels

    pattern = SplitPattern(NAMED[name].steps if name in NAMED else (name,))
    start = time.perf_counter()
    _kernels.pretoken_starts(b"", pattern, None)
    compiling = f"{1e3 * (time.perf_counter() - start):.0f} ms"
    ranks = ranks_of("cl100k")
    assert ranks is not None
    encoders = {"own": BytePairEncoder(ranks, pattern=pattern)}
    encoders["cl100k"] = BytePairEncoder(ranks, pattern="cl100k")
    rows = []
    for corpus in corpora.NAMES:
        text = corpora.corpus(corpus, size)
        data, documents, part = text.encode(), corpora.documents(text), text[:PART]
        calls: dict[str, Any] = {
            "boundaries": functools.partial(_kernels.pretoken_starts, data, pattern, None),
            "cl100k": functools.partial(_each, encoders["cl100k"].encode_to_numpy, documents),
            "arrays": functools.partial(_each, encoders["own"].encode_to_numpy, documents),
            "re": functools.partial(_kernels.split_by_expressions, part, pattern),
        } | _lists(pattern, ranks, documents, corpora.documents(part))
        assert calls["re"]() == _kernels.split_text(part, pattern), (name, corpus)
        for call in calls.values():  # warm
            call()
        times = take_turns(calls, rounds, ("re", "tiktoken"))
        sizes = dict.fromkeys(("re", "tiktoken"), len(part.encode()))
        speed = {
            who: sizes.get(who, len(data)) / statistics.median(spent) / 1e6
            for who, spent in times.items()
        }
        rows.append((f"`{name}`", corpus, compiling, *_figures(speed)))
    return rows


def _lists(
    pattern: SplitPattern, ranks: dict[bytes, int], documents: list[str], part: list[str]
) -> dict[str, Any]:
    """Lists by tiktoken and by its twin here; nothing if tiktoken's expression is another thing."""
    if pattern.expression is None or not matches_all_text(pattern.expression):
        return {}
    import tiktoken

    from fastllm.compat import tiktoken as twin

    settings: dict[str, Any] = {"pat_str": pattern.expression, "mergeable_ranks": ranks}
    theirs = tiktoken.Encoding("own", special_tokens={}, **settings).encode_ordinary
    ours = twin.Encoding("own", special_tokens={}, **settings).encode_ordinary
    assert _each(theirs, part) == _each(ours, part), pattern
    return {
        "lists": functools.partial(_each, ours, documents),
        "tiktoken": functools.partial(_each, theirs, part),
    }


def _each(encode: Any, texts: Sequence[str]) -> list[Any]:
    return [encode(text) for text in texts]


def _figures(speed: dict[str, float]) -> Iterator[str]:
    yield f"{speed['boundaries']:.0f}"
    yield f"{speed['boundaries'] / speed['cl100k']:.2f}"
    yield f"{speed['boundaries'] / speed['re']:.0f}"
    yield f"{speed['arrays']:.0f}"
    yield f"{speed['arrays'] / speed['cl100k']:.2f}"
    if "lists" in speed:
        yield f"{speed['lists']:.0f}"
        yield f"{speed['lists'] / speed['tiktoken']:.0f}"
    else:
        yield from ("", "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.split_rivals", description=__doc__)
    parser.add_argument("--size", type=int, default=16_000_000, help="bytes of each corpus")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--patterns", nargs="*", default=PATTERNS)
    given = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = []
    for name in given.patterns:
        rows += in_process(rows_of, name, given.size, given.rounds)
    print(markdown_table(HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
