"""SentencePiece, the textbook: what its models share.

Text is not cut into words. It is normalized (`character_map`), blanks are written "▁", and the
whole of it becomes pieces: those with the highest sum of scores (`unigram`), or those that are left
when all has merged that merges (`character_bpe`). What is no piece becomes bytes, or one token for
what is unknown in a row.

On paper, with the pieces ▁ h hi ▁hi, of which ▁hi has the best score: "hi ho" is "▁hi▁ho", and
becomes ▁hi ▁ h and, since there is no "o", a token that says so.

Two more models, of words and of characters, search for nothing: each part is looked up.
"""

from __future__ import annotations

from fastllm.api.models import SentencePieces, byte_token
from fastllm.reference import character_bpe, unigram
from fastllm.reference.pieces import Piece
from fastllm.reference.unigram import single


def user_defined_score(piece: str) -> float:
    """The score of a piece that a user has defined: better than anything, and the better the
    longer.

    >>> user_defined_score("<x>")
    0.20000000298023224
    """
    return single(0.1 * (len(piece.encode()) - 1))


def words_of(text: str) -> list[character_bpe.Symbol]:
    """The words of a text, each with the blank before it.

    >>> [word.token for word in words_of("so▁it▁▁goes")]
    ['so', '▁it', '▁', '▁goes']
    """
    starts = [place for place, character in enumerate(text) if place == 0 or character == "▁"]
    ends = [*starts[1:], len(text)]
    return [character_bpe.Symbol(text[a:b], a, b) for a, b in zip(starts, ends, strict=False)]


class SentencePiecesModel:
    """A `SentencePieces` at work.

    >>> pieces = [("?", 0.0), ("▁", -3.0), ("h", -3.0), ("hi", -3.0), ("▁hi", -2.0)]
    >>> model = SentencePieces(pieces, unknown=0, no_text=frozenset([0]))
    >>> [piece.id for piece in SentencePiecesModel(model).pieces("▁hi▁hoo")]
    [4, 1, 2, 0]
    """

    def __init__(self, model: SentencePieces) -> None:
        self._model = model
        of_text = {
            number: piece
            for number, piece in enumerate(model.pieces)
            if number not in model.no_text
        }
        # The ids that text may become, and the scores of all pieces that it may become on the way.
        self._ids = {piece: n for n, (piece, _) in of_text.items() if n not in model.unused}
        self._scores = {piece: single(score) for piece, score in of_text.values()}
        self._user_defined = [model.pieces[number][0] for number in sorted(model.user_defined)]
        self._unused = {model.pieces[number][0] for number in model.unused}
        normal = of_text.keys() - model.user_defined - model.unused
        lowest = min((single(model.pieces[n][1]) for n in normal), default=0.0)
        self.unknown_score = single(lowest - unigram.UNKNOWN_PENALTY)

    def pieces(self, text: str) -> list[Piece]:
        """The tokens of a text."""
        pieces: list[Piece] = []
        known = True
        for part, start, end in self._parts(text):
            number = self._ids.get(part)
            if number is not None:
                pieces.append(Piece(number, start, end))
            elif self._model.byte_fallback:
                tokens = [byte_token(byte) for byte in part.encode()]
                pieces += [Piece(self._model.vocabulary[token], start, end) for token in tokens]
            elif known:
                assert self._model.unknown is not None
                pieces.append(Piece(self._model.unknown, start, end))
            else:
                pieces[-1] = pieces[-1]._replace(end=end)
            known = number is not None
        return pieces

    def _parts(self, text: str) -> list[character_bpe.Symbol]:
        """What a text is cut into."""
        if self._model.algorithm == "words":
            return words_of(text)
        if self._model.algorithm == "characters":
            return character_bpe.cut_out(text, self._user_defined)
        if self._model.algorithm == "bpe":
            scores, unused = self._scores, self._unused
            return character_bpe.best_pieces(text, scores, self._user_defined, unused)
        scores = self.scores_on_the_way()
        parts: list[character_bpe.Symbol] = []
        start = 0
        for part in unigram.best_path_of_text(text, scores, self.unknown_score):
            parts.append(character_bpe.Symbol(part, start, start + len(part)))
            start += len(part)
        return parts

    def scores_on_the_way(self) -> dict[str, float]:
        """The scores of the pieces that a best way may have."""
        scores = {piece: score for piece, score in self._scores.items() if piece in self._ids}
        return scores | {piece: user_defined_score(piece) for piece in self._user_defined}
