"""Argument checks of the byte-pair functions, shared so that both backends raise alike."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

from fastllm.checks import lazy_numpy as np

IdArray: TypeAlias = (
    "np.typing.NDArray[np.uint32] | np.typing.NDArray[np.uint16]"
    " | np.typing.NDArray[np.int32] | np.typing.NDArray[np.int64]"
)
# The types of ids in an array; int64 is what embeddings of most frameworks are looked up by.
ID_DTYPES = ("uint32", "uint16", "int32", "int64")

TIE_BREAKS = ("lowest-ids", "huggingface", "first-seen")
MISSING_BYTES = ("raise", "drop")
MAX_ID = 2**31 - 1


def check_is_text(text: object, name: str = "text") -> str:
    """`text` as it is."""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}")
    return text


def check_text(text: object, name: str = "text") -> str:
    """`text`, with surrogate pairs joined and lone surrogates replaced by U+FFFD."""
    text = check_is_text(text, name)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def check_texts(texts: object) -> Iterable[str]:
    """An iterable of texts; one string is one text."""
    if isinstance(texts, str):
        return (texts,)
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a str or an iterable of str, not {type(texts).__name__}")
    return texts


def check_callback(call: object, name: str) -> None:
    """Raise TypeError unless `call` is None or can be called."""
    if call is not None and not callable(call):
        raise TypeError(f"{name} must be callable, not {type(call).__name__}")


def check_integer(value: object, name: str, least: int) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    number = operator.index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, not {number}")
    return number


def check_choice(value: object, name: str, choices: Sequence[str]) -> str:
    """`value`, which must be one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return str(value)


def check_special_tokens(special_tokens: object) -> tuple[str, ...]:
    """The texts of the special tokens, given as a sequence, or as a mapping from text to id."""
    if isinstance(special_tokens, (str, bytes)) or not isinstance(special_tokens, Iterable):
        raise TypeError(
            "special_tokens must be a sequence of str or a mapping from str to id, "
            f"not {type(special_tokens).__name__}"
        )
    tokens = tuple(special_tokens)
    for token in tokens:
        if not isinstance(token, str):
            raise TypeError(f"special_tokens holds {token!r}; every special token must be a str")
        if not token:
            raise ValueError("special_tokens holds an empty string")
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise ValueError(f"special_tokens holds {twice!r} twice")
    return tokens


def check_tokens_to_find(tokens: object) -> list[str]:
    """Tokens to be found in text: at least one."""
    found = check_special_tokens(tokens)
    if not found:
        raise ValueError("there are no tokens to find")
    return list(found)


class TrainingOptions(NamedTuple):
    """The checked arguments of training."""

    num_merges: int
    special_tokens: tuple[str, ...]
    tie_break: str
    min_frequency: int  # at least 1
    max_token_bytes: int
    threads: int | None
    progress: Callable[[int, int], object] | None


def check_training(
    vocab_size: object,
    special_tokens: object,
    tie_break: object,
    min_frequency: object,
    max_token_bytes: object,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
    base: int | None = None,
) -> TrainingOptions:
    """The options of a training to `vocab_size` tokens in all.

    `base` is how many tokens there are already, if not the bytes and the special tokens.
    """
    specials = check_special_tokens(special_tokens)
    rule = check_choice(tie_break, "tie_break", TIE_BREAKS)
    frequency = check_integer(min_frequency, "min_frequency", 0)
    max_bytes = MAX_ID
    if max_token_bytes is not None:
        max_bytes = check_integer(max_token_bytes, "max_token_bytes", 1)
    if threads is not None:
        check_integer(threads, "threads", 1)
    check_callback(progress, "progress")
    check_vocab_size(vocab_size)
    size = check_integer(vocab_size, "vocab_size", 0)
    of_what = f"256 bytes and {len(specials)} special tokens"
    if base is not None:
        of_what = "the tokens there are"
    base = 256 + len(specials) if base is None else base
    if not base <= size <= MAX_ID:
        raise ValueError(f"vocab_size must be from {base} ({of_what}) to {MAX_ID}, not {size}")
    return TrainingOptions(
        size - base, specials, rule, max(1, frequency), max_bytes, threads, progress
    )


