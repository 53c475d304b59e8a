"""Tokenization in C++ and Cython: split, encode, train. What was tried is in NOTES.md."""

from pathlib import Path


def build_error() -> str:
    """What setup.py has kept of a build that failed; ``""`` if there is nothing."""
    kept = Path(__file__).with_name("build_error.txt")
    return kept.read_text("utf-8").strip() if kept.is_file() else ""
