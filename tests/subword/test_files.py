"""WordPiece's files: read, written, refused; against the library that owns them."""

import json
import pickle

import pytest
from subword import fuzz_word_piece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import fastllm
from fastllm import AddedToken, BPETokenizer, Template, WordPieceTokenizer, load_tokenizer
from fastllm.api.normalizers import BertNormalizer, Lowercase, UnicodeForm

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "##s", "do"]
TOKENS += ["not", ".", "!", "'", "s", "é"]
VOCABULARY = {token: number for number, token in enumerate(TOKENS)}
SPECIAL = {token: VOCABULARY[token] for token in TOKENS[:5]}
AROUND = ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1")


def bert():
    """A tokenizer as BERT's files have it, in the owner's library."""
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=AROUND[0], pair=AROUND[1], special_tokens=list(SPECIAL.items())
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.enable_truncation(8, stride=1)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", length=8)
    return tokenizer


@pytest.fixture
def files(tmp_path):
    bert().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "vocab.txt").write_text("\n".join(TOKENS) + "\n", "utf-8")
    return tmp_path


def test_made_and_broken_files_are_read_as_the_owner_reads_them():
    made, broken = fuzz_word_piece.run(10, "files")
    assert made == 10
    assert broken > 0


def test_a_file_is_the_tokenizer_made_by_hand(files):
    template = Template(*AROUND, {"[CLS]": 2, "[SEP]": 3})
    by_hand = WordPieceTokenizer(VOCABULARY, added_tokens=SPECIAL, template=template)
    assert load_tokenizer(files / "vocab.txt") == by_hand
    read = load_tokenizer(files)
    assert read.truncation.max_length == 8
    assert read.padding.length == 8
    assert read != by_hand
    for tokenizer in (by_hand, read):
        assert pickle.loads(pickle.dumps(tokenizer)) == tokenizer
        assert hash(pickle.loads(pickle.dumps(tokenizer))) == hash(tokenizer)
        assert tokenizer.special_tokens == SPECIAL
        assert tokenizer.vocabulary == VOCABULARY
        assert tokenizer.vocab_size == tokenizer.n_vocab == len(tokenizer) == len(TOKENS)


def test_what_is_written_is_read_by_the_owner(files):
    tokenizer, owner = load_tokenizer(files), bert()
    tokenizer.save(files / "again.json")
    again = Tokenizer.from_file(str(files / "again.json"))
    assert load_tokenizer(files / "again.json") == tokenizer
    assert (again.truncation, again.padding) == (owner.truncation, owner.padding)
    assert again.encode("Unaffables do!", "not").ids == owner.encode("Unaffables do!", "not").ids
    tokenizer.save(files / "again.txt")
    assert load_tokenizer(files / "again.txt").vocabulary == VOCABULARY
    with pytest.raises(ValueError, match=r"\.json .* or \.txt"):
        tokenizer.save(files / "again.tiktoken")
    with pytest.raises(ValueError, match="white space at the end"):
        WordPieceTokenizer({"[UNK]": 0, "a ": 1}).save(files / "again.txt")


def test_templates_pairs_and_decoding_are_the_owners(files):
    tokenizer, owner = load_tokenizer(files), bert()
    owner.no_padding()
    owner.no_truncation()
    text, pair = "Unaffables do [MASK] not!", "do's é."
    options = {"allowed_special": "all", "add_special_tokens": True}
    for other in (None, pair):
        expected = owner.encode(text) if other is None else owner.encode(text, other)
        assert tokenizer.encode(text, pair=other, **options) == expected.ids
        sizes = [len(tokenizer.encode(each, allowed_special="all")) for each in (text, other or "")]
        types = tokenizer.template.type_ids(sizes[0], None if other is None else sizes[1])
        assert types == expected.type_ids
    assert tokenizer.encode_batch([text, pair], **options) == [
        each.ids for each in owner.encode_batch([text, pair])
    ]
    ids = tokenizer.encode(text, pair=pair, **options)
    assert tokenizer.decode(ids) == owner.decode(ids, skip_special_tokens=False)
    assert tokenizer.decode(ids, skip_special_tokens=True) == owner.decode(ids)
    plain = tokenizer.decode(ids, skip_special_tokens=True, clean_up=False)
    assert plain == "unaffables do not ! do ' s ."
    decoder = tokenizer.stream_decoder(skip_special_tokens=True)
    pushed = [decoder.push(number) for number in ids]
    assert "".join(pushed) + decoder.finish() == tokenizer.decode(ids, skip_special_tokens=True)
    with pytest.raises(KeyError, match="99"):
        tokenizer.decode([99])


