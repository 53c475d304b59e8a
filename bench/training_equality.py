"""Whether other trainers learn the same, each under its own rule: the task `train-equal`.

Hugging Face tokenizers under ``"huggingface"``, rustbpe and bpeasy under ``"lowest-ids"``; minbpe
is too slow for such texts, and stands here as its rule, applied to distinct words with their counts
(`tests/merge_rules.py`, where it is compared with the rule in its literal form). Documents are
lines, and the pattern is gpt2. A difference ends the run.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import contenders
from bench.contenders import training as trainers
from bench.training_rivals import corpus_files
from bench.turns import row

RULE_OF_MINBPE = "minbpe's rule"
Learn = Callable[[str, int], Any]


def _tokenizers(path: str, merges: int) -> Any:
    return trainers.of_characters(trainers.train_tokenizers(path, merges, 2)[:merges])


def _rustbpe(path: str, merges: int) -> Any:
    ranked = sorted(trainers.train_rustbpe(path, merges, 1), key=lambda pair: pair[1])
    return [bytes(token) for token, _ in ranked[256:]]


def _bpeasy(path: str, merges: int) -> Any:
    ranks = trainers.train_bpeasy(path, merges, 1)
    return sorted(ranks, key=ranks.__getitem__)[256:]


def _minbpe(path: str, merges: int) -> Any:
    import fastllm

    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    from merge_rules import first_seen_merges

    return first_seen_merges(fastllm.count_words(Path(path), documents="lines"), merges)


# The rule for ties, and what learns by it: merges, or the tokens that they make.
RIVALS: dict[str, tuple[str, Learn]] = {
    "tokenizers": ("huggingface", _tokenizers),
    "rustbpe": ("lowest-ids", _rustbpe),
    "bpeasy": ("lowest-ids", _bpeasy),
    RULE_OF_MINBPE: ("first-seen", _minbpe),
}


def installed() -> tuple[str, ...]:
    """Those that can be compared here."""
    found = contenders.installed(name for name in RIVALS if name != RULE_OF_MINBPE)
    return (*found, RULE_OF_MINBPE)


def equality_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """How many merges were compared and found equal, on each corpus."""
    del rounds  # nothing is timed
    quick = size < 1_000_000
    for corpus, path in corpus_files(size if quick else 2 * size):
        equal = {}
        for name in installed():
            wanted = 500 if quick else 4_000 if name == RULE_OF_MINBPE else 16_000
            tie_break, learn = RIVALS[name]
            ours = trainers.train_fastllm(path, wanted, 2, tie_break)
            theirs = learn(path, wanted)
            if theirs not in (ours, [left + right for left, right in ours]):
                sys.exit(f"{corpus}: fastllm and {name} learn different merges")
            equal[name] = [float(wanted)]
        yield row(corpus, equal, unit="merges")
