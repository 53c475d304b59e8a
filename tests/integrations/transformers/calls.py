"""Tokenizers of transformers of other models than byte-level BPE, and random calls."""

import unicodedata
from functools import cache

from subword.made_models import STRANGE, character_map, some_rules, strange_text
from texts import english
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
    trainers,
)
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<mask>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CORPUS = [*english()[:40_000].splitlines(), *STRANGE, "Größe naïve ﬁne ①② 株式会社 가각 😀👍🏽"]


def around(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1"):
    ids = [("[CLS]", 2), ("[SEP]", 3)]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def word_piece(rng):
    """BERT and its like."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=rng.random() < 0.7, strip_accents=rng.choice([None, True, False])
    )
    tokenizer.pre_tokenizer = pre.BertPreTokenizer()
    tokenizer.decoder = rng.choice([decoders.WordPiece(cleanup=rng.random() < 0.5), None])
    trainer = trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=SPECIALS, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = rng.choice(
        [
            around(),
            processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
            processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)),
            None,
        ]
    )
    return tokenizer


def unigram(rng):
    """T5, XLM-R, ALBERT and their like."""
    tokenizer = Tokenizer(models.Unigram())
    rules = {key: text for key, text in some_rules(rng).items() if text or len(key) == 1}
    precompiled = normalizers.Precompiled(character_map(rules))
    shrink = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = rng.choice(
        [
            precompiled,
            normalizers.Sequence([precompiled, shrink]),
            normalizers.Sequence([normalizers.Lowercase(), precompiled]),
            normalizers.NFKC(),
        ]
    )
    tokenizer.pre_tokenizer = rng.choice(
        [pre.Metaspace(), pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=SPECIALS, unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = rng.choice(
        [
            around("$A [SEP]", "$A [SEP] $B [SEP]"),
            around("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
            None,
        ]
    )
    return tokenizer


def character_bpe(rng):
    """Llama 2, Gemma and their like."""
    tokenizer = Tokenizer(
        models.BPE(unk_token="[UNK]", byte_fallback=True, fuse_unk=True, ignore_merges=False)
    )
    prepended = rng.random() < 0.5
    steps = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), *steps] if prepended else steps
    )
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*SPECIALS, *BYTES], show_progress=False, max_token_length=8
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if not prepended and rng.random() < 0.5:
        tokenizer.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    strip = [decoders.Strip(" ", 1, 0)] if prepended else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.post_processor = rng.choice(
        [around("[CLS] $A", "[CLS] $A [CLS]:1 $B:1"), around("$A", "$A $B:1"), None]
    )
    return tokenizer


KINDS = {"WordPiece": word_piece, "Unigram": unigram, "BPE of characters": character_bpe}


def some_added_tokens(rng):
    """Added tokens of any rules."""
    contents = ["<x>", "<tool>", " <y>", "Hello", "the ", "<é>", "<|end|>"]
    return [
        AddedToken(
            content,
            lstrip=rng.random() < 0.3,
            rstrip=rng.random() < 0.3,
            single_word=rng.random() < 0.2,
            normalized=False,
            special=rng.random() < 0.4,
        )
        for content in rng.sample(contents, rng.randint(0, 3))
    ]


def wrapped(tokenizer, rng):
    """The tokenizer of transformers, with settings of its own."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token=AddedToken("<mask>", lstrip=rng.random() < 0.5, normalized=False),
        padding_side=rng.choice(["left", "right"]),
        truncation_side=rng.choice(["left", "right"]),
        clean_up_tokenization_spaces=rng.random() < 0.5,
    )


def some_text(rng):
    """A text with words, what is strange, and tokens to take whole."""
    parts = [
        strange_text(rng, 12),
        english()[(start := rng.randrange(9_000)) : start + rng.randint(0, 40)],
        rng.choice([*SPECIALS, "<x>", "<tool> ", " <y>", "Hello", "the ", "<é>", "<|end|>", "  "]),
    ]
    rng.shuffle(parts)
    return "".join(filter(is_known, "".join(parts[: rng.randint(0, 3)])))


@cache
def is_known(character):
    """Whether the tables of tokenizers, which are older, normalize a character as the interpreter.

    Some hundred characters, of Unicode 10 and later, differ.
    """
    among = f"a\u0345{character}\u0315b"
    return all(
        getattr(normalizers, form)().normalize_str(text) == unicodedata.normalize(form, text)
        for form in ("NFKC", "NFKD")
        for text in (character, among)
    )


def some_call(rng):
    """Arguments of a call: texts or pairs, truncation, padding, and what is returned."""
    count = rng.choice([None, None, 1, 3])
    texts = [some_text(rng) for _ in range(count or 1)]
    pairs = [some_text(rng) for _ in texts] if rng.random() < 0.4 else None
    arguments = [texts if count else texts[0]]
    if pairs is not None:
        arguments.append(pairs if count else pairs[0])
        if count and rng.random() < 0.3:
            arguments = [list(zip(texts, pairs, strict=True))]
    options = {
        "add_special_tokens": rng.random() < 0.7,
        "padding": rng.choice([False, True, "max_length"]),
        "return_offsets_mapping": rng.random() < 0.6,
        "return_special_tokens_mask": rng.random() < 0.3,
        "return_token_type_ids": rng.choice([None, True]),
        "return_length": rng.random() < 0.2,
        "pad_to_multiple_of": rng.choice([None, None, 4]),
        "verbose": False,
    }
    strategies = [False, True, "only_first", "only_second"]
    options["truncation"] = rng.choice(strategies)
    if options["truncation"] or options["padding"] == "max_length":
        options["max_length"] = rng.randint(0, 40)
    return arguments, options


def outcome(call, *arguments, **options):
    """What a call gives, or the kind of error it ends in."""
    try:
        found = call(*arguments, **options)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return type(error).__name__
    return dict(found) if hasattr(found, "items") else found


def differences(found, expected):
    """What two outcomes do not share."""
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        return [(found, expected)]
    names = {*found, *expected}
    return [
        (name, found.get(name), expected.get(name))
        for name in names
        if found.get(name) != expected.get(name)
    ]


def change(tokenizer, rng):
    """Change the tokenizer inside, as users do."""
    backend = tokenizer.backend_tokenizer
    kind = rng.choice(["add", "special", "words", "decoder", "processor", "class"])
    if kind == "add":
        tokenizer.add_tokens(some_added_tokens(rng))
    elif kind == "special":
        tokenizer.add_special_tokens({"additional_special_tokens": ["<newer>", "<x>"]})
    elif kind == "words":
        backend.add_tokens([rng.choice(["brother", "th", "##e", "▁a", "QQ"])])
    elif kind == "decoder":
        backend.decoder = rng.choice([decoders.Fuse(), decoders.WordPiece(), decoders.Metaspace()])
    elif kind == "processor":
        backend.post_processor = rng.choice([around(), around("$A [SEP]", "$B [SEP] $A")])
    else:
        tokenizer.padding_side = rng.choice(["left", "right"])
        tokenizer.pad_token = rng.choice(["[PAD]", "[SEP]"])
