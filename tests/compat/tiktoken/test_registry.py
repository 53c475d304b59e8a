"""Encodings by the names of encodings and models."""

import base64
import pickle
import re

import pytest
import tiktoken as theirs
import tiktoken_ext.openai_public
from compat.tiktoken.encodings import (
    outcome,
)
from vocabularies import published_ranks

import fastllm
from fastllm.compat import tiktoken as ours
from fastllm.compat.tiktoken import registry
from fastllm.compat.tiktoken.constructors import PATTERNS, constructors
from fastllm.compat.tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING


@pytest.fixture
def vocabulary_folder(tmp_path, monkeypatch):
    """A folder that holds cl100k_base; nothing is remembered."""
    ranks = published_ranks("cl100k_base").items()
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks]
    (tmp_path / "cl100k_base.tiktoken").write_bytes(b"".join(lines))
    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(tmp_path))
    monkeypatch.setattr(registry, "ENCODINGS", {})


def test_encodings_are_got_by_name_and_made_once(vocabulary_folder):
    encoding = ours.get_encoding("cl100k_base")
    assert encoding.name == "cl100k_base"
    assert encoding.encode("hello world") == [15339, 1917]
    assert encoding._pat_str == PATTERNS["cl100k"]
    assert encoding.special_tokens_set == set(encoding._special_tokens)
    assert ours.get_encoding("cl100k_base") is encoding
    assert ours.encoding_for_model("gpt-4") is encoding
    assert pickle.loads(pickle.dumps(encoding)).encode("hello world") == [15339, 1917]
    assert len(pickle.dumps(encoding)) < 500


def test_patterns_of_encodings_are_tiktokens(monkeypatch):
    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", lambda *a, **k: {})
    monkeypatch.setattr(
        tiktoken_ext.openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **k: {}
    )
    monkeypatch.setattr(fastllm.vocabularies.published, "read_ranks", lambda name: {})
    for name, constructor in tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS.items():
        expected = constructor()
        expected.pop("explicit_n_vocab", None)
        assert constructors()[name]() == expected


def test_names_of_encodings_are_tiktokens():
    assert ours.list_encoding_names() == theirs.list_encoding_names()


def test_models_are_tiktokens():
    assert MODEL_TO_ENCODING == theirs.model.MODEL_TO_ENCODING
    assert list(MODEL_PREFIX_TO_ENCODING.items()) == (
        list(theirs.model.MODEL_PREFIX_TO_ENCODING.items())
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt2", "gpt2"),
        ("text-davinci-003", "p50k_base"),
        ("text-davinci-edit-001", "p50k_edit"),
        ("gpt-3.5-turbo-0301", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("gpt-oss-120b", "o200k_harmony"),
        ("ft:gpt-4o:me", "o200k_base"),
    ],
)
def test_the_encoding_of_a_model(model, name):
    assert ours.encoding_name_for_model(model) == theirs.encoding_name_for_model(model) == name


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        ("encoding_name_for_model", "zebra"),
        ("encoding_for_model", "zebra"),
        ("get_encoding", "zebra"),
        ("get_encoding", 5),
    ],
)
def test_unknown_names_end_the_same(call, argument):
    expected = outcome(lambda: getattr(theirs, call)(argument))
    assert outcome(lambda: getattr(ours, call)(argument)) == expected
    with pytest.raises(expected, match=re.escape(str(argument)) if argument != 5 else "int"):
        getattr(ours, call)(argument)
