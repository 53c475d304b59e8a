"""Methods that are timed nowhere else, beside tiktoken's of that name: the task `methods`.

Where tiktoken has no such method, what its users write in its place: ids cut off and decoded for
`truncate`, an incremental UTF-8 decoder for a stream of tokens. Places of tokens in a text are
those of tokenizers. Words and characters are compared with a dict and `str.join`. Files of other
models, found as `bench.encoding_rivals` finds them, are decoded, streamed and located beside their
owners, document by document; a stream has none beside it.
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
from bench.cases import Files, ModelFile, model_files
from bench.contenders import installed
from bench.contenders.encoding import TOKENIZERS
from bench.turns import row, take_turns

PLAIN = "plain Python"
CONTENDERS = (*TOKENIZERS, "sentencepiece", PLAIN)
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
        for model in model_files().values():
            if installed(["sentencepiece" if model.is_sentencepiece else "tokenizers"]):
                yield from _model_rows(model, corpora.documents(text), corpus, rounds)


def _model_rows(
    files: ModelFile, documents: list[str], corpus: str, rounds: int
) -> Iterator[dict[str, Any]]:
    """Methods of a tokenizer of any model, beside the owner of its file."""
    texts = files.without_special_tokens(documents)
    data = sum(len(text.encode()) for text in texts)
    ours = fastllm.load_tokenizer(files.path)
    batch = [ours.encode(text) for text in texts]
    owner, decode, locate = _owner_of(files)
    methods: dict[str, Calls] = {
        "decode": {
            "fastllm": lambda: [ours.decode(ids) for ids in batch],
            owner: lambda: [decode(ids) for ids in batch],
        },
        "encode_with_offsets": {
            "fastllm": lambda: [ours.encode_with_offsets(text)[0] for text in texts],
            owner: lambda: [locate(text) for text in texts],
        },
        "encode": {"fastllm": lambda: [ours.encode(text) for text in texts]},
        "a stream, token by token": {
            "fastllm": lambda: [_streamed(ours.stream_decoder(), ids) for ids in batch]
        },
    }
    for method, calls in methods.items():
        what = f"{files.vocabulary}: {method}, {corpus}, {data / 1e6:.1f} MB"
        results = [call() for call in calls.values()]
        if any(result != results[0] for result in results):
            sys.exit(f"{what}: fastllm and {owner} disagree; nothing was timed")
        del results
        yield row(what, take_turns(calls, rounds, (owner,)), data)


def _owner_of(
    files: ModelFile,
) -> tuple[str, Callable[[list[int]], str], Callable[[str], list[int]]]:
    """The owner of a file by name, what decodes, and what gives ids having found their places."""
    if files.is_sentencepiece:
        from sentencepiece import SentencePieceProcessor

        model = SentencePieceProcessor(model_file=files.path)

        def find(text: str) -> list[int]:
            return [piece.id for piece in model.encode(text, return_type="proto").pieces]

        return "sentencepiece", model.decode, find
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(files.path)
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def locate(text: str) -> list[int]:
        found = tokenizer.encode(text, add_special_tokens=False)
        return found.ids if found.offsets else []

    return "tokenizers", lambda ids: tokenizer.decode(ids, skip_special_tokens=False), locate


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
