"""What makes files of ids of a corpus, each run in a process of its own.

``python -m bench.contenders.corpus NAME KIND FOLDER TOKENIZERS OUT FILES`` encodes the first FILES
of a folder made by `bench.corpus_rivals`, with two threads or processes, and prints, as JSON, how
long it took, imports and loading the tokenizer left out, and a digest of the ids of all documents.

- *fastllm*: `encode_corpus`. *batch*: `encode_batch_to_numpy` of texts that are in memory, which
  reads and writes nothing; plain text only.
- *datatrove*: its reader, DocumentTokenizer and local executor. It has no reader for plain text;
  the one here hands on whole files.
- *datasets*: `Dataset.map` with a tokenizer of the library tokenizers, in batches, whose result is
  a file of Arrow.
- *nanoGPT*: what its prepare.py for OpenWebText does, `Dataset.map` with tiktoken, document by
  document, then a copy into a memory-mapped file.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("fastllm", "batch", "nanoGPT", "datasets", "datatrove")
NEEDS = {
    "nanoGPT": ("datasets", "tiktoken"),
    "datasets": ("datasets",),
    "datatrove": ("datatrove",),
}
KINDS = {"plain text": "txt", "JSON lines": "jsonl", "JSON lines, zst": "zst", "Parquet": "parquet"}
END, END_ID = "<|endoftext|>", 50256
WORKERS = 2

Documents = Iterable[Any]  # of ids, each an array or a list
Work = Callable[[], Callable[[], Documents]]  # what is timed, and what reads its result afterwards


def digest(documents: Documents) -> str:
    """What tells the ids of all documents from others, whatever their order."""
    hashes = sorted(
        hashlib.blake2b(np.asarray(ids, "<u4").tobytes(), digest_size=16).digest()
        for ids in documents
    )
    return hashlib.sha256(b"".join(hashes)).hexdigest()


def _apart(ids: Any, stops: Iterable[int]) -> Documents:
    """Documents one behind the other, each without what ends it."""
    start = 0
    for stop in stops:
        yield ids[start : stop - 1]
        start = stop


def fastllm(kind: str, files: list[str], tokenizers: Path, out: Path) -> Work:
    from fastllm import BPETokenizer
    from fastllm.corpus import TokenDataset, encode_corpus

    tokenizer = BPETokenizer.load(tokenizers / "gpt2.json")
    assert tokenizer.fingerprint

    def work() -> Callable[[], Documents]:
        encode_corpus(files, tokenizer, out, separator=END, workers=WORKERS, threads=WORKERS)
        dataset = TokenDataset(out)
        return lambda: (dataset.document(number)[:-1] for number in range(len(dataset)))

    return work


def batch(kind: str, files: list[str], tokenizers: Path, out: Path) -> Work:
    from fastllm import BPETokenizer

    tokenizer = BPETokenizer.load(tokenizers / "gpt2.json")
    texts = [Path(file).read_bytes().decode() for file in files]

    def work() -> Callable[[], Documents]:
        ids, offsets = tokenizer.encode_batch_to_numpy(texts, threads=WORKERS, dtype="uint16")
        return lambda: np.split(ids, offsets[1:-1])

    return work


def _loaded(kind: str, files: list[str], cache: str) -> Any:
    """The files as a dataset of Hugging Face."""
    from datasets import load_dataset

    name, options = "json", {}
    if kind == "plain text":
        name, options = "text", {"sample_by": "document"}
    elif kind == "Parquet":
        name = "parquet"
    return load_dataset(
        name, data_files=files, split="train", num_proc=WORKERS, cache_dir=cache, **options
    )


def datasets(kind: str, files: list[str], tokenizers: Path, out: Path) -> Work:
    import datasets as library
    from tokenizers import Tokenizer

    library.disable_progress_bars()
    tokenizer = Tokenizer.from_file(str(tokenizers / "gpt2.json"))

    def encode(rows: Any) -> Any:
        found = tokenizer.encode_batch(rows["text"], add_special_tokens=False)
        return {"ids": [each.ids for each in found]}

    def work() -> Callable[[], Documents]:
        texts = _loaded(kind, files, str(out))
        made = texts.map(encode, batched=True, remove_columns=texts.column_names, num_proc=WORKERS)
        return lambda: (row["ids"] for row in made)

    return work


def nanogpt(kind: str, files: list[str], tokenizers: Path, out: Path) -> Work:
    import datasets as library
    import tiktoken

    from bench.cases import VOCABULARIES

    library.disable_progress_bars()
    from tiktoken.load import load_tiktoken_bpe

    encoding = tiktoken.Encoding(
        "gpt2",
        pat_str=VOCABULARIES["r50k"].tiktoken,
        mergeable_ranks=load_tiktoken_bpe(str(tokenizers / "gpt2.tiktoken")),
        special_tokens={END: END_ID},
    )

    def encode(row: Any) -> Any:
        ids = [*encoding.encode_ordinary(row["text"]), END_ID]
        return {"ids": ids, "len": len(ids)}

    def work() -> Callable[[], Documents]:
        texts = _loaded(kind, files, str(out))
        made = texts.map(encode, remove_columns=texts.column_names, num_proc=WORKERS)
        total = int(np.sum(made["len"], dtype=np.uint64))
        ids = np.memmap(out / "train.bin", np.uint16, "w+", shape=(total,))
        place, shards = 0, min(1024, len(made))
        for index in range(shards):
            shard = made.shard(num_shards=shards, index=index, contiguous=True)
            part = np.concatenate(shard.with_format("numpy")["ids"])
            ids[place : place + len(part)] = part
            place += len(part)
        ids.flush()
        return lambda: _apart(ids, (np.flatnonzero(ids == END_ID) + 1).tolist())

    return work


def datatrove(kind: str, files: list[str], tokenizers: Path, out: Path) -> Work:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader, ParquetReader
    from datatrove.pipeline.readers.base import BaseDiskReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    class TextReader(BaseDiskReader):  # type: ignore[misc]
        name = "Text"

        def read_file(self, filepath: str) -> Any:
            with self.data_folder.open(filepath, "r", encoding="utf-8", newline="") as file:
                yield self.get_document_from_dict({"text": file.read()}, filepath, 0)

    reader = {"plain text": TextReader, "Parquet": ParquetReader}.get(kind, JsonlReader)
    list_of_files = out.parent / "files"
    list_of_files.write_text("\n".join(os.path.basename(file) for file in files))

    def work() -> Callable[[], Documents]:
        steps = [
            reader(os.path.dirname(files[0]), paths_file=str(list_of_files)),
            DocumentTokenizer(
                str(out), str(tokenizers / "gpt2.json"), eos_token=END, shuffle_documents=False
            ),
        ]
        executor = LocalPipelineExecutor(
            steps,
            tasks=WORKERS,
            workers=WORKERS,
            logging_dir=str(out / "logs"),
            start_method="fork",
        )
        executor.run()

        def documents() -> Documents:
            for path in sorted(out.glob("*.ds")):
                stops = np.fromfile(f"{path}.index", "<u8").tolist()
                yield from _apart(np.fromfile(path, "<u2"), stops)

        return documents

    return work


MADE = {
    "fastllm": fastllm,
    "batch": batch,
    "nanoGPT": nanogpt,
    "datasets": datasets,
    "datatrove": datatrove,
}


def main(name: str, kind: str, folder: str, tokenizers: str, out: str, count: str) -> None:
    """Encode, and say how it went."""
    files = [str(path) for path in sorted(Path(folder).iterdir())[: int(count)]]
    Path(out).mkdir(parents=True)
    work = MADE[name](kind, files, Path(tokenizers), Path(out))
    print("ready", flush=True)
    start = time.perf_counter()
    read_result = work()
    seconds = time.perf_counter() - start
    print("done", flush=True)
    print(json.dumps({"seconds": seconds, "digest": digest(read_result())}))


if __name__ == "__main__":
    main(*sys.argv[1:])
