"""tokenizer.json both ways: what is read and written has equal ids there and here."""

import json

import pytest
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from vocabularies import published_ranks

from fastllm import BPETokenizer
from fastllm.patterns.named import SplitPattern

pytestmark = pytest.mark.filterwarnings("ignore:the split pattern .* is left to Python's re")

ENGLISH = english()[:4000]
TEXTS = [
    *(text for text in TRAPS.values() if not any(0xD800 <= ord(c) < 0xE000 for c in text)),
    *mixed_texts(60, seed=3),
    ENGLISH[:1500],
    "a<s>b <tool> tool<s>x the<s>",
]
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
BARE_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def isolated(pattern):
    return pre_tokenizers.Split(pattern, "isolated")


def after(*steps):
    return pre_tokenizers.Sequence([*steps, BARE_BYTE_LEVEL])


LLAMA3 = NAMED["llama3"].steps[0]
PRE_TOKENIZERS = {
    "ByteLevel": (BYTE_LEVEL, None, "gpt2"),
    "ByteLevel that does not split": (BARE_BYTE_LEVEL, None, "(?s:.+)"),
    "Split": (after(isolated(Regex(LLAMA3))), None, "llama3"),
    "Split and NFC": (after(isolated(Regex(NAMED["qwen2"].steps[0]))), "NFC", "qwen2"),
    "Split that removes what is not matched": (
        after(pre_tokenizers.Split(Regex(LLAMA3), "removed", invert=True)),
        None,
        "llama3",
    ),
    "three Splits": (
        after(*(isolated(Regex(step)) for step in NAMED["deepseek-v3"].steps)),
        None,
        "deepseek-v3",
    ),
    "each digit, then ByteLevel": (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]),
        None,
        "smollm2",
    ),
    "runs of digits, then ByteLevel": (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(), BYTE_LEVEL]),
        None,
        SplitPattern((r"\p{N}+", NAMED["gpt2"].steps[0])),
    ),
    "Split at a string": (after(isolated(".a")), None, r"\.a"),
    "Split by an own expression": (
        after(isolated(Regex(r"[a-z]{2,3}|(?<=é)\s|\p{Lu}+?[\d\-]*+"))),
        None,
        r"[a-z]{2,3}|(?<=é)\s|\p{Lu}+?[\d\-]*+",
    ),
}


def rival_of(pre_tokenizer, normalizer=None, **options):
    """A tokenizer of the other library, trained on a little text."""
    rival = Tokenizer(models.BPE(**options))
    rival.pre_tokenizer = pre_tokenizer
    rival.decoder = decoders.ByteLevel()
    if normalizer:
        rival.normalizer = getattr(normalizers, normalizer)()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rival.train_from_iterator([ENGLISH, "é e\u0301 中文中文 1234 12 1234 \n\n\n\n" * 9], trainer)
    return rival


def check_equal(tokenizer, rival):
    for text in TEXTS:
        expected = rival.encode(text).ids
        assert tokenizer.encode(text, allowed_special="all") == expected, text
        decoded = tokenizer.decode(expected)
        assert decoded == rival.decode(expected, skip_special_tokens=False)


@pytest.mark.parametrize("case", PRE_TOKENIZERS)
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_json_of_the_library_has_the_same_ids_here(bpe_tokenizer, tmp_path, case, ignore_merges):
    pre_tokenizer, normalizer, pattern = PRE_TOKENIZERS[case]
    rival = rival_of(pre_tokenizer, normalizer, ignore_merges=ignore_merges)
    rival.add_tokens(["<tool>"])
    rival.save(str(tmp_path / "tokenizer.json"))
    tokenizer = bpe_tokenizer.from_file(tmp_path / "tokenizer.json")
    assert tokenizer.special_tokens == {"<s>": 0}
    assert tokenizer.added_tokens == {"<tool>": 420}
    assert tokenizer.pattern == pattern
    check_equal(tokenizer, rival)


