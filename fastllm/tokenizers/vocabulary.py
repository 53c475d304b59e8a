"""What a vocabulary file says, whatever its format."""

from dataclasses import dataclass, field

from fastllm.tokenizers.byte_level import to_bytes
from fastllm.tokenizers.patterns import SplitPattern

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
        used = {token for left, right in self.merges for token in (left, right, left + right)}
        for text, number in (self.added_tokens | self.special_tokens).items():
            token = to_bytes(text)
            if token and len(token) > 1 and token not in used and self.ranks.get(token) == number:
                del self.ranks[token]
