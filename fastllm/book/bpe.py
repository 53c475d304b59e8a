"""The byte-pair tokenizer of the book's bonus material to chapter 2, its own merging included."""

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

from fastllm import _backend
from fastllm.checks import tokenization as arguments
from fastllm.corpus.atomic_write import replacing
from fastllm.corpus.special_tokens import special_tokens_expression
from fastllm.formats.byte_level import to_characters
from fastllm.formats.gpt2 import read_pair
from fastllm.formats.text import naming
from fastllm.patterns.named import WHOLE_TEXT, split_pattern
from fastllm.reference.bpe import best_pair, count_pairs

Ids = list[int]
Pair = tuple[int, int]
StrPath = str | os.PathLike[str]

MODES = ("exact", "book")
END_OF_TEXT = "<|endoftext|>"
SPACE = "Ġ"
LINE_ENDS = {"\n": "Ċ", "\r": "č"}  # as GPT-2's files write them
ASCII = 128  # characters that are one byte each, so that training on bytes is training on them

_LINE_ENDS = re.compile(r"([\r\n])")
_SPACES_OR_WORD = re.compile(r" +|\S+")


class BPETokenizerSimple:
    r"""Byte-pair encoding on characters (bonus material to section 2.5).

    Parameters
    ----------
    mode : {"exact", "book"}, default "exact"
        How `encode` merges. ``"exact"``: the pair that was learned first, wherever it stands, then
        the next, as training did and as GPT-2 does. ``"book"``: pass over the word from left to
        right and merge every pair that was ever learned, whichever comes first; repeat. The book
        does the latter with what it has trained itself. The ids differ, and there are more of
        them: 7,414 for the story of chapter 2, with 1,000 tokens learned from it, against 6,850.

    Attributes
    ----------
    vocab : dict from int to str
        The token of each id, with ``Ġ`` for the space at its beginning.
    inverse_vocab : dict from str to int
        The same the other way round.
    bpe_merges : dict from (int, int) to int
        The id that each pair of ids becomes, in the order learned.
    bpe_ranks : dict from (str, str) to int
        The merges of GPT-2's files, in place of `bpe_merges`; empty after training.

    Notes
    -----
    The tokenizer is that of the notebook as it is since it splits the text of training too; before,
    it learned tokens across words. Training finds the same merges in either mode.

    - It knows 256 characters, U+0000 to U+00FF, and those of the text it was trained on, not bytes:
      any other character is an error.
    - White space other than spaces and line ends is lost.
    - Of several pairs that are as frequent, the one that comes first in the text is merged.

    With GPT-2's files, ``mode="exact"`` is GPT-2 in full: ids and texts are those of tiktoken. With
    ``mode="book"`` words are split and looked up as the book does it, which agrees on plain English
    but not on "don't" or "é".

    Two things differ from the book in either mode. It puts special tokens into the vocabulary in
    the order of a set, which is another in every run; here they are sorted. It decodes the ids 198
    and 201 to line ends even where they are Æ and É; here they stay what they are.

    Examples
    --------
    The pair (b, c) occurs three times and (a, b) twice, so that they become ids 258 and 259, after
    the 256 characters, ``Ġ`` and ``<|endoftext|>``. Now "abc" holds both. Training would have
    merged (b, c) first; reading from the left, the book finds (a, b):

    >>> from fastllm.book import BPETokenizerSimple
    >>> text = "bc\nbc\nbc\nab\nab"
    >>> exact, book = BPETokenizerSimple(), BPETokenizerSimple(mode="book")
    >>> exact.train(text, vocab_size=260)
    >>> book.train(text, vocab_size=260)
    >>> exact.bpe_merges == book.bpe_merges == {(98, 99): 258, (97, 98): 259}
    True
    >>> [exact.vocab[number] for number in exact.encode("abc")]
    ['a', 'bc']
    >>> [book.vocab[number] for number in book.encode("abc")]
    ['ab', 'c']
    """

    _bpe = _backend.bpe

    def __init__(self, mode: str = "exact") -> None:
        self.mode = arguments.check_choice(mode, "mode", MODES)
        self.vocab: dict[int, str] = {}
        self.inverse_vocab: dict[str, int] = {}
        self.bpe_merges: dict[Pair, int] = {}
        self.bpe_ranks: dict[tuple[str, str], int] = {}
        self._gpt2: Any = None  # the encoder of GPT-2's files

    def train(
        self, text: str, vocab_size: int, allowed_special: Collection[str] = (END_OF_TEXT,)
    ) -> None:
        """Learn merges from a text until there are `vocab_size` tokens.

        Parameters
        ----------
        text : str
        vocab_size : int
            Size of the vocabulary, everything included: the characters, ``Ġ``, the special tokens,
            one for each merge.
        allowed_special : collection of str
            Special tokens to put into the vocabulary.

        Raises
        ------
        TypeError, ValueError
            If an argument is of the wrong type, or `vocab_size` too small for the characters.

        Warns
        -----
        UserWarning
            If nothing is left to merge before `vocab_size` is reached.
        """
        words = self.pretokenize_text(text)
        characters = [chr(number) for number in range(256)]
        characters += sorted({character for word in words for character in word} - {*characters})
        characters += [SPACE] if SPACE not in characters else []
        specials = arguments.check_special_tokens(allowed_special)
        tokens = [*characters, *sorted({*specials} - {*characters})]
        size = arguments.check_integer(vocab_size, "vocab_size", len(tokens))
        self._set_vocab(dict(enumerate(tokens)))
        self.bpe_merges, self.bpe_ranks, self._gpt2 = {}, {}, None
        for left, right in self._learn(words, size - len(tokens)):
            number = len(self.vocab)
            self.bpe_merges[self.inverse_vocab[left], self.inverse_vocab[right]] = number
            self.vocab[number] = left + right
            self.inverse_vocab[left + right] = number

    def _learn(self, words: list[str], num_merges: int) -> list[tuple[str, str]]:
        """The merges of `words` as pairs of tokens, in the order learned."""
        characters = sorted({character for word in words for character in word})
        if len(characters) > ASCII:
            return _learn_plainly(words, num_merges)
        stand_ins = {ord(character): place for place, character in enumerate(characters)}
        merges = self._bpe.train(
            (word.translate(stand_ins) for word in words),
            256 + num_merges,
            pattern=split_pattern(WHOLE_TEXT),
            tie_break="first-seen",
        )

        def read(token: bytes) -> str:
            return "".join(characters[place] for place in token)

        return [(read(left), read(right)) for left, right in merges]

    def load_vocab_and_merges_from_openai(
        self, vocab_path: StrPath, bpe_merges_path: StrPath
    ) -> None:
        """Read the vocabulary of GPT-2 from OpenAI's files.

        Parameters
        ----------
        vocab_path : path
            ``encoder.json``: the id of each token.
        bpe_merges_path : path
            ``vocab.bpe``: the merges, best first.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If they are not such files; the message says which, and what is wrong.
        """
        with naming(vocab_path):
            tokens = _read_json(vocab_path)
        with naming(bpe_merges_path), open(bpe_merges_path, encoding="utf-8") as file:
            found = read_pair(tokens, file.read())
        found.take_out_special_tokens()
        self._gpt2 = self._bpe.BytePairEncoder(
            found.ranks, merges=found.merges, special_tokens=found.special_tokens
        )
        self._set_vocab({number: token for token, number in tokens.items()})
        for line_end, token in LINE_ENDS.items():  # words that the book looks up as they are
            if token in tokens:
                self.inverse_vocab[line_end] = tokens[token]
        self.bpe_ranks = {
            (to_characters(left), to_characters(right)): rank
            for rank, (left, right) in enumerate(found.merges or ())
        }
        self.bpe_merges = {}

    def encode(self, text: str, allowed_special: Collection[str] | None = None) -> Ids:
        """The ids of a text.

        Parameters
        ----------
        text : str
        allowed_special : collection of str, optional
            Special tokens that become their id where they stand in `text`.

        Returns
        -------
        list of int

        Raises
        ------
        TypeError
            If `text` is not a string.
        ValueError
            If `text` holds a special token that is not allowed, or one that is allowed but not in
            the vocabulary, or a character that is not in it.
        """
        text = arguments.check_text(text)
        allowed = arguments.check_special_tokens(allowed_special or ())
        for token in self.inverse_vocab:
            special = token.startswith("<|") and token.endswith("|>")
            if special and token not in allowed and token in text:
                raise ValueError(
                    f"text holds the special token {token!r}; to encode it as one, pass "
                    f"allowed_special={{{token!r}}}"
                )
        ids: Ids = []
        end = 0
        find = special_tokens_expression(allowed)
        for match in find.finditer(text) if find else ():
            ids += self._encode_ordinary(text[end : match.start()])
            if match[0] not in self.inverse_vocab:
                raise ValueError(f"special token {match[0]!r} is not in the vocabulary")
            ids.append(self.inverse_vocab[match[0]])
            end = match.end()
        return ids + self._encode_ordinary(text[end:])

    def _encode_ordinary(self, text: str) -> Ids:
        if self._gpt2 is not None and self.mode == "exact":
            return cast(Ids, self._gpt2.encode(text))
        words = self.pretokenize_text(text)
        ids_of = {word: self._encode_word(word) for word in dict.fromkeys(words)}
        return [number for word in words for number in ids_of[word]]

    def _encode_word(self, word: str) -> Ids:
        number = self.inverse_vocab.get(word)
        return self.tokenize_with_bpe(word) if number is None else [number]

    def tokenize_with_bpe(self, token: str) -> Ids:
        """The ids of one word, ``Ġ`` before it for a space; it is not looked up as a whole.

        Raises
        ------
        ValueError
            If a character is not in the vocabulary.
        """
        missing = [character for character in token if character not in self.inverse_vocab]
        if missing:
            raise ValueError(f"{token!r} holds {missing}, which the vocabulary does not")
        if self.bpe_ranks:
            return self._merge_tokens(list(token))
        ids = [self.inverse_vocab[character] for character in token]
        return self._merge_passes(ids) if self.mode == "book" else self._merge_best_first(ids)

    def _merge_best_first(self, ids: Ids) -> Ids:
        """Merge the pair learned first, everywhere, until none is left."""
        while found := [pair for pair in pairwise(ids) if pair in self.bpe_merges]:
            best = min(found, key=self.bpe_merges.__getitem__)
            ids = self._bpe.merge(ids, best, self.bpe_merges[best])
        return ids

    def _merge_passes(self, ids: Ids) -> Ids:
        """Merge what is found from left to right, in passes, until one finds nothing."""
        while True:
            merged: Ids = []
            rest = iter(pairwise([*ids, -1]))
            for pair in rest:
                merged.append(self.bpe_merges.get(pair, pair[0]))
                if pair in self.bpe_merges:
                    next(rest)
            if len(merged) == len(ids):
                return ids
            ids = merged

    def _merge_tokens(self, tokens: list[str]) -> Ids:
        """Merge by the ranks of GPT-2's files, which are of tokens, not of ids."""
        while found := [pair for pair in pairwise(tokens) if pair in self.bpe_ranks]:
            best = min(found, key=self.bpe_ranks.__getitem__)
            tokens = _merge_pair(tokens, best)
        return [self.inverse_vocab[token] for token in tokens]

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text that ids stand for.

        Raises
        ------
        ValueError
            If an id is not in the vocabulary.
        """
        numbers = arguments.check_ids(token_ids)
        for number in numbers:
            if number not in self.vocab:
                raise ValueError(f"id {number} is not in the vocabulary")
        if self._gpt2 is not None and self.mode == "exact":
            data: bytes = self._gpt2.decode_bytes(numbers)
            return data.decode(errors="replace")
        return "".join(self._text_of(self.vocab[number]) for number in numbers)

    def _text_of(self, token: str) -> str:
        if self._gpt2 is not None:
            for line_end, written in LINE_ENDS.items():
                if token == written:
                    return line_end
        return " " + token[1:] if token.startswith(SPACE) else token

    def save_vocab_and_merges(self, vocab_path: StrPath, bpe_merges_path: StrPath) -> None:
        """Write vocabulary and merges to two JSON files, each whole or not at all.

        Raises
        ------
        OSError
            If a file cannot be written.
        """
        merges = [{"pair": pair, "new_id": number} for pair, number in self.bpe_merges.items()]
        for path, content in ((vocab_path, self.vocab), (bpe_merges_path, merges)):
            with replacing(path) as file:
                json.dump(content, file, ensure_ascii=False, indent=2)

    def load_vocab_and_merges(self, vocab_path: StrPath, bpe_merges_path: StrPath) -> None:
        """Read what `save_vocab_and_merges`, here or in the book, has written.

        Raises
        ------
        OSError
            If a file cannot be read.
        ValueError
            If they are not such files; the message says which, and what is wrong.
        """
        with naming(vocab_path):
            vocab = _read_vocab(_read_json(vocab_path))
        with naming(bpe_merges_path):
            merges = _read_merges(_read_json(bpe_merges_path), vocab)
        self._set_vocab(vocab)
        self.bpe_merges, self.bpe_ranks, self._gpt2 = merges, {}, None

    def get_special_token_id(self, token: str) -> int | None:
        """The id of a token; None if it is not in the vocabulary."""
        return self.inverse_vocab.get(token)

    @staticmethod
    def pretokenize_text(text: str) -> list[str]:
        r"""The words of a text, ``Ġ`` before each for the space there; merges never cross them.

        Line ends are words, and so are further spaces; other white space is lost.

        Examples
        --------
        >>> BPETokenizerSimple.pretokenize_text("to  be\tor\n not ")
        ['to', 'Ġ', 'Ġbe', 'or', '\n', 'Ġnot', 'Ġ']
        """
        words: list[str] = []
        for line in _LINE_ENDS.split(arguments.check_text(text)):
            if line in ("\n", "\r"):
                words.append(line)
            else:
                words += _words_of_line(line)
        return words

    @staticmethod
    def find_freq_pair(
        token_id_sequences: Sequence[Sequence[int]], mode: str = "most"
    ) -> Pair | None:
        """The most frequent pair of neighbours, or the least; of several, the first; else None.

        Examples
        --------
        >>> BPETokenizerSimple.find_freq_pair([[1, 2, 3], [1, 2]])
        (1, 2)
        """
        arguments.check_choice(mode, "mode", ("most", "least"))
        counts = count_pairs((list(ids), 1) for ids in token_id_sequences)
        if not counts:
            return None
        if mode == "least":
            return min(counts, key=counts.__getitem__)
        return best_pair(counts, "first-seen")

    @staticmethod
    def replace_pair(
        token_id_sequences: Sequence[Sequence[int]], pair_id: Pair, new_id: int
    ) -> list[Ids]:
        """The sequences with `new_id` for every occurrence of the pair.

        Examples
        --------
        >>> BPETokenizerSimple.replace_pair([[1, 2, 3], [1, 2]], (1, 2), 4)
        [[4, 3], [4]]
        """
        return [_backend.bpe.merge(list(ids), pair_id, new_id) for ids in token_id_sequences]

    def _set_vocab(self, vocab: dict[int, str]) -> None:
        self.vocab = vocab
        self.inverse_vocab = {token: number for number, token in vocab.items()}


def _words_of_line(line: str) -> Iterator[str]:
    """The words of a text without line ends; of the spaces before one, the last belongs to it."""
    spaces = 0
    for match in _SPACES_OR_WORD.finditer(line):
        if match[0].isspace():
            spaces += len(match[0])
        else:
            yield from [SPACE] * (spaces - 1)
            yield SPACE + match[0] if spaces else match[0]
            spaces = 0
    yield from [SPACE] * spaces


def _learn_plainly(words: list[str], num_merges: int) -> list[tuple[str, str]]:
    """The merges of words with more characters than can stand for bytes: Chinese, for example.

    >>> _learn_plainly(["ab", "cab"], 2)
    [('a', 'b'), ('c', 'ab')]
    """
    counted = [(list(word), count) for word, count in Counter(words).items()]
    merges: list[tuple[str, str]] = []
    while len(merges) < num_merges:
        counts: Counter[tuple[str, str]] = Counter()
        for tokens, count in counted:
            for pair in pairwise(tokens):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=counts.__getitem__)  # the first of several: dicts keep their order
        counted = [(_merge_pair(tokens, best), count) for tokens, count in counted]
        merges.append(best)
    arguments.warn_early_end(len(merges), num_merges, 1)
    return merges


def _merge_pair(tokens: list[str], pair: tuple[str, str]) -> list[str]:
    """The tokens with every occurrence of a pair joined, from left to right.

    >>> _merge_pair(["a", "a", "a", "b"], ("a", "a"))
    ['aa', 'a', 'b']
    """
    joined: list[str] = []
    rest = iter(pairwise([*tokens, ""]))
    for found in rest:
        joined.append(found[0] + found[1] if found == pair else found[0])
        if found == pair:
            next(rest)
    return joined


def _read_json(path: StrPath) -> Any:
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None


def _read_vocab(content: Any) -> dict[int, str]:
    """The token of each id, from an object whose keys are ids."""
    if not isinstance(content, Mapping):
        raise ValueError("not an object from id to token")
    for number, token in content.items():
        if not (number.isdecimal() and isinstance(token, str)):
            raise ValueError(f"{number!r}: {token!r} is not an id with its token")
    return {int(number): token for number, token in content.items()}


def _read_merges(content: Any, vocab: Mapping[int, str]) -> dict[Pair, int]:
    """The id of each pair of ids, from a list of objects."""
    merges: dict[Pair, int] = {}
    for entry in content if isinstance(content, list) else [content]:
        try:
            (left, right), number = entry["pair"], entry["new_id"]
            vocab[left], vocab[right], vocab[number]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f'{entry!r} is not of the form {{"pair": [id, id], "new_id": id}}, ids being in '
                "the vocabulary"
            ) from None
        merges[left, right] = number
    return merges
