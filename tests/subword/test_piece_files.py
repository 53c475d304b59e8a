"""A tokenizer.json of Unigram, and of BPE over characters, against its owner."""

import json
import random

import pytest
from subword import made_models
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import fastllm
from fastllm import CharacterBPETokenizer, UnigramTokenizer, WordPieceTokenizer

TEXTS = [
    *("", " ", "low lower lowest", "  two  blanks ", "x<s>low</s> <s> er", "äé😀\n\tlow", "▁low ▁"),
    "ﬁne Å ½ low\u0301er\u00a0株式会社",
]


def llama(normalizer, pre_tokenizer, decoder):
    """A tokenizer shaped as that of Llama 2, or of Gemma."""
    letters = [*"▁lowerstind", "é"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    merges = [
        ("l", "o"),
        ("lo", "w"),
        ("▁", "low"),
        ("e", "r"),
        ("▁", "▁"),
        ("▁▁", "▁"),
        ("es", "t"),
    ]
    merges.insert(4, ("e", "s"))
    tokens += [left + right for left, right in merges]
    model = models.BPE(
        {token: number for number, token in enumerate(tokens)},
        merges,
        unk_token="<unk>",
        fuse_unk=True,
        byte_fallback=True,
    )
    return finished(model, normalizer, pre_tokenizer, decoder)


def t5(normalizer, pre_tokenizer, decoder):
    """A tokenizer shaped as that of T5, or of XLM-R."""
    rng = random.Random(3)
    pieces = ["<unk>", "<s>", "</s>", *"▁lowersti", "▁low", "er", "est", "▁lo", "▁▁", "fi", "wer"]
    model = models.Unigram([(piece, -rng.random() * 9) for piece in pieces], 0, False)
    return finished(model, normalizer, pre_tokenizer, decoder)


def finished(model, normalizer, pre_tokenizer, decoder):
    owner = Tokenizer(model)
    if normalizer:
        owner.normalizer = normalizer
    if pre_tokenizer:
        owner.pre_tokenizer = pre_tokenizer
    owner.decoder = decoder
    owner.add_special_tokens(["<unk>", "<s>", "</s>"])
    owner.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return owner


BLANKS = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
LLAMA_DECODER = [
    *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()),
    decoders.Strip(" ", 1, 0),
]
CHARSMAP = made_models.character_map({"ﬁ": "fi", "Å": "A", "\n": " ", "\u00a0": " ", "½": "1/2"})
SHAPES = {
    "llama-2": lambda: llama(normalizers.Sequence(BLANKS), None, decoders.Sequence(LLAMA_DECODER)),
    "gemma-3": lambda: llama(
        BLANKS[1],
        pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence(LLAMA_DECODER[:3]),
    ),
    "t5": lambda: t5(
        normalizers.Precompiled(CHARSMAP),
        pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always")]
        ),
        decoders.Metaspace("▁", "always"),
    ),
    "xlm-r": lambda: t5(
        normalizers.Sequence(
            [
                normalizers.Precompiled(CHARSMAP),
                normalizers.Strip(left=False, right=True),
                normalizers.Replace(" ", "▁"),
            ]
        ),
        pre_tokenizers.Metaspace("▁", "always"),
        decoders.Metaspace("▁", "always"),
    ),
    "whole texts": lambda: t5(
        None, pre_tokenizers.Metaspace("▁", "never", split=False), decoders.Metaspace("▁", "never")
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_files_are_read_and_written_as_the_owner_has_them(shape, tmp_path):
    owner, path = SHAPES[shape](), tmp_path / "tokenizer.json"
    owner.save(str(path))
    ours = fastllm.load_tokenizer(path)
    kind = CharacterBPETokenizer if shape in ("llama-2", "gemma-3") else UnigramTokenizer
    assert type(ours) is kind
    ours.save(tmp_path / "written.json")
    again, read_back = Tokenizer.from_file(str(tmp_path / "written.json")), kind.from_file(path)
    assert read_back == ours
    for text in TEXTS:
        expected = owner.encode(text, add_special_tokens=False)
        assert ours.encode(text, allowed_special="all") == expected.ids, text
        assert again.encode(text, add_special_tokens=False).ids == expected.ids, text
        for skip in (False, True):
            decoded = ours.decode(expected.ids, skip_special_tokens=skip)
            assert decoded == owner.decode(expected.ids, skip_special_tokens=skip), text
        stream = ours.stream_decoder()
        streamed = "".join(map(stream.push, expected.ids)) + stream.finish()
        assert streamed == ours.decode(expected.ids), text


def test_bytes_that_are_no_character_are_decoded_as_the_owner_does():
    owner = SHAPES["llama-2"]()
    ours = CharacterBPETokenizer(
        owner.get_vocab(with_added_tokens=False), [], unknown="<unk>", byte_fallback=True
    )
    rng = random.Random(7)
    for _ in range(100):
        ids = [rng.choice([rng.randrange(3, 259), 198, 167, 262]) for _ in range(6)]
        assert ours.decode(ids) == owner.decode(ids, skip_special_tokens=False), ids


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "once"}}, "once"),
        ({"decoder": {"type": "CTC"}}, "CTC"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "character map"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(change, message, tmp_path):
    data = json.loads(SHAPES["t5"]().to_str())
    path = tmp_path / "tokenizer.json"
    if "pre_tokenizer" in change:
        change["pre_tokenizer"] |= {"replacement": "▁", "split": True}
    path.write_text(json.dumps(data | change))
    with pytest.raises(ValueError, match=message):
        fastllm.load_tokenizer(path)


@pytest.mark.parametrize(
    "tokenizer",
    [
        UnigramTokenizer([("<unk>", 0.0), ("a", -1.0)]),
        WordPieceTokenizer({"[UNK]": 0, "a": 1}),
    ],
    ids=lambda tokenizer: type(tokenizer).__name__,
)
def test_bytes_cannot_be_asked_for_strictly(tokenizer):
    with pytest.raises(ValueError, match="errors must be 'replace', not 'strict'"):
        tokenizer.decode([1], "strict")
    with pytest.raises(ValueError, match="errors must be 'replace', not 'ignore'"):
        tokenizer.stream_decoder("ignore")