def check_vocab_size(vocab_size: object) -> None:
    """Raise if no size was given: it stands behind an argument that may be left out."""
    if vocab_size is None:
        raise TypeError("vocab_size must be given: the number of tokens wanted in all")


def check_one_source(texts: object, word_counts: object) -> None:
    """Raise unless there is something to train on, once."""
    if (texts is None) == (word_counts is None):
        raise TypeError("either texts or word_counts must be given, and not both")


def warn_early_end(made: int, num_merges: int, min_frequency: int) -> None:
    """Say that the texts gave fewer tokens than were asked for."""
    if made < num_merges:
        warnings.warn(
            f"training ended after {made} of {num_merges} merges: "
            f"no pair occurs {min_frequency} time{'s' * (min_frequency > 1)} any more",
            stacklevel=5,
        )


class CheckedVocabulary(dict[bytes, int]):
    """A vocabulary that has been checked, so that checking it again costs nothing."""


def check_vocabulary(vocabulary: object) -> CheckedVocabulary:
    """A dict from token bytes to id, ids distinct and from 0 to 2**31 - 1."""
    if isinstance(vocabulary, CheckedVocabulary):
        return vocabulary
    if not isinstance(vocabulary, Mapping):
        raise TypeError(
            f"vocabulary must be a mapping from bytes to id, not {type(vocabulary).__name__}"
        )
    for token, number in vocabulary.items():
        if not isinstance(token, bytes):
            raise TypeError(f"vocabulary holds {token!r}; every token must be bytes")
        if not token:
            raise ValueError("vocabulary holds an empty token")
        # Asking first whether it is a plain int makes this twenty times faster.
        if type(number) is not int or not 0 <= number <= MAX_ID:
            check_id(number, f"the id of {token!r}")
    if len(set(vocabulary.values())) < len(vocabulary):
        taken: dict[int, bytes] = {}
        for token, number in vocabulary.items():
            if taken.setdefault(number, token) is not token:
                raise ValueError(
                    f"vocabulary gives id {number} to both {taken[number]!r} and {token!r}"
                )
    return CheckedVocabulary(vocabulary)


class CheckedStrings(dict[str, int]):
    """A vocabulary of strings that has been checked."""


def check_string_vocabulary(vocabulary: object) -> CheckedStrings:
    """A dict from token to id, ids distinct and from 0 to 2**31 - 1."""
    if isinstance(vocabulary, CheckedStrings):
        return vocabulary
    if not isinstance(vocabulary, Mapping):
        raise TypeError(
            f"vocabulary must be a mapping from str to id, not {type(vocabulary).__name__}"
        )
    for token in vocabulary:
        if not isinstance(token, str):
            raise TypeError(f"vocabulary holds {token!r}; every token must be a str")
        if not token.isascii() and check_text(token) != token:
            raise ValueError(f"vocabulary holds {token!r}, which no text can hold")
    check_vocabulary({token.encode(): number for token, number in vocabulary.items() if token})
    if "" in vocabulary:
        raise ValueError("vocabulary holds an empty token")
    return CheckedStrings(vocabulary)


def check_id(number: object, name: str) -> int:
    """An id: an int from 0 to 2**31 - 1."""
    found = check_integer(number, name, 0)
    if found > MAX_ID:
        raise ValueError(f"{name} must be at most {MAX_ID}, not {found}")
    return found


