"""fastllm.integrations.transformers beside the tokenizers it wraps: the same results."""

import importlib.util
import itertools
import json
import pickle

import numpy as np
import pytest
from published_patterns import SCANNED as NAMED
from texts import TRAPS, english, mixed_texts
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors
from tokenizers import pre_tokenizers as pre
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from fastllm.integrations.transformers import fast_tokenizer

SPECIALS = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = [
    text
    for text in (*TRAPS.values(), *mixed_texts(60, seed=12))
    if not any(0xD800 <= ord(character) < 0xE000 for character in text)
] + ["<s>a</s> b<pad>", "  <|im_start|> user\n", "a<tool>b <tool>", "Hello  world, <s>"]


def template(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1"):
    return processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[("<s>", 0), ("</s>", 1)]
    )


def trained(pre_tokenizer, post_processor, normalizer=None, **options):
    """A byte-level tokenizer of tokenizers, with a vocabulary of its own."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = BpeTrainer(
        vocab_size=600,
        special_tokens=SPECIALS,
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([english()[:30_000]], trainer)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    return tokenizer


def split_by(name):
    step = NAMED[name].steps[0]
    return pre.Sequence(
        [
            pre.Split(Regex(step), "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


GPT2 = pre.ByteLevel(add_prefix_space=False)
KINDS = {
    "bare": lambda: trained(GPT2, None),
    "trimmed": lambda: trained(GPT2, processors.ByteLevel(trim_offsets=True)),
    "untrimmed": lambda: trained(GPT2, processors.ByteLevel(trim_offsets=False)),
    "trimmed after a blank": lambda: trained(
        GPT2, processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    ),
    "surrounded": lambda: trained(split_by("llama3"), template(), ignore_merges=True),
    "begun": lambda: trained(
        split_by("llama3"),
        processors.Sequence([processors.ByteLevel(trim_offsets=False), template("<s> $A")]),
    ),
    "ended": lambda: trained(GPT2, template("$A:1 </s>:0")),
    "as RoBERTa": lambda: trained(
        GPT2, processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    ),
    "normalized": lambda: trained(split_by("qwen2"), None, normalizers.NFC()),
}


def wrap(tokenizer, **options):
    theirs = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT,
        **options,
    )
    return theirs, fast_tokenizer(theirs)


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """A tokenizer of transformers, and the same by us."""
    return wrap(KINDS[request.param]())


@pytest.fixture(scope="module")
def surrounded():
    return wrap(KINDS["surrounded"]())


def plain(encoding):
    """The data of a result, arrays as lists."""
    return {
        name: rows.tolist() if hasattr(rows, "tolist") else rows for name, rows in encoding.items()
    }


def check(pair, *arguments, **options):
    theirs, ours = pair
    expected = theirs(*arguments, **options)
    found = ours(*arguments, **options)
    assert list(found) == list(expected)
    assert plain(found) == plain(expected)
    assert {name: type(rows) for name, rows in found.items()} == {
        name: type(rows) for name, rows in expected.items()
    }


def test_ids_are_the_same(pair):
    for text in TEXTS:
        check(pair, text)
        check(pair, text, add_special_tokens=False)
    check(pair, TEXTS)
    check(pair, tuple(TEXTS[:3]))


def test_offsets_are_the_same(pair):
    for text in TEXTS:
        check(pair, text, return_offsets_mapping=True)
    check(pair, TEXTS, return_offsets_mapping=True, add_special_tokens=False)


@pytest.mark.parametrize("padding", [False, True, "longest", "max_length"])
@pytest.mark.parametrize("truncation", [True, "longest_first", "only_first", False])
def test_padded_and_truncated_batches_are_the_same(padding, truncation, pair):
    texts = ["", "a", "Hello world", english()[:80], "<s>a</s>  "]
    for side, multiple in itertools.product(["left", "right", None], [None, 8]):
        options = {"padding": padding, "padding_side": side, "pad_to_multiple_of": multiple}
        if truncation or padding == "max_length":
            options["max_length"] = 16
        for tensors in (None, "np"):
            if tensors and not (padding and truncation):
                continue
            check(
                pair,
                texts,
                truncation=truncation,
                return_tensors=tensors,
                return_special_tokens_mask=True,
                return_offsets_mapping=True,
                return_token_type_ids=True,
                return_length=True,
                verbose=False,
                **options,
            )


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 30])
def test_truncation_to_any_length_is_the_same(length, pair):
    for text in ("Hello world, how are you?", ""):
        check(pair, text, truncation=True, max_length=length)
        check(pair, [text], max_length=length)


def test_truncation_on_the_left_is_the_same():
    pair = wrap(KINDS["surrounded"](), truncation_side="left", padding_side="left")
    check(pair, ["Hello world, how are you?", "a"], truncation=True, max_length=6, padding=True)


def test_the_longest_length_of_the_model_is_kept():
    pair = wrap(KINDS["surrounded"](), model_max_length=7)
    check(pair, [english()[:50], "a"], truncation=True, padding="max_length")


TENSORS = ["np", *(["pt"] if importlib.util.find_spec("torch") else [])]


@pytest.mark.parametrize("tensors", TENSORS)
def test_tensors_are_the_same(tensors, pair):
    check(pair, "Hello world", return_tensors=tensors)
    check(pair, ["Hello world", "a"], padding=True, return_tensors=tensors)
    rows = pair[1](["Hello world", "a"], padding=True, return_tensors=tensors)["input_ids"]
    assert tuple(rows.shape) == (
        2,
        max(len(ids) for ids in pair[0](["Hello world", "a"]).input_ids),
    )


@pytest.mark.parametrize(
    "options",
    [
        {"return_attention_mask": False},
        {"return_token_type_ids": True},
        {"return_special_tokens_mask": True},
        {"return_length": True},
        {"return_overflowing_tokens": True, "max_length": 5, "truncation": True, "stride": 1},
        {"text_pair": "and more"},
        {"text_target": "labels"},
        {"split_special_tokens": True},
    ],
)
def test_other_options_are_the_same(options, pair):
    check(pair, "Hello <s> world", **options)


def test_pairs_and_words_are_the_same(pair):
    check(pair, ["a b", "c"], ["d", "e f"])
    check(pair, ["Hello", " world"], is_split_into_words=True)
    check(pair, [["Hello", " world"], ["a"]], is_split_into_words=True)


def test_encode_is_the_same(pair):
    theirs, ours = pair
    for text in TEXTS[:20]:
        assert ours.encode(text) == theirs.encode(text)
        assert ours.encode(text, add_special_tokens=False, max_length=4, truncation=True) == (
            theirs.encode(text, add_special_tokens=False, max_length=4, truncation=True)
        )
        assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.mark.parametrize("skip", [False, True])
def test_decoding_is_the_same(skip, pair):
    theirs, ours = pair
    batch = [theirs(text)["input_ids"] for text in TEXTS]
    batch += [[], [0, 1, 2], [200, 201, 7], [10_000, 20, 0]]
    assert ours.batch_decode(batch, skip_special_tokens=skip) == (
        theirs.batch_decode(batch, skip_special_tokens=skip)
    )
    for ids in (batch[5], np.array(batch[5]), 20, batch[:3]):
        assert ours.decode(ids, skip_special_tokens=skip) == (
            theirs.decode(ids, skip_special_tokens=skip)
        )


def test_an_added_token_decodes_as_the_decoder_reads_it():
    tokenizer = KINDS["bare"]()
    tokenizer.add_tokens(["<é>", "<文>", "<Ġ>"])
    theirs, ours = wrap(tokenizer)
    ids = theirs("<é> a <文> <Ġ>")["input_ids"]
    assert ours("<é> a <文> <Ġ>")["input_ids"] == ids
    assert ours.decode(ids) == theirs.decode(ids)


MESSAGES = [
    {"role": "user", "content": "Hello <s> world"},
    {"role": "assistant", "content": "I  am\n\nfine"},
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"add_generation_prompt": True},
        {"return_dict": False},
        {"tokenize": False},
        {"return_tensors": "np"},
        {"truncation": True, "max_length": 5},
        {"padding": "max_length", "max_length": 80},
        {"continue_final_message": True},
    ],
)
def test_chat_templates_are_the_same(options, pair):
    theirs, ours = pair
    for conversation in (MESSAGES, [MESSAGES, MESSAGES[:1]]):
        if options.get("return_tensors") and conversation is not MESSAGES:
            continue
        expected = theirs.apply_chat_template(conversation, **options)
        found = ours.apply_chat_template(conversation, **options)
        if hasattr(expected, "items"):
            expected, found = plain(expected), plain(found)
        assert found == expected


def test_what_is_asked_beyond_the_data_is_the_same(surrounded):
    theirs, ours = surrounded
    expected, found = theirs(["Hello world", "a b"]), ours(["Hello world", "a b"])
    assert found.is_fast
    for row in (0, 1):
        assert found.tokens(row) == expected.tokens(row)
        assert found.word_ids(row) == expected.word_ids(row)
        assert found.sequence_ids(row) == expected.sequence_ids(row)
        assert found.char_to_token(row, 1) == expected.char_to_token(row, 1)
        assert found[row].ids == expected[row].ids
    again = pickle.loads(pickle.dumps(found))
    assert plain(again) == plain(expected)
    assert again.word_ids(1) == expected.word_ids(1)


def test_encoding_does_not_use_the_wrapped_tokenizer(surrounded, monkeypatch):
    theirs, ours = surrounded
    expected = plain(theirs(["Hello", "a"], padding=True, return_offsets_mapping=True))

    def refuse(*arguments, **options):
        raise AssertionError("the wrapped tokenizer was asked")

    monkeypatch.setattr(PreTrainedTokenizerFast, "_encode_plus", refuse)
    monkeypatch.setattr(PreTrainedTokenizerFast, "_decode", refuse)
    found = ours(["Hello", "a"], padding=True, return_offsets_mapping=True)
    assert plain(found) == expected
    assert ours.decode(found["input_ids"][0]) == "<s>Hello</s>"


# The object


def test_it_is_a_tokenizer_of_the_same_class(surrounded):
    theirs, ours = surrounded
    assert isinstance(ours, type(theirs))
    assert type(ours).__name__ == type(theirs).__name__
    assert len(ours) == len(theirs)
    assert repr(ours) == repr(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert (ours.bos_token_id, ours.eos_token, ours.pad_token_id) == (0, "</s>", 2)
    assert ours.convert_tokens_to_ids(["<s>", "a"]) == theirs.convert_tokens_to_ids(["<s>", "a"])
    assert fast_tokenizer(ours) is ours


def test_it_pickles(surrounded):
    theirs, ours = surrounded
    again = pickle.loads(pickle.dumps(ours))
    assert type(again).__mro__[1].__name__ == "_Fast"
    assert plain(again(TEXTS[:9])) == plain(theirs(TEXTS[:9]))


def test_it_is_saved_as_what_it_wraps(surrounded, tmp_path):
    theirs, ours = surrounded
    ours.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert plain(loaded(TEXTS[:9])) == plain(theirs(TEXTS[:9]))
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "Fast" not in settings["tokenizer_class"].removesuffix("Fast")


def test_tokens_added_later_are_noticed():
    theirs, ours = wrap(KINDS["surrounded"]())
    before = ours("a<new>b")["input_ids"]
    ours.add_tokens(["<new>"])
    assert ours("a<new>b")["input_ids"] != before
    check((theirs, ours), "a<new>b")
    theirs.add_special_tokens({"additional_special_tokens": ["<newer>"]})
    check((theirs, ours), "a<newer>b")
    ids = ours("a<newer>b")["input_ids"]
    assert ours.decode(ids, skip_special_tokens=True) == (
        theirs.decode(ids, skip_special_tokens=True)
    )


def add_a_word(tokenizer):
    """A token that the vocabulary holds is taken whole from now on: no number changes."""
    tokenizer.add_tokens(["the"])


def make_an_added_token_special(tokenizer):
    tokenizer.add_special_tokens(["<tool>"])


def change_the_normalizer(tokenizer):
    tokenizer.normalizer = normalizers.NFC()


def change_the_pre_tokenizer(tokenizer):
    tokenizer.pre_tokenizer = pre.Sequence([pre.Split("h", "isolated"), tokenizer.pre_tokenizer])


def change_the_model(tokenizer):
    content = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in content["merges"]]
    tokenizer.model = models.BPE(content["vocab"], merges[:50], ignore_merges=False)


@pytest.mark.parametrize(
    "change",
    [
        add_a_word,
        make_an_added_token_special,
        change_the_normalizer,
        change_the_pre_tokenizer,
        change_the_model,
    ],
)
def test_changes_of_the_wrapped_tokenizer_are_noticed(change):
    theirs, ours = wrap(KINDS["surrounded"]())
    text = "<tool> don't 123 e\u0301 <tool>the brother\n\n the"
    before = plain(ours(text)), ours.decode(ours(text)["input_ids"], skip_special_tokens=True)
    change(theirs.backend_tokenizer)
    check((theirs, ours), text)
    ids = ours(text)["input_ids"]
    after = ours.decode(ids, skip_special_tokens=True)
    assert after == theirs.decode(ids, skip_special_tokens=True)
    assert (plain(ours(text)), after) != before


def clean(tokenizer):
    tokenizer.normalizer = normalizers.Nmt()


def fuse(tokenizer):
    tokenizer.decoder = decoders.Fuse()


@pytest.mark.parametrize("change", [clean, fuse])
def test_a_change_that_is_not_done_here_is_left_to_the_wrapped_tokenizer(change):
    theirs, ours = wrap(KINDS["bare"]())
    before = theirs.backend_tokenizer.normalizer, theirs.backend_tokenizer.decoder
    change(theirs.backend_tokenizer)
    ids = theirs("ABC é")["input_ids"]
    with pytest.warns(UserWarning, match="more slowly: .* is not supported"):
        assert ours("ABC é")["input_ids"] == ids
    assert ours.decode(ids) == theirs.decode(ids)  # and says so once
    theirs.backend_tokenizer.normalizer, theirs.backend_tokenizer.decoder = before
    check((theirs, ours), "ABC é")
    assert ours._current() is not None


def test_a_model_that_drops_merges_is_left_to_the_wrapped_tokenizer():
    theirs, ours = wrap(KINDS["bare"]())
    assert len({tuple(ours("the brothers")["input_ids"]) for _ in range(9)}) == 1
    theirs.backend_tokenizer.model.dropout = 0.5
    with pytest.warns(UserWarning, match="BPE with dropout 0.5 is not supported"):
        assert len({tuple(ours("the brothers")["input_ids"]) for _ in range(99)}) > 1


def test_its_class_makes_tokenizers_that_are_ours_too(surrounded, tmp_path):
    theirs, ours = surrounded
    ours.save_pretrained(tmp_path)
    learned = ours.train_new_from_iterator([english()[:5_000]], 350, show_progress=False)
    expected = theirs.train_new_from_iterator([english()[:5_000]], 350, show_progress=False)
    for made, other in (
        (type(ours).from_pretrained(tmp_path), theirs),
        (type(ours)(tokenizer_object=theirs.backend_tokenizer), theirs),
        (learned, expected),
    ):
        assert made("Hello brothers")["input_ids"] == other("Hello brothers")["input_ids"]
        assert made._current() is not None
        assert type(made).__mro__[1].__name__ == "_Fast"


@pytest.mark.parametrize("ids", [[5, -100], [-1], [2**40]])
def test_what_is_no_id_raises_alike(ids, surrounded):
    for tokenizer in surrounded:
        with pytest.raises(OverflowError):
            tokenizer.decode(ids)


def test_another_post_processor_is_noticed():
    theirs, ours = wrap(KINDS["surrounded"]())
    check((theirs, ours), "a")
    theirs.backend_tokenizer.post_processor = template("<s> <s> $A")
    check((theirs, ours), "a")
    assert ours("a")["input_ids"][:2] == [0, 0]


def test_settings_of_the_wrapper_take_effect():
    theirs, ours = wrap(KINDS["surrounded"]())
    for tokenizer in (theirs, ours):
        tokenizer.pad_token = "</s>"
        tokenizer.padding_side = "left"
    check((theirs, ours), ["Hello world", "a"], padding=True)


def test_padding_without_a_token_for_it_raises_alike():
    tokenizer = KINDS["bare"]()
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    ours = fast_tokenizer(theirs)
    for each in (theirs, ours):
        with pytest.raises(ValueError, match="does not have a padding token"):
            each(["a", "bc"], padding=True)


@pytest.mark.parametrize("text", [None, 5, [], [1], b"a"])
def test_what_is_no_text_ends_alike(text, surrounded):
    errors = []
    for tokenizer in surrounded:
        with pytest.raises(Exception) as caught:
            tokenizer(text)
        errors.append(caught.type)
    assert errors[0] is errors[1]


def test_bytes_that_the_vocabulary_lacks_are_dropped_alike():
    vocab = {"a": 0, "b": 1, "ab": 2, "Ġ": 3}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = GPT2
    tokenizer.decoder = decoders.ByteLevel()
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    check((theirs, fast_tokenizer(theirs)), ["ab xab", "\u00e9", "a"])


# What is refused


def in_lengths():
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre.FixedLength(3)
    return tokenizer


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_blanks_before_text_and_with_tokens_are_the_owners(trim_offsets):
    made = trained(
        pre.ByteLevel(add_prefix_space=True), processors.ByteLevel(trim_offsets=trim_offsets)
    )
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    owner = PreTrainedTokenizerFast(tokenizer_object=made)
    ours = fast_tokenizer(PreTrainedTokenizerFast(tokenizer_object=made))
    for text in ("", " ", "low", " low", "the <mask>  low", "  <mask>the"):
        assert ours(text, return_offsets_mapping=True) == owner(text, return_offsets_mapping=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (in_lengths, "pre_tokenizer FixedLength"),
        (
            lambda: trained(GPT2, template("$A </s> $A")),
            "more than to put tokens around",
        ),
    ],
)
def test_another_kind_of_tokenizer_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        fast_tokenizer(PreTrainedTokenizerFast(tokenizer_object=make()))
    assert "hf_tokenizer must be of a kind that is done here" in str(caught.value)


def test_what_is_no_tokenizer_is_refused():
    with pytest.raises(TypeError, match=r"must be a PreTrainedTokenizerFast, .*not dict"):
        fast_tokenizer({})


def test_a_tokenizer_that_works_in_python_is_refused_with_the_reason():
    with pytest.raises(TypeError, match=r"not ByT5Tokenizer: its ids come from Python code of its"):
        fast_tokenizer(ByT5Tokenizer())
