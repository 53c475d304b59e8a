"""What a vocabulary file says, whatever its format: the record that formats read and write."""

from dataclasses import dataclass, field
from typing import Any

from fastllm.formats.byte_level import to_bytes
from fastllm.formats.json_fields import Json
from fastllm.patterns.named import SplitPattern, split_pattern

Merge = tuple[bytes, bytes]


@dataclass
class Vocabulary:
    """What readers give and writers take: the arguments of `BPETokenizer` that a file can hold.

    Attributes
    ----------
    ranks : dict from bytes to int
        The id of each ordinary token.
    pattern : SplitPattern, str or None
        None is one that the format does not name.
    special_tokens, added_tokens : dict from str to int
    normalized_tokens : frozenset of str
    merges : list of (bytes, bytes), optional
        None where they follow from the ranks.
    ignore_merges : bool
        Whether a pre-token that is a token is never taken apart.
    token_rules : dict from str to dict
        Of special and added tokens that take white space with them, or that have to be words.
    add_prefix_space : bool
        Whether a blank is put before text that does not begin with one.
    template : parts for one text, parts for two, ids; optional
        What is put around texts, as `components.read_post_processor` gives it.
    trimming : bool, optional
        Whether tokens stand without their blanks, but for one that may have been added; None where
        they stand with them.
    truncation, padding : dict, optional
        The fields of `fastllm.tokenizers.lengths`.
    """

    ranks: dict[bytes, int]
    pattern: SplitPattern | str | None = None
    special_tokens: dict[str, int] = field(default_factory=dict)
    added_tokens: dict[str, int] = field(default_factory=dict)
    normalized_tokens: frozenset[str] = frozenset()
    merges: list[Merge] | None = None
    ignore_merges: bool = False
    token_rules: dict[str, Json] = field(default_factory=dict)
    add_prefix_space: bool = False
    template: Any = None
    trimming: bool | None = None
    truncation: Json | None = None
    padding: Json | None = None

    @property
    def split_pattern(self) -> SplitPattern:
        """The split pattern with all its steps; a TypeError if the format does not name one."""
        return split_pattern(self.pattern)

    def take_out_special_tokens(self) -> None:
        """Leave out of the ranks what is there only because the file lists all tokens together.

        The file writes special tokens as they are and ordinary ones in byte-level characters. What
        no merge makes or uses is a special token only; a byte, or what merges make, is both.
        """
        if self.merges is None:
            return
        merges = set(self.merges)
        parts = {token for merge in merges for token in merge}
        for text, number in (self.added_tokens | self.special_tokens).items():
            token = to_bytes(text)
            if not token or len(token) == 1 or self.ranks.get(token) != number or token in parts:
                continue
            if not any((token[:cut], token[cut:]) in merges for cut in range(1, len(token))):
                del self.ranks[token]
