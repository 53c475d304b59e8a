"""Tokenizers on this machine by name: in folders for them, in caches, inside installed packages."""

import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from fastllm.api.user_cache import user_cache

SUFFIXES = ("", ".json", ".model", ".tiktoken", ".txt")

# Packages that bring files of tiktoken's, under the names that its cache gives them or their own.
PACKAGES = (
    ("litellm", "litellm_core_utils/tokenizers"),
    ("llama_index", "core/_static/tiktoken_cache"),
    ("whisper", "assets"),
)
# Files of vocabularies that are no encodings of OpenAI's: by name, a package and a file in it.
PACKAGED = {
    "deepseek-v3": (("litellm", "litellm_core_utils/tokenizers/deepseek_tokenizer.json"),),
    "qwen2": (("dashscope", "resources/qwen.tiktoken"),),
    "qwen2.5": (("dashscope", "resources/qwen.tiktoken"),),
    "qwen3": (("dashscope", "resources/qwen.tiktoken"),),
    "tekken": (
        ("mistral_common", "data/tekken_240911.json"),
        ("mistral_common", "data/tekken_240718.json"),
    ),
}


def own_folders() -> Iterator[Path]:
    """The folders that are for vocabularies, in order."""
    if os.environ.get("FASTLLM_VOCAB_DIR"):
        yield Path(os.environ["FASTLLM_VOCAB_DIR"])
    yield user_cache()


def folders() -> Iterator[Path]:
    """The folders in which files that tiktoken knows are looked for, in order."""
    for variable in ("FASTLLM_VOCAB_DIR", "TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    yield user_cache()
    yield Path(tempfile.gettempdir(), "data-gym-cache")  # tiktoken's, where nothing else is said
    for package, folder in PACKAGES:
        yield from (place / folder for place in _places_of(package))


def find(name: str) -> Path | None:
    """The file or the folder of a tokenizer of this name, if there is one.

    It is looked for in the folder that ``FASTLLM_VOCAB_DIR`` names and in the user's cache, as a
    folder or as a file of that name, with the suffix of a tokenizer or without; then in Hugging
    Face's cache, for names as ``Qwen/Qwen3-0.6B``; then in installed packages that bring it.
    """
    places = [folder / f"{name}{suffix}" for folder in own_folders() for suffix in SUFFIXES]
    places += _snapshots(name)
    for package, file in PACKAGED.get(name, ()):
        places += [place / file for place in _places_of(package)]
    return next((place for place in places if place.exists()), None)


def _snapshots(name: str) -> list[Path]:
    """Where Hugging Face's cache keeps a repository of this name, as it was fetched last."""
    owner, slash, model = name.partition("/")
    if not (owner and slash and model) or "/" in model or ".." in name:
        return []
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    folder = Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))
    folder /= f"models--{owner}--{model}"
    try:
        revision = (folder / "refs" / "main").read_text().strip()
    except OSError:
        return []
    return [folder / "snapshots" / revision]


def _places_of(package: str) -> list[Path]:
    """Where an installed package lies. It is not imported."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return []
    return [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
