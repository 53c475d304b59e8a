"""SentencePiece's .model files: read, used and written as their owner does."""

import random

import pytest
import sentencepiece
from subword import made_models
from subword.sentencepiece.test_rules import WORDS, trained

import fastllm
from fastllm import SentencePieceTokenizer
from fastllm.formats import sentencepiece as files


@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char", "word"])
def test_models_give_the_owners_ids_and_texts(kind, byte_fallback, tmp_path):
    path = tmp_path / "made.model"
    path.write_bytes(files.written(trained(kind, byte_fallback)))
    owner = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = fastllm.load_tokenizer(path)
    assert type(ours) is SentencePieceTokenizer
    rng = random.Random(9)
    for _ in range(25):
        text = " ".join(rng.choices(WORDS.split(), k=6)) + made_models.strange_text(rng, 9)
        ids = owner.encode(text)
        assert ours.encode_ordinary(text) == ids, text
        mixed = [*ids, *(rng.randrange(len(owner)) for _ in range(5))]
        rng.shuffle(mixed)
        for each in (ids, mixed):
            assert ours.decode(each) == owner.decode(each), each
        stream = ours.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.finish() == ours.decode(ids)
    ours.save(tmp_path / "written.model")
    assert (tmp_path / "written.model").read_bytes() == path.read_bytes()
    assert SentencePieceTokenizer.from_file(tmp_path / "written.model") == ours


def test_mutated_files_are_refused_or_give_the_owners_ids():
    rng = random.Random(10)
    data = files.written(trained("unigram", False)._replace(normalizer=files.NormalizerSpec()))
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(rng.choice([1, 1, 3])):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            ours = SentencePieceTokenizer(bytes(mutated[: rng.choice([len(data), len(data), 500])]))
        except ValueError:
            continue
        try:
            owner = sentencepiece.SentencePieceProcessor(model_proto=ours._file.source)
        except (RuntimeError, ValueError):
            continue
        text = "low lowest <x>y 12"
        assert ours.encode_ordinary(text) == owner.encode(text), bytes(mutated)
