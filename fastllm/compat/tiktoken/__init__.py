"""tiktoken's interface on fastllm's backends: ``from fastllm.compat import tiktoken``.

Names, arguments, results and exceptions are those of tiktoken 0.14. What differs:

- Of several special tokens that begin at one place the longest is taken. tiktoken takes the one
  that its hash table happens to list first.
- What makes tiktoken panic raises a ValueError: a byte that the vocabulary lacks, ranks that
  give one id to two tokens. A special token cannot have the id of an ordinary one.
- Long runs of one character take time in proportion to their length, and never overflow a stack.
- A `pat_str` that no published encoding has is split by an automaton, much faster than by
  tiktoken's engine; one that looks back, or further ahead than a character, by the standard `re`,
  which takes a few times as long as tiktoken. Text that no branch matches is kept.
- `num_threads` is the most that may work at once; short batches use fewer.
"""

from fastllm.compat.tiktoken.core import Encoding
from fastllm.compat.tiktoken.model import encoding_for_model, encoding_name_for_model
from fastllm.compat.tiktoken.registry import get_encoding, list_encoding_names

__all__ = [
    "Encoding",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
]
