"""Split patterns of published models that have no name here, as their owners write them."""

from fastllm.patterns.named import NAMED, SplitPattern

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_NOT_HAN_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_NOT_HAN_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_LLAMA3 = NAMED["llama3"].steps[0]
_GPT2 = NAMED["gpt2"].steps[0]
_O200K = NAMED["o200k"].steps[0]

PUBLISHED = {
    "Kimi-K2": SplitPattern(
        (
            rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{_NOT_HAN_UPPER}*{_NOT_HAN_LOWER}+{_CONTRACTIONS}?"
            rf"|[^\r\n\p{{L}}\p{{N}}]?{_NOT_HAN_UPPER}+{_NOT_HAN_LOWER}*{_CONTRACTIONS}?"
            rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}",
        )
    ),
    "Ling": SplitPattern(
        (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ),
    "Seed-Coder": SplitPattern(
        (
            rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}"
            rf"| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_TAIL}",
        )
    ),
    "K-EXAONE": SplitPattern(
        (
            rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+"
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ),
    "Jais-2": SplitPattern(
        (
            _LLAMA3.split(r"|\s*[\r\n]+")[0]
            + "".join(rf"|\s{{{2**n}}}(?!\S)" for n in range(9, 1, -1))
            + r"|\s{1,2}(?!\S)|\s{1}",
        )
    ),
    "MiniCPM5": SplitPattern((r"\p{N}{1,3}", _LLAMA3.replace("{1,3}", "+"))),
    "Youtu-LLM": SplitPattern(
        (
            r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
            _O200K.replace("{1,3}", ""),
        )
    ),
    "DeepSeek-coder": SplitPattern(
        (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
    ),
    "Falcon": SplitPattern((r"[\p{P}$+<=>^~|`]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "BLOOM": SplitPattern((r" ?[^(\s|.,!?…。，、।۔،)]+",)),
    "Viking": SplitPattern((r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}")),
    "Chameleon": SplitPattern(
        (
            r"<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"([\t\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        )
    ),
    "CLIP": SplitPattern(
        (
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
            r"|[^\s\p{L}\p{N}]+",
        )
    ),
    "lines": SplitPattern((r"[^\n]+|[\n]+",)),
    "Laguna": SplitPattern((r"[^\n]+|[\n]+", *NAMED["qwen2"].steps)),
    "jina-v2-zh": SplitPattern((r"\S+",)),
}