@pytest.mark.parametrize("case", PRE_TOKENIZERS)
def test_json_of_ours_has_the_same_ids_there_and_loads_equal(bpe_tokenizer, tmp_path, case):
    _, _, pattern = PRE_TOKENIZERS[case]
    ranks = BPETokenizer.train(ENGLISH, 330, pattern=pattern).mergeable_ranks
    tokenizer = bpe_tokenizer(
        ranks,
        pattern=pattern,
        special_tokens={"<s>": 1000, "<s>x": 1001},
        added_tokens={"<tool>": 500, "er": ranks[b"er"]},
    )
    tokenizer.save(tmp_path / "tokenizer.json")
    check_equal(tokenizer, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    assert bpe_tokenizer.from_file(tmp_path / "tokenizer.json") == tokenizer


@pytest.mark.parametrize("name", sorted(NAMED))
def test_json_of_a_named_pattern_splits_alike_there(tmp_path, name):
    tokenizer = BPETokenizer.train("", 256, pattern=name)
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*TEXTS, *mixed_texts(400, seed=11)]:
        text = tokenizer.split_pattern.normalize(text)
        spans = [span for _, span in rival.pre_tokenizer.pre_tokenize_str(text)]
        assert [text[start:end] for start, end in spans] == tokenizer.split(text)


@pytest.mark.parametrize("tie_break", ["lowest-ids", "huggingface", "first-seen"])
def test_json_loads_equal_whatever_the_ids_are(tmp_path, tie_break):
    tokenizer = BPETokenizer.train(ENGLISH, 350, special_tokens=["<s>", "中é"], tie_break=tie_break)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert BPETokenizer.from_file(tmp_path / "tokenizer.json") == tokenizer
    check_equal(tokenizer, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))


@pytest.mark.parametrize("name", ["cl100k", "o200k"])
def test_json_of_a_published_vocabulary(tmp_path, name):
    specials = {"<|endoftext|>": 200_500, "<s>": 200_300}
    ranks = published_ranks(f"{name}_base")
    if name == "o200k":  # the highest ids, and what most of these tokens are made of
        ranks = {token: rank for token, rank in ranks.items() if not 30_000 < rank < 195_000}
    tokenizer = BPETokenizer(ranks, pattern=name, special_tokens=specials)
    tokenizer.save(tmp_path / "tokenizer.json")
    check_equal(tokenizer, Tokenizer.from_file(str(tmp_path / "tokenizer.json")))
    loaded = BPETokenizer.from_file(tmp_path / "tokenizer.json")
    assert loaded == tokenizer
    assert loaded.mergeable_ranks == ranks