def check_merges(merges: object, vocabulary: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Pairs of tokens of the vocabulary whose concatenation is a token too."""
    if isinstance(merges, (str, bytes)) or not isinstance(merges, Iterable):
        raise TypeError(f"merges must be a sequence of pairs, not {type(merges).__name__}")
    pairs = [
        merge if type(merge) is tuple and len(merge) == 2 else check_pair(merge) for merge in merges
    ]
    for left, right in pairs:
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            continue
        missing = next(token for token in (left, right, left + right) if token not in vocabulary)
        raise ValueError(f"merge ({left!r}, {right!r}) needs {missing!r}, not a token")
    return pairs


def check_pair(pair: Any) -> tuple[Any, Any]:
    """Two things."""
    if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueError(f"{pair!r} is not a pair")
    return pair[0], pair[1]


def missing_byte_error(byte: int) -> ValueError:
    """What encoding raises at a byte that is not a token."""
    return ValueError(
        f"the vocabulary has no token for byte 0x{byte:02X}, which text holds; "
        'missing_bytes="drop" leaves such bytes out'
    )


def unknown_id_error(number: object) -> KeyError:
    """What decoding raises at an id that is not in the vocabulary."""
    return KeyError(f"id {number} is not in the vocabulary")


def without_unknown(ids: Iterable[int], known: Container[int]) -> list[int]:
    """The ids that tokens have: models may have more rows than there are tokens.

    Negative numbers are no ids, and stay for decoding to refuse.
    """
    return [number for number in check_ids(ids) if number in known or number < 0]


def check_batch(texts: object, threads: object) -> list[str]:
    """The texts of a batch; a single string is most likely a mistake."""
    if threads is not None:
        check_integer(threads, "threads", 1)
    if isinstance(texts, (str, bytes, bytearray, Mapping)) or not isinstance(texts, Iterable):
        raise TypeError(f"texts must be an iterable of str, not {type(texts).__name__}")
    batch = list(texts)
    for text in batch:
        if not isinstance(text, str):
            check_text(text, "each text")
    return batch


def check_ids(ids: object) -> list[int]:
    """The ids as a list of int."""
    if isinstance(ids, (str, bytes, bytearray, Mapping)) or not isinstance(ids, Iterable):
        raise TypeError(f"ids must be an iterable of int, not {type(ids).__name__}")
    numbers = as_list(ids)
    # Asking first whether all are plain ints makes this twenty times faster.
    if set(map(type, numbers)) <= {int}:
        return numbers
    for number in numbers:
        if not isinstance(number, SupportsIndex):
            raise TypeError(f"ids must hold ints, not {number!r}")
    return [operator.index(number) for number in numbers]


def as_list(values: Iterable[Any]) -> list[Any]:
    """What is iterated over as a list; arrays and tensors by their own method, in one go."""
    if not hasattr(values, "tolist"):
        return list(values)
    found = values.tolist()
    return found if isinstance(found, list) else [found]  # an array of no dimension is one number


def check_bytes(data: object) -> bytes:
    """`data` as bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    return bytes(data)


def check_id_dtype(dtype: object, highest: int, out: object = None) -> type[Any]:
    """The type of ids in an array, one of `ID_DTYPES`, which all ids to `highest` must fit.

    That of `out`, an array for the ids, unless `dtype` is given.
    """
    room = check_out(out)
    if dtype is None:
        dtype = np.uint32 if room is None else room.dtype
    try:
        found = np.dtype(dtype)  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is None or found.name not in ID_DTYPES or not found.isnative:
        raise ValueError(f"dtype must be {_ID_DTYPES}, not {dtype!r}")
    if room is not None and room.dtype != found:
        raise ValueError(f"out holds {room.dtype}, but dtype is {found}")
    if found == np.uint16 and highest >= 1 << 16:
        raise ValueError(
            f"uint16 holds ids up to 65535, but the highest of the vocabulary is {highest}; uint32 "
            "holds them all"
        )
    kind: type[Any] = found.type
    return kind


_ID_DTYPES = f"{', '.join(ID_DTYPES[:-1])} or {ID_DTYPES[-1]}"


def check_out(out: object) -> IdArray | None:
    """`out`, if ids may be written to it."""
    if out is None:
        return None
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, not {type(out).__name__}")
    is_of_ids = out.dtype.name in ID_DTYPES and out.dtype.isnative
    if not is_of_ids or out.ndim != 1 or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be a contiguous array of {_ID_DTYPES} with one dimension, "
            f"not of {out.dtype} with shape {out.shape}"
        )
    if not out.flags.writeable:
        raise ValueError("out must be writeable")
    return out


def room_for_ids(out: object, count: int, dtype: type[Any] | None = None) -> IdArray:
    """An array of `count` ids: a new one, uint32 by default, or the front of `out`."""
    checked = check_out(out)
    if checked is None:
        return np.empty(count, dtype or np.uint32)
    if checked.size < count:
        raise ValueError(f"out has room for {checked.size} ids, but the texts have {count}")
    return checked[:count]
