"""Every shape of tokenizer.json that model families have, against the owner of the format."""

import base64
import json
import random
from itertools import product

import pytest
from formats.shapes import SHAPES, metaspace, normal, sequence, template, token
from subword.made_models import character_map
from texts import TRAPS, english, mixed_texts
from tokenizers import Tokenizer

import fastllm
from fastllm.reference.tokenization import SubwordEncoder

# What shapes have rules about: blanks, added tokens and their neighbours, characters that change.
TEXTS = [
    *("", " ", "Hello world's end, don't", "  two  blanks\n\n x \t y", "word sword word"),
    "the 1234 é <mask> a<s>b </s>  <unk>x <mask>",
    "a <mask> <mask>  b<mask>c  <s>  <s>d",
    "\u00a0x\u2003y  <|x|>  z  <|endoftext|>    <|im|>  r\n<tool> <|im_start|>s",
    "▁low ▁ a▁b <s> ▁c",
    "株式会社ABC 😀 12345²½ 12",
    "Déjà Vu «İstanbul» ΑΣ ﬁne Å ½",
    english()[5000:5400],
]
# These change in NFC, and we say of such characters that they stand for all they were made from.
COMBINED = ["e\u0301x中 e\u0301xx e\u0301", "<s>\u0338 <tool>\u0301 A\u030a"]
HOSTILE = [text for text in TRAPS.values() if not any(0xD800 <= ord(c) < 0xE000 for c in text)]
PAIR = "  two </s> words"


@pytest.fixture(scope="module", params=sorted(SHAPES))
def shape(request, tmp_path_factory):
    """A shape: the owner's tokenizer, and the file that it is made of."""
    content = json.dumps(SHAPES[request.param]())
    path = tmp_path_factory.mktemp("shape") / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    owner = Tokenizer.from_str(content)
    owner.no_truncation()  # both are kept here, and left to who asks for them
    owner.no_padding()
    return owner, path


def test_ids_are_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    texts = [*TEXTS, *COMBINED, *HOSTILE, *mixed_texts(20, seed=5)]
    for add in (False, True):
        expected = [each.ids for each in owner.encode_batch(texts, add_special_tokens=add)]
        options = {"allowed_special": "all", "add_special_tokens": add}
        for text, ids in zip(texts, expected, strict=True):
            assert ours.encode(text, **options) == ids, text
        assert ours.encode_batch(texts, **options) == expected
        assert ours.count_batch(texts, **options) == [*map(len, expected)]
        flat, ends = ours.encode_batch_to_numpy(texts, **options)
        assert flat.tolist() == [number for ids in expected for number in ids]
        assert ends.tolist() == [sum(map(len, expected[:i])) for i in range(len(expected) + 1)]
        assert ours.encode_to_numpy(texts[5], **options).tolist() == expected[5]
        assert ours.count(texts[5], **options) == len(expected[5])


def test_pairs_are_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    for add in (False, True):
        options = {"allowed_special": "all", "add_special_tokens": add}
        expected = owner.encode_batch([(text, PAIR) for text in TEXTS], add_special_tokens=add)
        ids = [each.ids for each in expected]
        assert [ours.encode(text, pair=PAIR, **options) for text in TEXTS] == ids
        pairs = [PAIR] * len(TEXTS)
        assert ours.encode_batch(TEXTS, pairs=pairs, **options) == ids
        assert ours.count_batch(TEXTS, pairs=pairs, **options) == [*map(len, ids)]
        flat, _ = ours.encode_batch_to_numpy(TEXTS, pairs=pairs, **options)
        assert flat.tolist() == [number for each in ids for number in each]
        found = ours.encode_with_offsets(TEXTS[5], pair=PAIR, **options)
        assert found == (ids[5], expected[5].offsets)
        if add:
            texts = [len(ours.encode(each, allowed_special="all")) for each in (TEXTS[5], PAIR)]
            assert ours.template.type_ids(*texts) == expected[5].type_ids


def test_offsets_are_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    for text in TEXTS:
        expected = owner.encode(text)
        found = ours.encode_with_offsets(text, allowed_special="all", add_special_tokens=True)
        assert found == (expected.ids, expected.offsets), text


def test_text_is_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    for text in [*TEXTS, *COMBINED]:
        ids = owner.encode(text).ids
        for skip in (False, True):
            expected = owner.decode(ids, skip_special_tokens=skip)
            assert ours.decode(ids, skip_special_tokens=skip) == expected, text
        stream = ours.stream_decoder()
        assert "".join(map(stream.push, ids)) + stream.finish() == ours.decode(ids)