def test_special_tokens_are_text_where_a_call_says_so(files):
    tokenizer = load_tokenizer(files)
    with pytest.raises(ValueError, match=r"'\[MASK\]', which is a special token"):
        tokenizer.encode("do [MASK]")
    assert tokenizer.encode("do [MASK]", allowed_special={"[MASK]"}) == [9, 4]
    assert tokenizer.encode_ordinary("do [MASK]") == [9, 1, 1, 1]
    assert tokenizer.split("Do [MASK]") == ["do", "[", "mask", "]"]
    assert tokenizer.truncate("do not do", 2) == "do not "
    assert tokenizer.truncate("unaffable unaffable", 4) == "unaffable unaffabl"
    assert tokenizer.count("do not", allowed_special="all") == 2


def test_added_tokens_keep_their_rules_in_every_way_to_encode():
    tokenizer = WordPieceTokenizer(
        VOCABULARY,
        added_tokens={
            "[MASK]": AddedToken(4, lstrip=True),
            "Do": AddedToken(20, normalized=True, single_word=True),
        },
    )
    text = "not  [MASK]s DO, undo é"
    ids, spans = tokenizer.encode_with_offsets(text)
    assert ids == [10, 4, 14, 20, 1, 1, 1]
    assert spans == [(0, 3), (3, 11), (11, 12), (13, 15), (15, 16), (17, 21), (22, 23)]
    assert tokenizer.encode(text) == tokenizer.encode_ordinary(text) == ids
    assert tokenizer.encode_to_numpy(text).tolist() == ids
    assert tokenizer.count_batch([text, "do", "not"]) == [7, 1, 1]
    flat, offsets = tokenizer.encode_batch_to_numpy([text, "É", "not"])
    assert flat.tolist() == [*ids, 1, 10]
    assert offsets.tolist() == [0, 7, 8, 9]


def test_vocab_txt_is_trimmed_and_told_by_the_config(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[UNK]\nA \u3000\r\n##a\nA\n\nb\x1c\n", "utf-8")
    owner = Tokenizer(models.WordPiece.from_file(str(path), unk_token="[UNK]"))
    vocabulary = {token: n for token, n in owner.get_vocab().items() if token}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocabulary == vocabulary == {"[UNK]": 0, "##a": 2, "A": 3, "b\x1c": 5}
    assert tokenizer.encode("A a Aa") == [3, 0, 3, 2]


def test_what_is_refused_is_named(files):
    path = files / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    for change, message in [
        ({"normalizer": {"type": "Nmt"}}, "normalizer Nmt is not supported"),
        ({"pre_tokenizer": {"type": "UnicodeScripts"}}, "pre_tokenizer UnicodeScripts"),
        ({"decoder": {"type": "CTC"}}, "decoder CTC is not supported"),
        ({"post_processor": {"type": "Other"}}, "post_processor Other"),
        ({"model": content["model"] | {"unk_token": "x"}}, "unknown is 'x'"),
        ({"model": content["model"] | {"type": "Other"}}, "not supported"),
        ({"padding": {"strategy": 1}}, "padding"),
    ]:
        path.write_text(json.dumps(content | change), "utf-8")
        with pytest.raises(ValueError, match=message) as caught:
            load_tokenizer(path)
        assert str(path) in str(caught.value)
    bert().save(str(path))
    with pytest.raises(ValueError, match=r"for WordPieceTokenizer.*load_tokenizer"):
        BPETokenizer.from_file(path)
    BPETokenizer.train("a", 256).save(path)
    assert load_tokenizer(path).encode("a") == [97]
    with pytest.raises(ValueError, match="no WordPiece tokenizer"):
        WordPieceTokenizer.from_file(path)


def test_normalizers_are_listed():
    tokenizer = WordPieceTokenizer(
        {"[UNK]": 0}, normalizer=[UnicodeForm("NFKC"), Lowercase()], pattern="whitespace"
    )
    assert tokenizer.pipeline == (
        "UnicodeForm(form='NFKC')",
        "Lowercase()",
        "split by whitespace",
        "WordPiece of 1 tokens",
    )
    assert tokenizer.normalizer != (UnicodeForm("NFC"), Lowercase())
    assert BertNormalizer() == fastllm.WordPieceTokenizer({"[UNK]": 0}).normalizer[0]
