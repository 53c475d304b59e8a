r"""Split patterns that models were published with, beside the ten that are written by hand.

Each has the steps that its owner's library runs, in the syntax that all engines read alike, and
whose models use it. `named` makes split patterns of them. Falcon 7B and 40B are not among them:
their file splits bytes, not characters (``Digits`` and ``Split`` behind ``ByteLevel``), and is read
as a model of characters that stand for bytes.

Sources: the ``tokenizer.json`` or ``tokenization_*.py`` of a model, as llama.cpp, gigatoken and
others quote them.
"""

from typing import Literal, NamedTuple

from fastllm.patterns.expressions import CONTRACTIONS, DEEPSEEK_WORDS, GPT2, LLAMA3, O200K, TAIL
from fastllm.patterns.steps import Step


class Published(NamedTuple):
    """A published pattern: its steps, its owners, and the normalization before it."""

    steps: tuple[str | Step, ...]
    owners: str
    normalization: Literal["NFC"] | None = None


_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_CJK = "[一-龥\u0800-一가-퟿]+"

# What Oniguruma's \w takes: it has numbers of all kinds, but few of the signs that are no digits.
_WORD = (
    r"[\p{L}\p{M}\p{Nd}_²³¹¼-¾\u16ee-\u16f0\u203f\u2040\u2054\u2160-\u2182\u2185-\u2188\u24b6-\u24e9"
    r"\u3007\u3021-\u3029\u3038-\u303a\ua6e6-\ua6ef\ufe33\ufe34\ufe4d-\ufe4f\uff3f"
    "\U00010140-\U00010174\U00010341\U0001034a\U000103d1-\U000103d5\U00012400-\U0001246e"
    "\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189]"
)

# Letters that have a case, as they were in Unicode 11.
_CASED = (
    "A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
)

PUBLISHED = {
    "kimi-k2": Published(
        (
            rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{CONTRACTIONS}?"
            rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{CONTRACTIONS}?"
            rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{TAIL}",
        ),
        "Kimi-K2, K2.5, Kimi-VL, Kimi-Linear, Moonlight",
    ),
    "ling": Published(
        (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
        "Ling, Bailing MoE 1 and 2, LLaDA-MoE",
    ),
    "seed": Published(
        (
            rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}"
            rf"| ?[^\s\p{{L}}\p{{N}}\r\n]+|{TAIL}",
        ),
        "Seed-Coder",
    ),
    "exaone-moe": Published(
        (
            rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+"
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
        "K-EXAONE",
    ),
    "jais2": Published(
        (
            LLAMA3.split(r"|\s*[\r\n]+")[0]
            + "".join(rf"|\s{{{2**n}}}(?!\S)" for n in range(9, 1, -1))
            + r"|\s{1,2}(?!\S)|\s{1}",
        ),
        "Jais 2",
    ),
    "ufakzeka": Published(
        (LLAMA3.removeprefix(f"{CONTRACTIONS}|").replace("{1,3}", ""),), "Ufakzeka"
    ),
    "minicpm5": Published((r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")), "MiniCPM5"),
    "youtu": Published(
        (
            r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
            O200K.replace("{1,3}", ""),
        ),
        "Youtu-LLM",
    ),
    "deepseek-coder": Published(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}"), "DeepSeek-Coder V1"
    ),
    "deepseek-llm": Published(
        (
            r"[\r\n]",
            rf"\s?[{_CASED}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+(?=\n|\z)",  # \s+$ in Oniguruma
            _CJK,
            r"\p{N}+",
        ),
        "DeepSeek LLM and MoE V1",
    ),
    "spark": Published(
        (
            r"\p{N}{1,3}",
            "[一-龥぀-ゟ゠-ヿ]+",
            DEEPSEEK_WORDS.replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]"),
            r"\p{N}",
        ),
        "Spark 2.5",
    ),
    "command-r": Published((r"\p{N}", GPT2), "Command R", "NFC"),
    "gpt-neox": Published((GPT2,), "GPT-NeoX, Pythia, OLMo 1, ModernBERT", "NFC"),
    "bloom": Published((_BLOOM,), "BLOOM, Poro, GPT-3 Finnish"),
    "viking": Published((_BLOOM, r"\p{N}"), "Viking"),
    "chameleon": Published(
        (
            r"<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT2,
        ),
        "Chameleon",
    ),
    "clip": Published(
        (
            Step(
                r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
                r"|[^\s\p{L}\p{N}]+",
                "removed",
                invert=True,
            ),
        ),
        "CLIP; white space is left out, and the text is in lower case before",
    ),
    "laguna": Published(
        (Step(r"(?:\r?\n)+", "merged_with_next"), LLAMA3.replace("{1,3}", "")),
        "Laguna",
    ),
    "lines": Published((r"[^\n]+|[\n]+",), "Gemma 4, Sarvam, Granite-embedding 311m"),
    "jina-v2-zh": Published((r"\S+",), "jina-embeddings-v2-base-zh"),
    "command-a": Published(
        # Oniguruma's \b behind a digit: no letter, mark, number or "_" comes next.
        (rf"\d{{1,3}}(?=(?:\d{{3}})*(?!{_WORD}))", O200K),
        "Command A+, Tiny Aya, Cohere2-MoE: digits in threes from the right",
    ),
    "superbpe": Published(
        (r"\p{N}+", r"(?=(\d{3})+(?!\d))"),
        "SuperBPE (OLMo 2 8B): digits in threes from the right",
    ),
    "afmoe": Published(
        (
            r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))",
            "[一-鿿㐀-䶿豈-\ufaff぀-ゟ゠-ヿ･-ﾟ⼀-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff"
            "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff가-\ud7af\u1100-\u11ff]+",
            DEEPSEEK_WORDS,
        ),
        "AFMoE, Trinity: digits in threes from the right",
    ),
}
