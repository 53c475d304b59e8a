"""Random texts through scanners and automata until one differs: a program, not a test.

    PYTHONPATH=tests python tests/split/fast/fuzz_split.py --texts 100000 --seed 0

That many texts for each pattern, named ones, some with other numbers of digits, and published ones
that have no name. The starts of pre-tokens at every instruction-set level, and by the automaton,
must be the scalar scanner's, for patterns that have one, and those of others the same at every
level; of one text in 20, the pre-tokens must be
the reference's, and of one in 20 those of Hugging Face tokenizers, given the same steps. Wherever a
text may be cut in two, the pre-tokens of both parts must be those of the whole.
The first difference ends the run with the shortest text that still shows it.
"""

import argparse
import itertools
import random
import sys
import time
from collections import Counter

from texts import TRAPS, any_scalars, edge_texts, mixed_texts, shortest
from tokenizers import Regex
from tokenizers.pre_tokenizers import Sequence, Split

from fastllm.fast._tokenization import _kernels
from fastllm.patterns.named import NAMED, SplitPattern
from fastllm.reference import tokenization as reference

LEVELS = _kernels.ISAS[: _kernels.isa_number() + 1]
EDGES = list(edge_texts())


def patterns():
    """Named patterns and others, without normalization."""
    found = {name: SplitPattern(p.steps) for name, p in NAMED.items()}
    for name in ("cl100k", "llama3", "qwen3.5", "o200k", "tekken"):
        step = NAMED[name].steps[0]
        for digits in ("{1,2}", "{1,5}", "+"):
            changed = step.replace("{1,3}", digits).replace(r"\p{N}|", rf"\p{{N}}{digits}|")
            found[f"{name} with {digits}"] = SplitPattern((changed,))
    return found


def endless_texts(rng):
    while True:
        yield from mixed_texts(400, rng.random(), rng.choice([6, 15, 30, 60, 60, 150, 400]))
        yield from rng.choices(EDGES, k=40)
        alphabet = any_scalars(rng, 40) + list(" \n'sA1!a")
        yield from ("".join(rng.choices(alphabet, k=rng.randint(0, 120))) for _ in range(40))
        long = "".join(rng.choices(list(TRAPS.values()), k=rng.randint(2, 12)))
        yield long.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def step_of_tokenizers(step):
    """A step of a split pattern, as tokenizers has it."""
    if isinstance(step, str):
        return Split(Regex(step), "isolated")
    return Split(Regex(step.expression), step.behavior, step.invert)


class Setting:
    """One pattern and those to compare its scanner with."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.form = "automaton" if pattern.scanner is None else "scalar"
        self.rival = Sequence(list(map(step_of_tokenizers, pattern.steps)))

    def wrong_level(self, text):
        encoded = text.encode()
        starts = _kernels.pretoken_starts(encoded, self.pattern, self.form)
        others = LEVELS if self.form == "automaton" else (*LEVELS, "automaton")
        return [n for n in others if _kernels.pretoken_starts(encoded, self.pattern, n) != starts]

    def pretokens(self, text):
        return _kernels.split_text(text, self.pattern)

    def wrong_reference(self, text):
        return self.pretokens(text) != reference.split(text, self.pattern)

    def wrong_tokenizers(self, text):
        rival = [pretoken for pretoken, _ in self.rival.pre_tokenize_str(text)]
        return self.pretokens(text) != rival

    def wrong_cut(self, text):
        encoded = text.encode()
        whole = self.pretokens(text)
        cut = 0
        while (cut := _kernels.next_cut(encoded, self.pattern, cut + 1)) < len(encoded):
            before, after = encoded[:cut].decode(), encoded[cut:].decode()
            if self.pretokens(before) + self.pretokens(after) != whole:
                return True
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    for name, pattern in patterns().items():
        setting = Setting(pattern)
        checks = [
            (f"pre-tokens at {', '.join(LEVELS)}", setting.wrong_level, 1),
            ("pre-tokens of the reference", setting.wrong_reference, 20),
            ("pre-tokens of tokenizers", setting.wrong_tokenizers, 20),
            ("cuts", setting.wrong_cut, 20),
        ]
        texts = endless_texts(random.Random(f"{arguments.seed} {name}"))
        for number, text in enumerate(itertools.islice(texts, arguments.texts)):
            for what, is_wrong, every in checks:
                if number % every == 0:
                    counts[what] += 1
                    if is_wrong(text):
                        print(f"{name}: {what} differ\n{shortest(text, is_wrong)!a}")
                        return 1
    for what, count in counts.items():
        print(f"{count:12,}  {what}")
    print(f"{time.monotonic() - begin:12.0f}  seconds, seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
