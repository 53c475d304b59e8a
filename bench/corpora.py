"""Texts to measure on, from what is on the machine: the same machine always gives the same bytes.

Nothing is repeated to fill a size: a word cache would have an easy life. A corpus is therefore only
as large as what is found, and each measurement says how large that was.
"""

import gettext
import hashlib
import random
import site
import sys
import sysconfig
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path

SEED = 20240229


def _beginning(texts: Iterable[str], size: int) -> str:
    """Texts joined until they hold `size` bytes of UTF-8, cut between two characters."""
    parts: list[str] = []
    total = 0
    for text in texts:
        parts.append(text)
        total += len(text.encode("utf-8", "replace")) + 1
        if total >= size:
            break
    return "\n".join(parts).encode("utf-8", "replace")[:size].decode("utf-8", "ignore")


def _readable(paths: Iterable[Path]) -> Iterator[str]:
    """The UTF-8 texts among files; what cannot be read is left out."""
    for path in paths:
        try:
            yield path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            continue


def _site_packages() -> list[Path]:
    folders = [*site.getsitepackages(), sysconfig.get_path("purelib")]
    return sorted(set(map(Path, folders)))


def _english() -> Iterator[str]:
    """Python's help topics, then the prose that installed packages bring along, then docstrings."""
    from pydoc_data.topics import topics

    yield from topics.values()
    for folder in _site_packages():
        for suffix in (".rst", ".md", ".txt"):
            yield from _readable(sorted(folder.rglob(f"*{suffix}")))
    for source in _code():
        yield from source.split('"""')[1::2]  # what stands between triple quotes: mostly docstrings


def _code() -> Iterator[str]:
    """The standard library, then installed packages."""
    library = Path(sysconfig.get_path("stdlib"))
    packages = ("site-packages", "dist-packages")
    own = (path for path in library.rglob("*.py") if not any(p in path.parts for p in packages))
    yield from _readable(sorted(own))
    for folder in _site_packages():
        yield from _readable(sorted(folder.rglob("*.py")))


def python_files(size: int) -> Iterator[bytes]:
    """Different Python files of this machine in random order, as many as hold `size` bytes.

    So the beginning of a long text is the same kind of text as all of it.
    """
    folders = {Path(sysconfig.get_path("stdlib")), *_site_packages()}
    paths = sorted({path for folder in folders for path in folder.rglob("*.py")})
    random.Random(SEED).shuffle(paths)
    seen: set[bytes] = set()
    for text in _readable(paths):
        data = text.encode()
        digest = hashlib.sha256(data).digest()
        if digest not in seen:
            seen.add(digest)
            yield data + b"\n"
            size -= len(data) + 1
        if size <= 0:
            return


def _many_languages() -> Iterator[str]:
    """Translated messages of the programs installed here, then invented words in many scripts."""
    for folder in (Path(sys.prefix) / "share/locale", Path("/usr/share/locale")):
        for path in sorted(folder.glob("*/LC_MESSAGES/*.mo")):
            try:
                with path.open("rb") as file:
                    catalogue = gettext.GNUTranslations(file)
                messages = catalogue._catalog.values()  # type: ignore[attr-defined]
                yield "\n".join(filter(None, map(str, messages)))
            except (OSError, ValueError, UnicodeDecodeError):
                continue
    yield from _invented()


# Latin with marks, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, kana, Han, Hangul.
_LETTER_BLOCKS = (
    (0x00DF, 0x017F),
    (0x03B1, 0x03C9),
    (0x0430, 0x045F),
    (0x05D0, 0x05EA),
    (0x0621, 0x064A),
    (0x0904, 0x0939),
    (0x0E01, 0x0E30),
    (0x3041, 0x30FA),
    (0x4E00, 0x5E00),
    (0xAC00, 0xBC00),
)


def _invented() -> Iterator[str]:
    """Endless words in ten scripts, frequent ones as frequent as Zipf has them."""
    rng = random.Random(SEED)
    vocabularies = []
    for first, last in _LETTER_BLOCKS:
        letters = [c for c in map(chr, range(first, last)) if unicodedata.category(c)[0] == "L"]
        words = ["".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(20_000)]
        vocabularies.append(words)
    weights = list(accumulate(1 / rank for rank in range(1, 20_001)))
    while True:
        words = rng.choice(vocabularies)
        yield " ".join(rng.choices(words, cum_weights=weights, k=500)) + "."


_CORPORA: dict[str, Callable[[], Iterator[str]]] = {
    "english": _english,
    "code": _code,
    "many languages": _many_languages,
}
NAMES = tuple(_CORPORA)


@cache
def corpus(name: str, size: int) -> str:
    """The first `size` bytes of the corpus `name`, or as much of it as this machine has."""
    return _beginning(_CORPORA[name](), size)


def documents(text: str, size: int = 10_000) -> list[str]:
    """`text` as documents of about `size` characters each."""
    return [text[start : start + size] for start in range(0, len(text), size)]
