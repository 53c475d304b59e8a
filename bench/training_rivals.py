"""Training against the trainers that are installed: the task `train` of `bench.rivals`.

``python -m bench.training_rivals NAME FILE MERGES THREADS`` is one training: it prints, as JSON,
how long it took from the path to the finished vocabulary and merges, imports left out, the most
memory that the process has held, and a digest of the merges.

Each training runs in a new process; contenders take turns. fastllm, gigabpe and tokenizers follow
the same rule (gpt2 pattern, lines as documents, ties as Hugging Face has them), so their merges
must be equal, or the run ends. rustbpe and bpeasy take texts from Python, here the lines of the
file, and break ties by ids; fastllm's own tokens under that rule are compared with rustbpe's.
gigatoken reads the file itself and its merges are not compared. The slow ones take part once.

What only the process that starts the others needs is imported where it is used: a contender's
process should hold as little else as it can.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NAMES = ("fastllm", "gigabpe", "tokenizers", "rustbpe", "bpeasy", "gigatoken")
SAME_RULE = ("fastllm", "gigabpe", "tokenizers")
SLOW = ("tokenizers", "rustbpe", "bpeasy", "gigatoken")
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Merges = list[tuple[bytes, bytes]]


def installed() -> tuple[str, ...]:
    """The contenders that can be imported."""
    return tuple(name for name in NAMES if importlib.util.find_spec(name) is not None)


# --- One training, in a process of its own


def _lines(path: str) -> Iterator[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        yield from file


def _fastllm(path: str, merges: int, threads: int, tie_break: str = "huggingface") -> Merges:
    from fastllm import BPETokenizer

    tokenizer = BPETokenizer.train_from_files(
        path, 256 + merges, tie_break=tie_break, documents="lines", threads=threads
    )
    assert len(tokenizer.mergeable_ranks) == 256 + merges
    return tokenizer.merges


def _of_characters(merges: Sequence[Sequence[str]]) -> Merges:
    """Merges as bytes, from the characters that ByteLevel shows bytes as."""
    from tokenizers import pre_tokenizers

    from fastllm import _bpe_arguments as arguments

    shown = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte = dict(zip(shown, arguments.BYTE_LEVEL_ORDER, strict=True))
    return [(bytes(byte[c] for c in left), bytes(byte[c] for c in right)) for left, right in merges]


def _gigabpe(path: str, merges: int, threads: int) -> Any:
    import gigabpe

    # Its alphabet is the bytes seen; so many more tokens than merges, and some merges to spare.
    _, found = gigabpe.train_bpe(
        [path], 256 + merges, special_tokens=[], pretokenizer="bytelevel", threads=threads
    )
    return found


def _tokenizers(path: str, merges: int, threads: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train([path], trainer)
    return [tuple(m) for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def _rustbpe(path: str, merges: int, threads: int) -> Any:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(_lines(path), 256 + merges, pattern=PATTERN)
    return tokenizer.get_mergeable_ranks()


def _bpeasy(path: str, merges: int, threads: int) -> Any:
    import bpeasy

    return bpeasy.train_bpe(_lines(path), PATTERN, 1 << 20, 256 + merges)


def _gigatoken(path: str, merges: int, threads: int) -> Any:
    import gigatoken

    return gigatoken.train_bpe(gigatoken.TextFileSource([path]), 256 + merges, [])


def digest(merges: object) -> str:
    """What tells merges, or tokens in order, from others."""
    import hashlib

    return hashlib.sha256(repr(merges).encode()).hexdigest()


def _digest_of(name: str, found: Any, merges: int) -> str | None:
    if name in ("gigabpe", "tokenizers"):
        return digest(_of_characters(found[:merges]))
    if name == "rustbpe":
        return digest([bytes(token) for token, _ in sorted(found, key=lambda pair: pair[1])][256:])
    return digest(found) if name == "fastllm" else None


def peak_bytes() -> int:
    """The most memory this process has held; `getrusage` would count the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def train_here(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """Train in this process."""
    importlib.import_module(name)
    work = globals()[f"_{name}"]
    before = peak_bytes()
    start = time.perf_counter()
    found = work(path, merges, threads)
    seconds = time.perf_counter() - start
    result = {"seconds": seconds, "peak": peak_bytes(), "imports": before}
    result["digest"] = _digest_of(name, found, merges)
    return result


# --- All of them, in turns


def run(name: str, path: str, merges: int, threads: int) -> dict[str, Any]:
    """One training in a new process."""
    import subprocess

    environment = os.environ | {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as packages are when they are installed
    command = [sys.executable, "-m", "bench.training_rivals", name, path, str(merges), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))  # trainers print things themselves


def measured(
    path: str, merges: int, threads: int, rounds: int, names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """The results of each contender, in rounds that go forwards and backwards in turn."""
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            if number and name in SLOW:
                continue
            results[name].append(run(name, path, merges, threads))
    digests = {name: {r["digest"] for r in results[name]} for name in names if name in SAME_RULE}
    if any(found != digests["fastllm"] for found in digests.values()):
        sys.exit(f"{path}: merges differ; {digests}")
    return results


def check_rustbpe(path: str, merges: int) -> None:
    """End the run unless rustbpe makes the tokens that fastllm makes under the same rule."""
    tokens = [left + right for left, right in _fastllm(path, merges, 1, "lowest-ids")]
    if run("rustbpe", path, merges, 1)["digest"] != digest(tokens):
        sys.exit(f"{path}: fastllm and rustbpe disagree")


def training_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Times, then memory: each corpus, vocabularies of three sizes, one thread and two."""
    import tempfile

    from bench import corpora
    from bench.report import cores
    from bench.turns import row

    names = installed()
    quick = size < 1_000_000
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        for corpus in corpora.NAMES:
            path = Path(folder) / f"{corpus.replace(' ', '-')}.txt"
            path.write_text(corpora.corpus(corpus, size if quick else 10 * size), "utf-8")
            bytes_ = path.stat().st_size
            if "rustbpe" in names:
                check_rustbpe(str(path), 500 if quick else 8_000)
            for tokens in (1_000,) if quick else (8_000, 32_000, 100_000):
                for threads in sorted({1, min(2, cores())}):
                    # The slow ones take minutes: they run with one size, on one thread.
                    taking = [
                        n for n in names if n not in SLOW or (threads == 1 and tokens <= 32_000)
                    ]
                    found = measured(str(path), tokens - 256, threads, rounds, taking)
                    what = f"{corpus}, {bytes_ / 1e6:.0f} MB, {tokens:,} tokens"
                    what += f", {threads} thread{'s' * (threads > 1)}"
                    times = {n: [r["seconds"] for r in found[n]] for n in taking}
                    peaks = {n: [r["peak"] for r in found[n]] for n in taking}
                    yield row(what, times, group="Time")
                    rows.append(row(what, peaks, group="Peak memory of the process", unit="bytes"))
    yield from rows


if __name__ == "__main__":
    name, path, merges, threads = sys.argv[1:]
    print(json.dumps(train_here(name, path, int(merges), int(threads))))
