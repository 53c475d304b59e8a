"""What a vocabulary file says, whatever its format."""

from dataclasses import dataclass, field

from fastllm.formats.byte_level import to_bytes
from fastllm.patterns.named import SplitPattern

Merge = tuple[bytes, bytes]


@dataclass
class Vocabulary:
    """The arguments of `BPETokenizer` that a file gives.

    A pattern of None is one that the format does not name.
    """

    ranks: dict[bytes, int]
    pattern: SplitPattern | str | None = None
    special_tokens: dict[str, int] = field(default_factory=dict)
    added_tokens: dict[str, int] = field(default_factory=dict)
    normalized_tokens: frozenset[str] = frozenset()
    merges: list[Merge] | None = None
    ignore_merges: bool = False

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