def test_what_is_written_is_read_alike_here_and_there(shape, tmp_path):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    ours.save(tmp_path / "tokenizer.json")
    assert fastllm.load_tokenizer(tmp_path / "tokenizer.json") == ours
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for kind in ("truncation", "padding"):
        assert (getattr(ours, kind) is None) == (getattr(again, kind) is None)
        assert getattr(again, kind) == getattr(Tokenizer.from_file(str(path)), kind)
    again.no_truncation()
    again.no_padding()
    texts = [*TEXTS, *COMBINED]
    for add in (False, True):
        for found, expected in zip(
            again.encode_batch([*texts, *((text, PAIR) for text in texts)], add_special_tokens=add),
            owner.encode_batch([*texts, *((text, PAIR) for text in texts)], add_special_tokens=add),
            strict=True,
        ):
            assert (found.ids, found.offsets, found.type_ids) == (
                expected.ids,
                expected.offsets,
                expected.type_ids,
            )
    ids = owner.encode(TEXTS[5]).ids
    assert again.decode(ids) == owner.decode(ids)


@pytest.mark.sweep
def test_all_scalar_values_are_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    scalars = [*range(0xD800), *range(0xE000, 0x110000)]
    texts = ["".join(map(chr, scalars[i : i + 64])) for i in range(0, len(scalars), 64)]
    expected = [each.ids for each in owner.encode_batch(texts, add_special_tokens=False)]
    found = ours.encode_batch(texts, allowed_special="all")
    assert [ascii(t) for t, a, b in zip(texts, found, expected, strict=True) if a != b] == []
    decoded = owner.decode_batch(expected, skip_special_tokens=False)
    assert [i for i, ids in enumerate(expected) if ours.decode(ids) != decoded[i]] == []


@pytest.mark.sweep
def test_many_texts_are_the_owners(shape):
    owner, path = shape
    ours = fastllm.load_tokenizer(path)
    rng = random.Random(17)
    tokens = [*ours.tokens_taken_whole]
    parts = [
        *english()[:3000].split(),
        *tokens * 3,
        *" \t\n▁,.-1é中",
        "\u00a0",
        "  ",
        " 12345",
        "don't",
    ]
    for _ in range(3000):
        text, pair = (
            "".join(
                rng.choice([" ", "", " "]) + rng.choice(parts) for _ in range(rng.randint(0, 9))
            )
            for _ in range(2)
        )
        add = rng.random() < 0.5
        found = ours.encode_with_offsets(
            text, pair=pair, allowed_special="all", add_special_tokens=add
        )
        each = owner.encode(text, pair, add_special_tokens=add)
        assert found == (each.ids, each.offsets), (text, pair)
        skip = rng.random() < 0.5
        decoded = ours.decode(each.ids, skip_special_tokens=skip)
        assert decoded == owner.decode(each.ids, skip_special_tokens=skip), (text, pair)


def test_what_is_around_texts_counts_for_the_fingerprint(tmp_path):
    prints = set()
    for name in ("roberta", "roberta with a blank", "deberta-v1", "gpt2"):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(SHAPES[name]()), encoding="utf-8")
        prints.add(fastllm.load_tokenizer(path).fingerprint)
        tokenizer = fastllm.load_tokenizer(path)
        tokenizer.encode("a", pair="b")  # nor does a call
        assert tokenizer.fingerprint in prints
    assert len(prints) == 4


def test_ids_that_no_token_has_are_left_out_on_request(shape):
    _, path = shape
    ours = fastllm.load_tokenizer(path)
    ids = ours.encode("the end")
    beyond = ours.n_vocab + 7
    for padded in ([*ids, beyond], [ids[0], beyond, *ids[1:]]):
        with pytest.raises(KeyError, match=f"id {beyond} is not in the vocabulary"):
            ours.decode(padded)
        expected = ours.decode(ids, skip_special_tokens=True)
        assert ours.decode(padded, skip_special_tokens=True) == expected
        stream = ours.stream_decoder(skip_special_tokens=True)
        assert "".join(map(stream.push, padded)) + stream.finish() == expected
    with pytest.raises((KeyError, ValueError)):
        ours.decode([-1], skip_special_tokens=True)


