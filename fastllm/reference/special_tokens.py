"""Finding special tokens in text: leftmost first, the longest where several begin."""

from collections.abc import Iterable

from fastllm.checks import tokenization as arguments

__all__ = ["TokenFinder"]


class TokenFinder:
    """Finds any of several tokens in text: leftmost first, the longest where several begin.

    Parameters
    ----------
    tokens : iterable of str
        At least one; none of them empty, none twice.

    Raises
    ------
    TypeError, ValueError
        If `tokens` does not hold such strings.

    Examples
    --------
    >>> finder = TokenFinder(["<a>", "<a>b"])
    >>> finder.find("x<a>bc<a>")
    '<a>b'
    >>> finder.cut("x<a>bc<a>")
    [('x', '<a>b'), ('c', '<a>'), ('', None)]
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        found = arguments.specials_expression(arguments.check_tokens_to_find(tokens))
        assert found is not None
        self._expression = found

    def find(self, text: str) -> str | None:
        """The first token in `text`; None if it holds none."""
        found = self._expression.search(arguments.check_is_text(text))
        return found[0] if found else None

    def cut(self, text: str) -> list[tuple[str, str | None]]:
        """Each stretch of `text` before a token, with that token; None after the last stretch."""
        cuts: list[tuple[str, str | None]] = []
        end = 0
        for match in self._expression.finditer(arguments.check_is_text(text)):
            cuts.append((text[end : match.start()], match[0]))
            end = match.end()
        return [*cuts, (text[end:], None)]