def test_json_keeps_tokens_that_no_merge_makes(bpe_tokenizer, tmp_path):
    ranks = {bytes([b]): b for b in range(256)} | {b"abc": 256, b"xy": 257, b" xy": 258}
    tokenizer = bpe_tokenizer(ranks, pattern="gpt2")
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("abc", "abcd", "xy xy xyz", "abc abc"):
        assert tokenizer.encode(text) == rival.encode(text).ids
    assert bpe_tokenizer.from_file(tmp_path / "tokenizer.json") == tokenizer


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_json_keeps_listed_merges_that_ranks_do_not_have(bpe_tokenizer, tmp_path, ignore_merges):
    ranks = {bytes([b]): b for b in range(256)} | {b"ab": 258, b"bc": 257, b"abc": 256}
    merges = [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc"), (b"ab", b"c"), (b"a", b"b")]
    tokenizer = bpe_tokenizer(ranks, pattern="gpt2", merges=merges, ignore_merges=ignore_merges)
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("abc", "ab bc", "aabcc abcab", "xabc"):
        assert tokenizer.encode(text) == rival.encode(text).ids
    loaded = bpe_tokenizer.from_file(tmp_path / "tokenizer.json")
    assert loaded == tokenizer
    assert not loaded.ranks_are_merges


@pytest.mark.parametrize("normalizer", [None, "NFC"])
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_json_added_tokens_in_every_combination(
    bpe_tokenizer, tmp_path, normalizer, special, normalized
):
    rival = rival_of(BYTE_LEVEL, normalizer)
    for text in ("<t>", "éé", "<s>x"):
        token = AddedToken(text, special=special, normalized=normalized)
        (rival.add_special_tokens if special else rival.add_tokens)([token])
    rival.save(str(tmp_path / "tokenizer.json"))
    tokenizer = bpe_tokenizer.from_file(tmp_path / "tokenizer.json")
    texts = ["e\u0301e\u0301", "<t>\u0338", "<s>x<s>", "a<t>éé", "<s>\u0338x<s>ée\u0301", "<t>" * 3]
    for text in texts:
        assert tokenizer.encode(text, allowed_special="all") == rival.encode(text).ids, text
    tokenizer.save(tmp_path / "again.json")
    again = Tokenizer.from_file(str(tmp_path / "again.json"))
    for text in texts:
        assert tokenizer.encode(text, allowed_special="all") == again.encode(text).ids
    assert bpe_tokenizer.from_file(tmp_path / "again.json") == tokenizer


def test_json_may_say_an_added_token_twice(bpe_tokenizer, tmp_path):
    rival = rival_of(BYTE_LEVEL)
    rival.add_tokens(["<t>", "<u>"])
    content = json.loads(rival.to_str())
    content["added_tokens"] += content["added_tokens"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    tokenizer = bpe_tokenizer.from_file(tmp_path / "tokenizer.json")
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("a<t>b<u>") == again.encode("a<t>b<u>").ids
    content["added_tokens"][-1] = content["added_tokens"][-1] | {"special": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'<u>' "):
        bpe_tokenizer.from_file(tmp_path / "tokenizer.json")


def test_json_added_token_that_is_a_merged_token_too(bpe_tokenizer, tmp_path):
    rival = rival_of(BYTE_LEVEL)
    rival.add_tokens(["er", "a"])
    rival.save(str(tmp_path / "tokenizer.json"))
    tokenizer = bpe_tokenizer.from_file(tmp_path / "tokenizer.json")
    assert tokenizer.added_tokens["er"] == tokenizer.mergeable_ranks[b"er"]
    check_equal(tokenizer, rival)


def test_json_without_some_bytes_drops_them_on_request(bpe_tokenizer, tmp_path):
    vocab = {"a": 0, "b": 1, "ab": 2, "Ġ": 3}
    rival = Tokenizer(models.BPE(vocab, [("a", "b")]))
    rival.pre_tokenizer = BYTE_LEVEL
    rival.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="no token for byte 0x7A"):
        bpe_tokenizer.from_file(tmp_path / "tokenizer.json").encode("azb")
    tokenizer = bpe_tokenizer.from_file(tmp_path / "tokenizer.json", missing_bytes="drop")
    for text in ("azb", "zz", "é a zab", "ab ba"):
        assert tokenizer.encode(text) == rival.encode(text).ids


def test_json_keywords_go_before_the_file(bpe_tokenizer, tmp_path):
    bpe_tokenizer.train("ab", 257, special_tokens=["<s>"]).save(tmp_path / "t.json")
    tokenizer = bpe_tokenizer.from_file(
        tmp_path / "t.json", pattern="cl100k", special_tokens={"<e>": 300}
    )
    assert (tokenizer.pattern, tokenizer.special_tokens) == ("cl100k", {"<e>": 300})


def test_json_with_a_post_processor_is_read_without_it_on_request(bpe_tokenizer, tmp_path):
    rival = rival_of(BYTE_LEVEL)
    rival.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]),
        ]
    )
    path = tmp_path / "tokenizer.json"
    rival.save(str(path))
    tokenizer = bpe_tokenizer.from_file(path, ignore_post_processor=True)
    assert tokenizer.encode("the", add_special_tokens=True) == tokenizer.encode("the")
    assert tokenizer.encode("the") == rival.encode("the", add_special_tokens=False).ids
    rival.post_processor = processors.ByteLevel(trim_offsets=False)
    rival.save(str(path))
    assert bpe_tokenizer.from_file(path) == tokenizer