TWO_TEMPLATES = sequence("processors", template(["<s>"]), template(["<s>"]))
FIRST_BEHIND = sequence("pretokenizers", normal("Punctuation"), metaspace("first"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("gpt2", {"model": {"type": "WordMap", "vocab": {"a": 0}}}, "model 'WordMap' is not"),
        ("gpt2", {"normalizer": normal("Nmt")}, "normalizer Nmt is not supported; read are"),
        ("gpt2", {"post_processor": TWO_TEMPLATES}, "Sequence of several that add tokens is not"),
        ("gpt2", {"decoder": normal("CTC")}, "decoder CTC is not supported"),
        ("t5", {"decoder": normal("CTC")}, "decoder CTC is not supported with pieces"),
        ("t5", {"pre_tokenizer": FIRST_BEHIND}, "'first' behind other steps is not supported; 'al"),
        ("llama-2", {"pre_tokenizer": normal("UnicodeScripts")}, "UnicodeScripts is not supported"),
    ],
)
def test_what_is_not_read_is_refused_by_name(tmp_path, name, change, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(SHAPES[name]() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        fastllm.load_tokenizer(path)
    assert str(path) in str(caught.value)


# What a map makes nothing of, beside what it makes more or less of, and before all else.
REMOVED = [
    "\x01abc",
    "ab\x01cd",
    "½\x01a",
    "ab½\x01\x01c",
    "ﬁ\x01\x01 x",
    "\x01 e\u0301\x01 b",
    "½½\x01½",
    "\x01日b é½ñ\x01ab",
]


@pytest.mark.parametrize("name", ["t5", "xlm-r", "nllb", "pegasus", "fnet"])
def test_offsets_beside_what_a_map_removes(tmp_path, name):
    rules = {"\x01": "", "½": "1/2", "ﬁ": "fi", "e\u0301": "é", "\x01b": "b"}
    content = SHAPES[name]()
    maps = content["normalizer"].get("normalizers", [content["normalizer"]])
    maps[0]["precompiled_charsmap"] = base64.b64encode(character_map(rules)).decode()
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    owner, ours = Tokenizer.from_file(str(path)), fastllm.load_tokenizer(path)
    reference = SubwordEncoder(ours._model, pattern=ours._pattern, normalizer=ours._normalizer)
    for text in [*REMOVED, *("".join(each) for each in product("\x01½a ", repeat=3))]:
        expected = owner.encode(text, add_special_tokens=False)
        assert ours.encode_with_offsets(text) == (expected.ids, expected.offsets), ascii(text)
        _, starts, ends = reference.locate(text)
        assert [*zip(starts.tolist(), ends.tolist(), strict=True)] == expected.offsets, ascii(text)


def test_pieces_that_are_there_twice(tmp_path):
    content = SHAPES["t5"]()
    vocab = content["model"]["vocab"] = [list(entry) for entry in content["model"]["vocab"]]
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] < len(vocab)]
    vocab += [["▁the", -1.0], ["▁", -3.0], ["e", -2.5]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    owner, ours = Tokenizer.from_file(str(path)), fastllm.load_tokenizer(path)
    for text in TEXTS[:6]:
        ids = owner.encode(text).ids
        assert ours.encode(text, allowed_special="all", add_special_tokens=True) == ids
        assert ours.decode(ids) == owner.decode(ids, skip_special_tokens=False)
    every = [*range(owner.get_vocab_size(with_added_tokens=True))]
    assert ours.tokens_of(every) == [*map(owner.id_to_token, every)]
    ours.save(tmp_path / "again.json")
    assert fastllm.load_tokenizer(tmp_path / "again.json") == ours


def test_a_file_without_a_decoder_is_decoded_as_its_owner_does(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(SHAPES["gpt2"]() | {"decoder": None}), encoding="utf-8")
    ids = [200, 300, 40]
    expected = Tokenizer.from_file(str(path)).decode(ids)
    assert fastllm.load_tokenizer(path).decode(ids) == expected
    assert fastllm.BPETokenizer.from_file(path).decode(ids) != expected  # the bytes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "'a' is there twice in an object"),
        ('{"model": NaN}', "NaN is no number"),
        ('{"model": {}, "type": true, "version": "1.0"}', "the file has 'type', which is not"),
    ],
)
def test_json_that_the_owner_cannot_read_is_refused(tmp_path, text, message):
    path = tmp_path / "tokenizer.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        fastllm.load_tokenizer(path)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_match_that_is_discarded_is_not_looked_at_again(tmp_path, normalized):
    added = [
        token("ab", special=True, single_word=True, normalized=normalized),
        token("a", normalized=normalized, lstrip=True),
        token("cd", normalized=normalized, rstrip=True),
        token(" d", normalized=normalized, lstrip=True, rstrip=True),
    ]
    content = SHAPES["gpt2"]()
    vocab = content["model"]["vocab"]
    new = iter(range(len(vocab), 999))
    content["added_tokens"] = [
        {**entry, "id": vocab.get(entry["content"]) or next(new)} for entry in added
    ]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    owner, ours = Tokenizer.from_file(str(path)), fastllm.load_tokenizer(path)
    for text in map("".join, product(["ab", "a", " ", "cd", "d", "x"], repeat=4)):
        expected = owner.encode(text)
        found = ours.encode_with_offsets(text, allowed_special="all")
        assert found == (expected.ids, expected.offsets), text


def test_a_template_has_ids_of_its_own(tmp_path):
    content = SHAPES["llama-2"]()
    content["post_processor"]["special_tokens"]["<s>"] |= {"ids": [9, 7], "tokens": ["x", "y"]}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    owner, ours = Tokenizer.from_file(str(path)), fastllm.load_tokenizer(path)
    assert ours.encode("low", add_special_tokens=True) == owner.encode("low").ids
    assert ours.encode("low", add_special_tokens=True)[:2] == [9, 7]
