r"""Pre-tokenizers of subword models that are more than an expression: named split patterns.

They leave white space out, so that a word is the same token at the start of a line and in it.

========================  ========================================================================
``"bert"``                words, and each punctuation mark alone; BertPreTokenizer
``"metaspace"``           words that begin with "▁", of which none is left out; Metaspace
``"whitespace"``          runs of word characters, and runs of what else there is; Whitespace
``"whitespace-split"``    what lies between white space; WhitespaceSplit
========================  ========================================================================
"""

from fastllm.patterns.bert_characters import OTHER_WORD_CHARACTERS
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.patterns.steps import Step, punctuation


def as_members(runs: tuple[int, ...]) -> str:
    r"""Characters, given as runs, as the members of a set.

    >>> as_members((0x41, 0x5A, 0x5F, 0x5F))
    '\\x{41}-\\x{5A}\\x{5F}-\\x{5F}'
    """
    edges = [f"\\x{{{edge:X}}}" for edge in runs]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return "".join(f"{first}-{last}" for first, last in pairs)


# A word character of Rust's regular expressions, as the members of a set.
WORD = rf"\p{{L}}\p{{M}}\p{{Nd}}{as_members(OTHER_WORD_CHARACTERS)}"


_NO_SPACE = Step(r"\s+", "removed")

# A cut before each "▁".
METASPACE = SplitPattern((r"▁[^▁]*",), "metaspace")

NAMED_PRETOKENIZERS = {
    "metaspace": METASPACE,
    "bert": SplitPattern((_NO_SPACE, punctuation()), "bert"),
    "whitespace": SplitPattern((_NO_SPACE, rf"[{WORD}]+"), "whitespace"),
    "whitespace-split": SplitPattern((_NO_SPACE,), "whitespace-split"),
}


def pretokenizer_pattern(pattern: object) -> SplitPattern:
    """The pattern of a name here, or as `split_pattern` finds it.

    >>> pretokenizer_pattern("whitespace-split").steps[0].behavior
    'removed'
    """
    if isinstance(pattern, str) and pattern in NAMED_PRETOKENIZERS:
        return NAMED_PRETOKENIZERS[pattern]
    return split_pattern(pattern)
