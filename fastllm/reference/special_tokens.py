"""Special tokens, the textbook: how marks such as ``<|endoftext|>`` are found in a text.

They stand for something that is not text: the end of a document, the turn of a speaker. No merge
makes them, so they are looked for before the text is split: leftmost first, and the longest where
several begin. `TokenFinder.cut` gives each part of a text before a special token, with that token.
Each part is encoded on its own, and the id of the token put behind it.

On paper, with the tokens "<a>" and "<a>b": "x<a>bc<a>" is cut into ("x", "<a>b"), ("c", "<a>") and
("", None), since nothing follows the last token.
"""

import re
from collections.abc import Callable, Mapping

from fastllm.api.encoder import TokenFinder as PublicFinder
from fastllm.checks import tokenization as checks


def encode_with_special_tokens(
    text: str, special_tokens: Mapping[str, int], encode: Callable[[str], list[int]]
) -> list[int]:
    """The ids of a text that holds special tokens; `encode` takes the text between them.

    >>> encode_with_special_tokens("a<|x|>b", {"<|x|>": 256}, lambda text: list(text.encode()))
    [97, 256, 98]
    """
    ids = []
    for part, token in TokenFinder(special_tokens).cut(text):
        ids += encode(part)
        if token is not None:
            ids.append(special_tokens[token])
    return ids


class TokenFinder(PublicFinder):
    def _set_up(self, tokens: list[str]) -> None:
        # Of several branches the first that matches is taken: the longest has to stand first.
        longest_first = sorted(tokens, key=len, reverse=True)
        self._expression = re.compile("|".join(map(re.escape, longest_first)))

    def find(self, text: str) -> str | None:
        found = self._expression.search(checks.check_is_text(text))
        return found[0] if found else None

    def cut(self, text: str) -> list[tuple[str, str | None]]:
        cuts: list[tuple[str, str | None]] = []
        end = 0
        for match in self._expression.finditer(checks.check_is_text(text)):
            cuts.append((text[end : match.start()], match[0]))
            end = match.end()
        return [*cuts, (text[end:], None)]
