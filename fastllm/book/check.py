"""What the book prints, computed again on each backend and compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastllm.book.facts import facts
from fastllm.book.sections import (
    MODEL,
    SECTIONS,
    STORY,
    TOLERANCE,
    VOCABULARY,
    Backend,
    Material,
    untrained_gpt,
    with_attributes,
)
from fastllm.tokenizers.bpe import BPETokenizer
from fastllm.vocabularies import published, published_files
from fastllm.vocabularies.openai_encodings import ENCODINGS
from fastllm.vocabularies.published_files import PublishedFile

FAST = "the fast backend"

# Where section 2.2 of the book has it from.
STORY_FILE = PublishedFile(
    "https://raw.githubusercontent.com/rasbt/LLMs-from-scratch/main/ch02/01_main-chapter-code/"
    "the-verdict.txt",
    "b41e41a68f0398a3154ae69e2e4c0e2694e17fe0d66730536837f1b01935b31f",
)


@dataclass(frozen=True)
class Row:
    """A fact, and what was computed.

    Attributes
    ----------
    section, what : str
        Where in the book, and what it is.
    printed : object
        What the book prints: a number, a text, or lists of them.
    computed : mapping from str to object
        The same from each backend, by its name; empty if something is missing.
    tolerance : float
        How far numbers may be from it.
    missing : str
        What would be needed to compute it.
    """

    section: str
    what: str
    printed: Any
    computed: Mapping[str, Any]
    tolerance: float = TOLERANCE
    missing: str = ""

    @property
    def agreeing(self) -> list[str]:
        """The backends that gave what the book prints."""
        return [
            name
            for name, value in self.computed.items()
            if same(value, self.printed, self.tolerance)
        ]


def same(value: Any, printed: Any, tolerance: float = TOLERANCE) -> bool:
    """Whether a result is what the book prints: floats within a tolerance, all else exactly.

    >>> same([[0.5000001]], [[0.5]]), same([0.5001], [0.5]), same([1, 2], [1, 2, 3])
    (True, False, False)
    """
    found, expected = np.asarray(value), np.asarray(printed)
    if found.shape != expected.shape:
        return False
    if expected.dtype.kind == "f" and found.dtype.kind in "fiu":
        return bool(np.allclose(found, expected, rtol=TOLERANCE, atol=tolerance))
    return bool((found == expected).all())


def check(
    backends: Sequence[Backend],
    story: str | None = None,
    *,
    vocabulary: bool = True,
    model: bool = False,
) -> Iterator[Row]:
    """Compute every fact on every backend.

    Parameters
    ----------
    backends : sequence of Backend
    story : str, optional
        The text of ``the-verdict.txt``; without it, what needs it is missing.
    vocabulary : bool, default True
        Whether to look for the vocabulary of GPT-2, as `fastllm.get_encoding` does.
    model : bool, default False
        Whether to make the untrained GPT-2 of chapters 4 and 5, which takes time and memory.

    Yields
    ------
    Row
        In the order of the book.
    """
    ranks = _gpt2_ranks() if vocabulary else None
    materials = [
        Material(backend, None if ranks is None else _gpt2_on(backend, ranks), story)
        for backend in backends
    ]
    quick = [each for each in materials if each.backend.name != "reference"]
    at_hand = {VOCABULARY: ranks is not None, STORY: story is not None, MODEL: model, FAST: quick}
    for name, section in SECTIONS.items():
        needs = (*section.needs, FAST) if section.slow else section.needs
        missing = " and ".join(need for need in needs if not at_hand[need])
        able = quick if section.slow else materials
        computed = {} if missing else {m.backend.name: section.compute(m) for m in able}
        for what, printed in facts()[name].items():
            values = {backend: values[what] for backend, values in computed.items()}
            number = name.partition(" ")[0]
            yield Row(number, what, printed, values, section.tolerance, missing)
    untrained_gpt.cache_clear()


def find_story() -> str | None:
    """The story of chapter 2, found or downloaded as vocabularies are; None if it cannot be had.

    Raises
    ------
    ValueError
        If there is a file of that name that is not the one the book works on.
    """
    try:
        [data] = published_files.read("the story of chapter 2", ((STORY_FILE,),))
    except FileNotFoundError:
        return None
    return data.decode()


def _gpt2_ranks() -> dict[bytes, int] | None:
    try:
        return published.read_ranks("gpt2")
    except FileNotFoundError:
        return None


def _gpt2_on(backend: Backend, ranks: dict[bytes, int]) -> BPETokenizer:
    """GPT-2's tokenizer on a backend."""
    kind = with_attributes(BPETokenizer, _bpe=backend.bpe)
    encoding = ENCODINGS["gpt2"]
    tokenizer: BPETokenizer = kind(
        ranks, pattern=encoding.pattern, special_tokens=encoding.special_tokens
    )
    return tokenizer