def changed(content, place, value):
    """A copy of parsed JSON with another value at a place such as "model.vocab"."""
    content = json.loads(json.dumps(content))
    *folders, name = place.split(".")
    inner = content
    if place == "model.vocab" and isinstance(value, dict):
        value = {"<s>": 257, **value}
    for folder in folders:
        inner = inner[int(folder) if folder.isdigit() else folder]
    inner[int(name) if name.isdigit() else name] = value
    return content


SPLIT = {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False}
LAST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
OTHER = "this is for CharacterBPETokenizer, not for BPETokenizer: fastllm.load_tokenizer"


def sequence(*members):
    return {"type": "Sequence", "pretokenizers": [*members, LAST]}


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("truncation", {"max_length": 5}, "truncation"),
        ("padding", {"strategy": "BatchLongest"}, "padding"),
        ("surprise", 1, "'surprise'"),
        ("normalizer", {"type": "BertNormalizer"}, OTHER),
        ("normalizer", {"type": "NFKC"}, OTHER),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}, OTHER),
        ("normalizer", {"type": "Sequence", "normalizers": 3}, "no list of normalizers"),
        ("normalizer", "NFC", "'NFC', not an object"),
        ("pre_tokenizer", None, OTHER),
        ("pre_tokenizer", {"type": "Metaspace"}, OTHER),
        ("pre_tokenizer", {"type": "Whitespace"}, OTHER),
        ("pre_tokenizer", SPLIT, OTHER),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": []}, OTHER),
        ("pre_tokenizer", sequence(LAST), OTHER),
        ("pre_tokenizer", sequence({"type": "Punctuation", "behavior": 3}), "behavior 3"),
        ("pre_tokenizer", sequence({**SPLIT, "behavior": "removed"}), "behavior 'removed'"),
        ("pre_tokenizer", sequence({**SPLIT, "invert": None}), "invert None"),
        ("pre_tokenizer", sequence({**SPLIT, "pattern": {}}), "neither a Regex nor a String"),
        ("pre_tokenizer", sequence({**SPLIT, "pattern": {"Regex": "a$"}}), r"'\$' at position 1"),
        ("pre_tokenizer", sequence({**SPLIT, "pattern": {"Regex": "("}}), "missing \\)"),
        ("pre_tokenizer", sequence({**SPLIT, "extra": 1}), "'extra'"),
        ("pre_tokenizer", sequence(SPLIT, {"type": "ByteLevel"}), OTHER),
        ("pre_tokenizer.add_prefix_space", None, "add_prefix_space None"),
        ("pre_tokenizer.use_regex", "yes", "use_regex 'yes'"),
        ("pre_tokenizer.what", 1, "'what'"),
        ("post_processor", {"type": "BertProcessing"}, "post_processor BertProcessing"),
        ("post_processor", {"type": "TemplateProcessing"}, "no special_tokens"),
        (
            "post_processor",
            {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 1 << 32}}],
                "pair": [],
                "special_tokens": {},
            },
            "has the type_id 4294967296, which is not of 32 bits",
        ),
        ("post_processor", {"type": "ByteLevel", "trim_offsets": 1}, "add_prefix_space None"),
        ("version", "2.0", "the file with version '2.0' is not supported"),
        ("decoder", {"type": "WordPiece"}, "decoder WordPiece"),
        ("decoder", 1, "decoder is 1"),
        ("model", {"type": "Unigram", "vocab": []}, "for UnigramTokenizer"),
        ("model.type", "WordPiece", "for WordPieceTokenizer, not for BPE"),
        ("model.dropout", 0.1, "dropout 0.1"),
        ("model.unk_token", 5, "unk_token 5"),
        ("model.continuing_subword_prefix", "##", OTHER),
        ("model.end_of_word_suffix", "</w>", OTHER),
        ("model.byte_fallback", True, OTHER),
        ("model.ignore_merges", None, "ignore_merges None"),
        ("model.max_input_chars_per_word", 9, "'max_input_chars_per_word'"),
        ("model.vocab", [], "no vocab"),
        ("model.vocab", {"a b": 1}, "'a b', which is neither"),
        ("model.vocab", {"a": -1}, "at least 0"),
        ("model.vocab", {"a": "1"}, "must be an int"),
        ("model.vocab", {"a": 1, "b": 1}, "gives id 1 to both"),
        ("model.vocab", {"": 1}, "empty token"),
        ("model.merges", {}, "no vocab or no merges"),
        ("model.merges", ["a"], "merge 0 is 'a', not two tokens"),
        ("model.merges", [["a", "b", "c"]], "merge 0"),
        ("model.merges", [["a", 1]], "merge 0"),
        ("model.merges", [["a", " "]], "not written in byte-level characters"),
        ("model.merges", [["a", "q"]], "needs b'aq', not a token"),
        ("added_tokens", {}, "added_tokens is an object, not a list"),
        ("added_tokens.0", 5, "an added token is 5"),
        ("added_tokens.0.content", None, "needs a content"),
        ("added_tokens.0.id", 77, "has id 77, but the library of this format gives it"),
        ("added_tokens.0.single_word", "no", "'<s>' with single_word 'no'"),
        ("added_tokens.0.lstrip", "no", "'<s>' with lstrip 'no'"),
        ("added_tokens.0.rstrip", "no", "'<s>' with rstrip 'no'"),
    ],
)
def test_json_that_is_not_byte_level_bpe_is_refused_by_name(tmp_path, place, value, message):
    path = tmp_path / "tokenizer.json"
    BPETokenizer.train("abab", 258, special_tokens=["<s>"]).save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert BPETokenizer.from_file(path).vocab_size == 258
    path.write_text(json.dumps(changed(content, place, value)), encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        BPETokenizer.from_file(path)
    assert str(path) in str(caught.value)


def test_json_accepts_what_changes_nothing(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer = BPETokenizer.train("abab", 258, special_tokens=["<s>"])
    tokenizer.save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    for place, value in [
        ("decoder", None),
        ("normalizer", {"type": "Sequence", "normalizers": []}),
        ("model.dropout", 0.0),
        ("model.continuing_subword_prefix", ""),
        ("model.end_of_word_suffix", ""),
        ("model.fuse_unk", True),
        ("model.merges", ["#version: 0.2", "a b"]),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}),
        ("pre_tokenizer.trim_offsets", False),
    ]:
        path.write_text(json.dumps(changed(content, place, value)), encoding="utf-8")
        assert BPETokenizer.from_file(path) == tokenizer, place


def test_json_is_not_written_where_it_would_mean_something_else(tmp_path):
    ranks = {bytes([b]): b for b in range(256)} | {b"<s>": 256}
    for pattern in (r"\w+", r"(?i:straSSe)", r"\d{1,3}+", "^a", r"a\b"):
        with pytest.raises(ValueError, match="not read alike"):
            BPETokenizer(ranks, pattern=pattern).save(tmp_path / "tokenizer.json")
    with pytest.raises(ValueError, match="cannot hold both the special token '<s>'"):
        BPETokenizer(ranks, pattern="gpt2", special_tokens={"<s>": 300}).save(tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []


def test_json_writes_the_end_of_text_as_the_other_engine_reads_it(tmp_path):
    tokenizer = BPETokenizer.train("", 256, pattern=r"\s+$|\S+|b\Z")
    tokenizer.save(tmp_path / "tokenizer.json")
    rival = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("a \nb \n", "a\n", " \n\n"):
        spans = [span for _, span in rival.pre_tokenizer.pre_tokenize_str(text)]
        assert [text[start:end] for start, end in spans] == tokenizer.split(text)
    assert BPETokenizer.from_file(tmp_path / "tokenizer.json") == tokenizer
