"""Learning: how `BPETokenizer` makes a vocabulary of texts, and a larger one of its own."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from fastllm.checks import tokenization as arguments
from fastllm.corpus.sources import Texts
from fastllm.corpus.word_counts import WordCounts
from fastllm.patterns.named import SplitPattern, split_pattern

if TYPE_CHECKING:
    from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary

Made = TypeVar("Made", bound="BPEVocabulary")


def train(
    kind: type[Made],
    texts: Any,
    vocab_size: int | None,
    *,
    pattern: str | SplitPattern | None = None,
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    tie_break: str = "lowest-ids",
    min_frequency: int = 1,
    max_token_bytes: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    word_counts: WordCounts | None = None,
    **reading: Any,
) -> Made:
    """What `BPETokenizer.train` and `train_from_files` do; `reading` is how files are read."""
    rules = _pattern_of(pattern, word_counts)
    specials = arguments.check_special_tokens(special_tokens)
    given = special_tokens if isinstance(special_tokens, Mapping) else None
    arguments.check_vocab_size(vocab_size)
    size = arguments.check_integer(vocab_size, "vocab_size", 0)
    first = _first_id(specials, given, tie_break, size)
    merges, made, report = kind._bpe.train_with_report(
        texts,
        size,
        pattern=rules,
        special_tokens=specials,
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_bytes,
        threads=threads,
        progress=progress,
        word_counts=word_counts,
        **reading,
    )
    order = arguments.byte_order(tie_break)
    tokens = [*(order[i : i + 1] for i in range(256)), *made]
    listed = None
    if tie_break == "huggingface" and (named := {s.encode() for s in specials} & {*tokens}):
        # A merge made the bytes of a special token: it has that id, and so is no rank.
        tokens = [token for token in tokens if token not in named]
        listed = merges
    ranks = arguments.CheckedVocabulary(zip(tokens, range(first, first + len(tokens)), strict=True))
    after = 0 if first else len(tokens)
    ids = given or {token: number for number, token in enumerate(specials, after)}
    if listed is not None:
        ranks |= {
            token.encode(): number for token, number in ids.items() if token.encode() in named
        }
    tokenizer = kind.__new__(kind)
    tokenizer._trusted = True
    tokenizer.__init__(  # type: ignore[misc]
        ranks, pattern=rules, special_tokens=ids, merges=listed
    )
    if listed is None:
        tokenizer.__dict__["_rank_merges"] = merges
    tokenizer._report = report
    return tokenizer


def extend(
    tokenizer: Made,
    texts: Texts | None,
    vocab_size: int | None,
    *,
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
    word_counts: WordCounts | None,
    documents: str,
    field: str | None,
    errors: str,
) -> Made:
    """What `BPETokenizer.extend` does."""
    _pattern_of(tokenizer._pattern, word_counts)
    ids = tokenizer._whole_ids | set(tokenizer._ranks.values())
    new, report = tokenizer._bpe.extend_with_report(
        texts,
        vocab_size,
        tokenizer._ranks,
        merges=tokenizer._listed,
        pattern=tokenizer._pattern,
        ignore_merges=tokenizer._ignore_merges,
        special_tokens=[
            token for token in tokenizer._id_of if token.encode() not in tokenizer._ranks
        ],
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_bytes,
        threads=threads,
        progress=progress,
        word_counts=word_counts,
        missing_bytes=tokenizer._missing_bytes,
        documents=documents,
        field=field,
        errors=errors,
    )
    settings = tokenizer._settings()
    tokens = (left + right for left, right in new)
    settings["ranks"] = tokenizer._ranks | dict(zip(tokens, count(max(ids, default=-1) + 1)))
    if tokenizer._listed is not None:
        settings["merges"] = [*tokenizer._listed, *new]
    made = type(tokenizer)(**settings)
    made._report = report
    return made


def _pattern_of(pattern: str | SplitPattern | None, word_counts: object) -> SplitPattern:
    """The split pattern asked for, or that of counted words; an error if these differ."""
    if not isinstance(word_counts, WordCounts):
        return split_pattern("gpt2" if pattern is None else pattern)
    counted = word_counts.split_pattern
    if pattern is None:
        return counted
    asked = split_pattern(pattern)
    if asked != counted:
        raise ValueError(f"word_counts were cut by pattern {counted}, not by {asked}")
    return counted


def _first_id(
    specials: Sequence[str], given: Mapping[str, int] | None, tie_break: str, size: int
) -> int:
    """The id of the first byte: 0, or behind the special tokens in Hugging Face's order.

    Raises
    ------
    ValueError
        If an id given to a special token is one that a byte or a merge will get.
    """
    if tie_break == "huggingface" and (
        given is None or sorted(given.values()) == list(range(len(given)))
    ):
        return len(specials)
    for token, number in (given or {}).items():
        if arguments.check_id(number, f"the id of {token!r}") < size - len(specials):
            raise ValueError(
                f"the id of {token!r}, {number}, is taken: bytes and merges get the ids from 0 to "
                f"{size - len(specials) - 1}"
            )
    return 0
