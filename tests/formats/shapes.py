"""The shapes of tokenizer.json that model families have, each made small.

`SHAPES` has for each family what its file holds beside a little vocabulary. The names are those of
docs/tokenizer-files.md.
"""

import json
from functools import cache

from published_patterns import SCANNED as NAMED
from subword.made_models import character_map
from texts import english
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CHARSMAP = character_map(
    {"ﬁ": "fi", "Å": "A", "\n": " ", "\u00a0": " ", "½": "1/2", "e\u0301": "é"}
)
TRAINED_ON = [english()[:3000], "é e\u0301 中文中文 1234 12 1234 \n\n\n\n  a   b don't I'm" * 9]


# --- Models --------------------------------------------------------------------------------------


def trained(model, trainer, pre_tokenizer):
    """The "model" of a tokenizer trained on a little text."""
    owner = Tokenizer(model)
    owner.pre_tokenizer = pre_tokenizer
    owner.train_from_iterator(TRAINED_ON, trainer)
    return json.loads(owner.to_str())["model"]


@cache
def _byte_level(suffix):
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700 if suffix else 420,
        special_tokens=["<s>", "</s>", "<unk>", "<pad>", "<mask>"],
        initial_alphabet=alphabet,
        show_progress=False,
        **({"end_of_word_suffix": suffix} if suffix else {}),
    )
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return trained(models.BPE(), trainer, before)


def byte_level(suffix="", **fields):
    return {**_byte_level(suffix), **fields}


@cache
def _sentencepiece_bpe():
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    return trained(models.BPE(), trainer, pre_tokenizers.Metaspace(prepend_scheme="always"))


def sentencepiece_bpe(**fields):
    found = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    return {**_sentencepiece_bpe(), **found, **fields}


