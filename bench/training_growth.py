"""How time and memory of training grow with the text: the task `train-growth` of `bench.rivals`.

The text is Python: all different files of this machine in random order, so that the first 20 MB are
the same kind of text as 320 MB. Each training runs in a new process, 32,000 tokens, one thread.
"""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastllm
from bench import corpora
from bench.contenders import installed
from bench.contenders.training import QUICK
from bench.training_rivals import MEMORY, TIME, measured
from bench.turns import row

SIZES = (20, 40, 80, 160, 320)  # MB


def growing_files(sizes: list[int]) -> Iterator[str]:
    """A file that has grown to each size, as far as there is text."""
    parts = corpora.python_files(sizes[-1])
    with tempfile.TemporaryDirectory(prefix="fastllm-growth-") as folder:
        path = Path(folder) / "python.txt"
        with path.open("wb") as file:
            for size in sizes:
                for part in parts:
                    file.write(part)
                    if file.tell() >= size:
                        break
                file.flush()
                yield str(path)


def growth_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Times, with what the picture needs, then memory."""
    quick = size < 1_000_000
    tokens = 1_000 if quick else 32_000
    sizes = [step * (10_000 if quick else 1_000_000) for step in SIZES]
    rows = []
    for path in growing_files(sizes):
        words = len(fastllm.count_words(Path(path), documents="lines"))
        text_bytes = Path(path).stat().st_size
        found = measured(path, tokens - 256, 1, min(rounds, 3), installed(QUICK))
        what = f"{text_bytes / 1e6:.0f} MB, {words:,} distinct words"
        beyond = {
            name: statistics.median(r["peak"] - r["imports"] for r in results)
            for name, results in found.items()
        }
        times = {name: [r["seconds"] for r in results] for name, results in found.items()}
        peaks = {name: [r["peak"] for r in results] for name, results in found.items()}
        yield row(what, times, group=TIME, length=text_bytes, words=words, memory=beyond)
        rows.append(row(what, peaks, group=MEMORY, unit="bytes"))
    yield from rows
