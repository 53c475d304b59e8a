"""Methods that are timed nowhere else, beside tiktoken's of that name: the task `methods`.

Where tiktoken has no such method, what its users write in its place: ids cut off and decoded for
`truncate`, an incremental UTF-8 decoder for a stream of tokens. Places of tokens in a text are
those of tokenizers. Words and characters are compared with a dict and `str.join`.
"""

import codecs
import functools
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import fastllm
from bench import corpora
from bench.cases import Files
from bench.contenders import installed
from bench.contenders.encoding import TOKENIZERS
from bench.turns import row, take_turns

PLAIN = "plain Python"
CONTENDERS = (*TOKENIZERS, PLAIN)
Calls = dict[str, Callable[[], Any]]


def method_rows(size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Each method on each corpus; results are compared first."""
    with tempfile.TemporaryDirectory(prefix="fastllm-rivals-") as folder:
        files = Files("cl100k", folder)
        files.write()
        tokenizers = {name: TOKENIZERS[name](files) for name in installed(TOKENIZERS)}
    for corpus in corpora.NAMES:
        text = corpora.corpus(corpus, size)
        data = len(text.encode())
        for method, calls in (*_byte_pair_calls(tokenizers, text), *_simple_calls(text)):
            what = f"{method}, {corpus}, {data / 1e6:.1f} MB"
            results = {name: call() for name, call in calls.items()}
            for name, result in results.items():
                if result != results["fastllm"]:
                    sys.exit(f"{what}: fastllm and {name} disagree; nothing was timed")
            del results
            yield row(what, take_turns(calls, rounds), data)


def _byte_pair_calls(tokenizers: dict[str, Any], text: str) -> Iterator[tuple[str, Calls]]:
    ours, theirs = tokenizers["fastllm"], tokenizers.get("tiktoken")
    ids = ours.encode_ordinary(text)
    for method in ("decode_tokens_bytes", "decode_with_offsets", "decode_bytes"):
        calls: Calls = {"fastllm": functools.partial(getattr(ours, method), ids)}
        if theirs is not None:
            calls["tiktoken"] = functools.partial(getattr(theirs, method), ids)
        yield method, calls
    calls = {"fastllm": lambda: _streamed(ours.stream_decoder(), ids)}
    if theirs is not None:
        calls["tiktoken"] = lambda: _streamed_bytes(theirs.decode_single_token_bytes, ids)
    yield "a stream, token by token", calls
    half = len(ids) // 2
    calls = {"fastllm": lambda: len(ours.truncate(text, half)) > 0}
    if theirs is not None:
        calls["tiktoken"] = lambda: len(theirs.decode(theirs.encode_ordinary(text)[:half])) > 0
    yield "truncate to half of the tokens", calls
    calls = {"fastllm": lambda: len(ours.encode_with_offsets(text)[1])}
    if "tokenizers" in tokenizers:
        owner = tokenizers["tokenizers"]
        calls["tokenizers"] = lambda: len(owner.encode(text, add_special_tokens=False).offsets)
    yield "encode_with_offsets", calls
    calls = {"fastllm": lambda: ours.count(text)}
    if theirs is not None:
        calls["tiktoken"] = lambda: len(theirs.encode_ordinary(text))
    yield "count", calls


def _streamed(decoder: Any, ids: list[int]) -> str:
    push = decoder.push
    return "".join([push(number) for number in ids]) + str(decoder.finish())


def _streamed_bytes(bytes_of: Callable[[int], bytes], ids: list[int]) -> str:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    return "".join([decode(bytes_of(number)) for number in ids]) + decode(b"", True)


def _simple_calls(text: str) -> Iterator[tuple[str, Calls]]:
    """Characters and words, and the loops that would do the same."""
    characters = fastllm.CharTokenizer.train(text)
    ids = characters.encode(text)
    id_of = characters.vocab
    text_of = {number: token for token, number in id_of.items()}
    yield (
        "CharTokenizer.encode",
        {
            "fastllm": lambda: characters.encode(text),
            PLAIN: lambda: [id_of[character] for character in text],
        },
    )
    yield (
        "CharTokenizer.decode",
        {
            "fastllm": lambda: characters.decode(ids),
            PLAIN: lambda: "".join([text_of[number] for number in ids]),
        },
    )
    words = fastllm.WordTokenizer.train(text)
    word_ids = words.encode(text)
    token_of = {number: token for token, number in words.vocab.items()}
    id_of_word = words.vocab
    cut = re.compile(r"([,.:;?_!\"()\']|--|\s)")

    def split_and_look_up() -> list[int]:
        parts = (part.strip() for part in cut.split(text))
        return [id_of_word[part] for part in parts if part]

    def join() -> str:
        joined = " ".join([token_of[number] for number in word_ids])
        return re.sub(r"\s+([,.:;?!\"()\'])", r"\1", joined)

    plain_encode = {PLAIN: split_and_look_up} if split_and_look_up() == word_ids else {}
    plain_decode = {PLAIN: join} if join() == words.decode(word_ids) else {}
    yield "WordTokenizer.encode", {"fastllm": lambda: words.encode(text), **plain_encode}
    yield "WordTokenizer.decode", {"fastllm": lambda: words.decode(word_ids), **plain_decode}