@cache
def _unigram(byte_fallback):
    found = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    found += [f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else []
    trainer = trainers.UnigramTrainer(
        vocab_size=300 + 256 * byte_fallback,
        special_tokens=found,
        unk_token="<unk>",
        show_progress=False,
    )
    before = pre_tokenizers.Metaspace(prepend_scheme="always")
    return trained(models.Unigram(), trainer, before) | {
        "unk_id": 3,
        "byte_fallback": byte_fallback,
    }


def unigram(*, byte_fallback=False, unk_id=3):
    return _unigram(byte_fallback) | {"unk_id": unk_id}


@cache
def word_piece():
    trainer = trainers.WordPieceTrainer(
        vocab_size=300,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    return trained(models.WordPiece(unk_token="[UNK]"), trainer, pre_tokenizers.BertPreTokenizer())


@cache
def word_level(unknown="<unk>"):
    trainer = trainers.WordLevelTrainer(
        vocab_size=200, special_tokens=["<s>", "</s>", "<unk>"], show_progress=False
    )
    model = trained(models.WordLevel(unk_token="<unk>"), trainer, pre_tokenizers.Whitespace())
    return model | {"unk_token": unknown}


# --- Components ----------------------------------------------------------------------------------


def sequence(kind, *members):
    return {"type": "Sequence", kind: list(members)}


def split(pattern, behavior="Isolated", invert=False, string=False):
    kind = "String" if string else "Regex"
    return {
        "type": "Split",
        "pattern": {kind: pattern},
        "behavior": behavior,
        "invert": invert,
    }


def byte_level_step(prefix=False, regex=True, trim=True):
    return {
        "type": "ByteLevel",
        "add_prefix_space": prefix,
        "trim_offsets": trim,
        "use_regex": regex,
    }


def by(name, *more):
    """A published split pattern, then bytes."""
    steps = [split(step) for step in NAMED[name].steps]
    return sequence("pretokenizers", *steps, *more, byte_level_step(regex=False))


def replace(found, content, regex=False):
    return {
        "type": "Replace",
        "pattern": {"Regex" if regex else "String": found},
        "content": content,
    }


def metaspace(scheme="always", split=True):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


def normal(kind, **fields):
    return {"type": kind, **fields}


def charsmap():
    import base64

    return normal("Precompiled", precompiled_charsmap=base64.b64encode(CHARSMAP).decode())


BERT_NORMALIZER = normal(
    "BertNormalizer",
    clean_text=True,
    handle_chinese_chars=True,
    strip_accents=None,
    lowercase=True,
)


def template(before=(), after=(), pair_between=(), second_type=0, vocab=None):
    """TemplateProcessing: tokens before and behind a text, and between two."""

    def special(token, type_id=0):
        return {"SpecialToken": {"id": token, "type_id": type_id}}

    def text(name, type_id=0):
        return {"Sequence": {"id": name, "type_id": type_id}}

    around = [*map(special, before)], [*map(special, after)]
    second = [special(token, second_type) for token in after]
    names = {*before, *after, *pair_between}
    return {
        "type": "TemplateProcessing",
        "single": [*around[0], text("A"), *around[1]],
        "pair": [
            *around[0],
            text("A"),
            *around[1],
            *map(special, pair_between),
            text("B", second_type),
            *second,
        ],
        "special_tokens": {
            name: {"id": name, "ids": [name_id(name)], "tokens": [name]} for name in sorted(names)
        },
    }


IDS = {"<s>": 0, "</s>": 1, "<unk>": 2, "[CLS]": 2, "[SEP]": 3, "<bos>": 1}


def name_id(name):
    return IDS[name]


def token(content, **rules):
    """An added token; its id is filled in."""
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"content": content, **dict.fromkeys(flags, False), **rules}


def special(*contents, **rules):
    return [token(content, special=True, **rules) for content in contents]


def shape(model, added=(), **components):
    """The content of a tokenizer.json."""
    vocab = model["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {p: i for i, (p, _) in enumerate(vocab)}
    tokens = []
    for entry in added:
        number = ids.setdefault(entry["content"], len(ids))
        tokens.append({"id": number, **entry})
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {
        "version": "1.0",
        **{name: components.pop(name, None) for name in names},
        **components,
        "added_tokens": sorted(tokens, key=lambda entry: entry["id"]),
        "model": model,
    }


BYTES = {"decoder": byte_level_step()}
LLAMA_DECODER = sequence(
    "decoders",
    replace("▁", " "),
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
)
GEMMA_DECODER = sequence("decoders", replace("▁", " "), {"type": "ByteFallback"}, {"type": "Fuse"})
BLANKS = normal("Prepend", prepend="▁"), replace(" ", "▁")
S = special("<s>", "</s>", "<unk>")
EOT = special("<|endoftext|>")
MASK_AND_BLANKS = [
    token("<mask>", special=True, lstrip=True),
    *(token(" " * n, normalized=True) for n in (2, 3, 4)),
    token("<|x|>", normalized=True),
]


def roberta(kind="RobertaProcessing", prefix=False):
    ends = {"sep": ["</s>", 1], "cls": ["<s>", 0]}
    more = {"trim_offsets": True, "add_prefix_space": prefix} if kind[0] == "R" else {}
    return {"type": kind, **ends, **more}


def padding(**fields):
    return {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
        **fields,
    }


TRUNCATION = {"direction": "Right", "max_length": 128, "strategy": "LongestFirst", "stride": 0}

# --- Byte-level BPE ------------------------------------------------------------------------------

BYTE_LEVEL = {
    "gpt2": lambda: shape(
        byte_level(),
        EOT,
        pre_tokenizer=byte_level_step(),
        post_processor=byte_level_step(),
        **BYTES,
    ),
    "neox": lambda: shape(
        byte_level(), EOT, normalizer=normal("NFC"), pre_tokenizer=byte_level_step(), **BYTES
    ),
    "roberta": lambda: shape(
        byte_level(),
        [*special("<s>", "</s>", "<unk>"), token("<mask>", special=True, lstrip=True)],
        truncation=TRUNCATION,
        padding=padding(pad_token="<pad>", pad_id=3),
        pre_tokenizer=byte_level_step(),
        post_processor=roberta(),
        **BYTES,
    ),
    "roberta with a blank": lambda: shape(
        byte_level(),
        [*S, token("<mask>", special=True, lstrip=True), token("word", single_word=True)],
        pre_tokenizer=byte_level_step(prefix=True),
        post_processor=roberta(prefix=True),
        **BYTES,
    ),
    "deberta-v1": lambda: shape(
        byte_level(),
        S,
        pre_tokenizer=byte_level_step(prefix=True),
        post_processor=roberta("BertProcessing"),
        **BYTES,
    ),
    "modernbert": lambda: shape(
        byte_level(),
        [*special("<s>", "</s>"), *MASK_AND_BLANKS],
        normalizer=normal("NFC"),
        pre_tokenizer=byte_level_step(),
        post_processor=template(["<s>"], ["</s>"]),
        **BYTES,
    ),
    "llama-3": lambda: shape(
        byte_level(ignore_merges=True),
        special("<|begin_of_text|>", "<s>"),
        pre_tokenizer=by("llama3"),
        post_processor=sequence("processors", byte_level_step(), template(["<s>"])),
        **BYTES,
    ),
    "qwen2": lambda: shape(
        byte_level(),
        [*special("<|im_start|>"), token("<tool>"), token("e\u0301x中", normalized=True)],
        normalizer=normal("NFC"),
        pre_tokenizer=by("qwen2"),
        post_processor=byte_level_step(),
        **BYTES,
    ),
    "gpt-oss": lambda: shape(
        byte_level(ignore_merges=True), EOT, pre_tokenizer=by("o200k"), **BYTES
    ),
    "phi-4": lambda: shape(
        byte_level(),
        [*EOT, token("<|im|>", special=True, lstrip=True, rstrip=True)],
        pre_tokenizer=by("cl100k"),
        post_processor=byte_level_step(),
        **BYTES,
    ),
    "mistral-nemo": lambda: shape(
        byte_level(), S, pre_tokenizer=by("tekken"), post_processor=template(["<s>"]), **BYTES
    ),
    "deepseek-v3": lambda: shape(
        byte_level(),
        S,
        normalizer=sequence("normalizers"),
        pre_tokenizer=by("deepseek-v3"),
        post_processor=template(["<s>"]),
        **BYTES,
    ),
    "starcoder-2": lambda: shape(
        byte_level(),
        EOT,
        pre_tokenizer=sequence(
            "pretokenizers", normal("Digits", individual_digits=True), byte_level_step()
        ),
        **BYTES,
    ),
    "a blank behind other steps": lambda: shape(
        byte_level(),
        [*S, token("word", normalized=True)],
        pre_tokenizer=sequence(
            "pretokenizers", normal("Digits", individual_digits=True), byte_level_step(prefix=True)
        ),
        post_processor=roberta(prefix=True),
        **BYTES,
    ),
    "falcon": lambda: shape(
        byte_level(),
        EOT,
        pre_tokenizer=sequence(
            "pretokenizers",
            normal("Punctuation", behavior="Contiguous"),
            byte_level_step(),
            normal("Digits", individual_digits=False),
            split("[0-9][0-9][0-9]"),
        ),
        **BYTES,
    ),
    "bloom": lambda: shape(
        byte_level(),
        S,
        pre_tokenizer=sequence(
            "pretokenizers",
            split(" ?[^(\\s|.,!?…。，、।۔،)]+"),
            byte_level_step(regex=False),
        ),
        **BYTES,
    ),
    "whisper": lambda: shape(
        byte_level(),
        S,
        pre_tokenizer=byte_level_step(),
        post_processor=template(["<s>", "<unk>"], ["</s>"]),
        **BYTES,
    ),
    "clip": lambda: shape(
        byte_level("</w>", unk_token="<unk>", end_of_word_suffix="</w>"),
        S,
        normalizer=sequence(
            "normalizers", normal("NFC"), replace(r"\s+", " ", True), normal("Lowercase")
        ),
        pre_tokenizer=sequence(
            "pretokenizers",
            split(
                r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
                "Removed",
                invert=True,
            ),
            byte_level_step(),
        ),
        post_processor=roberta(),
        **BYTES,
    ),
    "claude": lambda: shape(
        byte_level(),
        EOT,
        normalizer=normal("NFKC"),
        pre_tokenizer=byte_level_step(),
        post_processor=byte_level_step(),
        **BYTES,
    ),
    "jina-v2-zh": lambda: shape(
        byte_level(unk_token="<unk>"),
        S,
        pre_tokenizer=normal("Whitespace"),
        post_processor=roberta(),
        **BYTES,
    ),
}

# --- Characters, pieces, words -------------------------------------------------------------------

METASPACE = {"decoder": metaspace()}
SMALL_BLANKS = replace(" {2,}", "▁", True)
OTHERS = {
    "llama-2": lambda: shape(
        sentencepiece_bpe(),
        S,
        normalizer=sequence("normalizers", *BLANKS),
        post_processor=template(["<s>"]),
        decoder=LLAMA_DECODER,
    ),
    "phi-3": lambda: shape(
        sentencepiece_bpe(),
        [*S, *special("<|user|>", "<|end|>", rstrip=True), token("</x>", rstrip=True)],
        normalizer=sequence("normalizers", *BLANKS),
        post_processor=template(["<s>"]),
        decoder=LLAMA_DECODER,
    ),
    "llama-2, not legacy": lambda: shape(
        sentencepiece_bpe(),
        [*S, token("word", normalized=True), token("<|x|>", normalized=True, lstrip=True)],
        pre_tokenizer=metaspace("first", split=False),
        post_processor=template(["<s>"]),
        decoder=LLAMA_DECODER,
    ),
    "mistral-v0.3": lambda: shape(
        sentencepiece_bpe(ignore_merges=True),
        [*S, *special("[INST]", "<|end|>")],
        pre_tokenizer=metaspace("first", split=False),
        post_processor=template(["<s>"]),
        decoder=LLAMA_DECODER,
    ),
    "metaspace first, behind tokens": lambda: shape(
        sentencepiece_bpe(),
        [*S, *special("<|x|>")],
        pre_tokenizer=metaspace("first", split=False),
        decoder=LLAMA_DECODER,
    ),
    "metaspace first that splits": lambda: shape(
        sentencepiece_bpe(),
        [*S, token("<|x|>", normalized=True)],
        normalizer=normal("NFKC"),
        pre_tokenizer=metaspace("first"),
        decoder=LLAMA_DECODER,
    ),
    "gemma": lambda: shape(
        sentencepiece_bpe(),
        [*S, token("\n\n"), token("  ")],
        normalizer=replace(" ", "▁"),
        post_processor=template(["<s>"]),
        decoder=GEMMA_DECODER,
    ),
    "gemma-3": lambda: shape(
        sentencepiece_bpe(),
        [*S, token("<tool>")],
        normalizer=replace(" ", "▁"),
        pre_tokenizer=split(" ", "MergedWithPrevious", string=True),
        post_processor=template(["<s>"]),
        decoder=GEMMA_DECODER,
    ),
    "gemma-4": lambda: shape(
        sentencepiece_bpe(),
        S,
        normalizer=replace(" ", "▁"),
        pre_tokenizer=split(r"[^\n]+|[\n]+"),
        post_processor=template(["<s>"]),
        decoder=GEMMA_DECODER,
    ),
    "nllb": lambda: shape(
        sentencepiece_bpe(byte_fallback=False),
        S,
        normalizer=sequence("normalizers", charsmap(), SMALL_BLANKS),
        pre_tokenizer=metaspace(),
        post_processor=template(["<s>"], ["</s>"]),
        **METASPACE,
    ),
    "t5": lambda: shape(
        unigram(),
        [*S, *special("<pad>"), *special("<extra_id_0>")],
        normalizer=charsmap(),
        pre_tokenizer=sequence("pretokenizers", normal("WhitespaceSplit"), metaspace()),
        post_processor=template([], ["</s>"]),
        **METASPACE,
    ),
    "xlm-r": lambda: shape(
        unigram(),
        [*S, token("<mask>", special=True, lstrip=True)],
        normalizer=sequence(
            "normalizers",
            charsmap(),
            normal("Strip", strip_left=False, strip_right=True),
            SMALL_BLANKS,
        ),
        pre_tokenizer=metaspace(),
        post_processor=template(["<s>"], ["</s>"], ["</s>"]),
        **METASPACE,
    ),
    "albert": lambda: shape(
        unigram(),
        [*S, token("<mask>", special=True, lstrip=True), token("low", normalized=True)],
        normalizer=sequence(
            "normalizers",
            replace("``", '"'),
            replace("''", '"'),
            normal("NFKD"),
            normal("StripAccents"),
            normal("Lowercase"),
            charsmap(),
            SMALL_BLANKS,
        ),
        pre_tokenizer=metaspace(),
        post_processor=template(["<s>"], ["</s>"], second_type=1),
        **METASPACE,
    ),
    "deberta-v3": lambda: shape(
        unigram(),
        [*S, token("<mask>", special=True, normalized=True)],
        normalizer=sequence(
            "normalizers",
            replace(r"\s{2,}|[\n\r\t]", " ", True),
            normal("NFC"),
            normal("Strip", strip_left=False, strip_right=True),
        ),
        pre_tokenizer=sequence("pretokenizers", metaspace()),
        post_processor=template(["<s>"], ["</s>"], second_type=1),
        **METASPACE,
    ),
    "deberta-v3, split by punctuation": lambda: shape(
        unigram(),
        [*S, token("<mask>", special=True, normalized=True)],
        normalizer=sequence("normalizers", normal("Lowercase"), charsmap()),
        pre_tokenizer=sequence(
            "pretokenizers", normal("Punctuation", behavior="Isolated"), metaspace()
        ),
        post_processor=template(["<s>"], ["</s>"], second_type=1),
        **METASPACE,
    ),
    "metaspace never behind white space": lambda: shape(
        unigram(),
        S,
        pre_tokenizer=sequence(
            "pretokenizers", normal("WhitespaceSplit"), metaspace("never"), split("b")
        ),
        **METASPACE,
    ),
    "pegasus": lambda: shape(
        unigram(),
        S,
        normalizer=sequence("normalizers", charsmap(), SMALL_BLANKS),
        pre_tokenizer=sequence("pretokenizers", normal("WhitespaceSplit"), metaspace()),
        post_processor=template([], ["</s>"]),
        **METASPACE,
    ),
    "fnet": lambda: shape(
        unigram(),
        S,
        normalizer=sequence(
            "normalizers",
            charsmap(),
            replace(r"\A +| +\z", "", True),
            replace(" {2,}", " ", True),
            replace(" ", "▁"),
            replace(r"\A▁", "▁▁", True),
        ),
        pre_tokenizer=sequence(
            "pretokenizers", metaspace("always", split=False), split("<mask>|<sep>")
        ),
        decoder=sequence(
            "decoders",
            replace("▁", " "),
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ),
    ),
    "seamless-m4t": lambda: shape(
        sentencepiece_bpe(byte_fallback=False),
        [*S, token("__eng__")],
        normalizer=sequence(
            "normalizers",
            replace(r"[\n\r\t]", " ", True),
            normal("NFKC"),
            normal("Strip", strip_left=False, strip_right=True),
            replace(" +▁", "▁", True),
            replace("^▁+$", "", True),
            replace(" {2,}", "▁", True),
        ),
        pre_tokenizer=metaspace("first"),
        post_processor=template(["</s>", "<unk>"], ["</s>"]),
        decoder=metaspace("first"),
    ),
    "helium": lambda: shape(
        unigram(byte_fallback=True),
        S,
        normalizer=sequence("normalizers", normal("Prepend", prepend=" "), replace(" ", "▁")),
        pre_tokenizer=split("\n", "Contiguous", string=True),
        post_processor=template(["<s>"]),
        decoder=LLAMA_DECODER,
    ),
    "bert": lambda: shape(
        word_piece(),
        special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        truncation=TRUNCATION,
        padding=padding(strategy={"Fixed": 128}),
        normalizer=BERT_NORMALIZER,
        pre_tokenizer=normal("BertPreTokenizer"),
        post_processor=template(["[CLS]"], ["[SEP]"], second_type=1),
        decoder=normal("WordPiece", prefix="##", cleanup=True),
    ),
    "mpnet": lambda: shape(
        word_piece(),
        [*special("[PAD]", "[UNK]", "[CLS]", "[SEP]"), token("[MASK]", special=True, lstrip=True)],
        normalizer=BERT_NORMALIZER,
        pre_tokenizer=normal("BertPreTokenizer"),
        post_processor={
            "type": "RobertaProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
            "trim_offsets": True,
            "add_prefix_space": False,
        },
        decoder=normal("WordPiece", prefix="##", cleanup=True),
    ),
    "word-level": lambda: shape(
        word_level(),
        [*S, token("<|x|>", normalized=True, lstrip=True)],
        normalizer=sequence("normalizers", normal("NFD"), normal("Lowercase")),
        pre_tokenizer=normal("Whitespace"),
        post_processor=template(["<s>"], ["</s>"], second_type=1),
    ),
    "gpt-1": lambda: shape(
        byte_level("</w>", unk_token="<unk>", end_of_word_suffix="</w>"),
        special("<unk>"),
        normalizer=BERT_NORMALIZER,
        pre_tokenizer=normal("BertPreTokenizer"),
        decoder=normal("BPEDecoder", suffix="</w>"),
    ),
}
SHAPES = BYTE_LEVEL | OTHERS
