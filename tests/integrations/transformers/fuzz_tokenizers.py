"""Wrapped tokenizers beside themselves, on random calls, for as long as is asked.

Run it from tests/: ``python -m integrations.transformers.fuzz_tokenizers SECONDS [SEED]``.
"""

import random
import sys
import time
import warnings

from integrations.transformers import calls

from fastllm.integrations.transformers import fast_tokenizer


def round_of(seed, count, kind=None):
    """One tokenizer, so many calls; how many of them were done here, and what was refused."""
    rng = random.Random(seed)
    kind = kind or rng.choice(list(calls.KINDS))
    tokenizer = calls.KINDS[kind](rng)
    tokenizer.add_tokens(calls.some_added_tokens(rng))
    theirs = calls.wrapped(tokenizer, rng)
    try:
        ours = fast_tokenizer(theirs)
    except ValueError as error:
        return 0, f"{kind}: {error}"
    done = 0
    for number in range(count):
        if number % 10 == 9:
            state = rng.getstate()
            calls.change(theirs, rng)
            rng.setstate(state)
            sides = theirs.padding_side, theirs.pad_token
            ours.padding_side, ours.pad_token = sides
        arguments, options = calls.some_call(rng)
        expected = calls.outcome(theirs, *arguments, **options)
        found = calls.outcome(ours, *arguments, **options)
        assert found == expected, (
            *(seed, number, kind, arguments, options),
            *(calls.differences(found, expected)),
        )
        if isinstance(expected, dict):
            rows = expected["input_ids"]
            ids = rows if rows and isinstance(rows[0], list) else [rows]
            for row in (*ids, [rng.randrange(900) for _ in range(rng.randint(0, 9))]):
                skip = rng.random() < 0.5
                text = theirs.decode(row, skip_special_tokens=skip)
                mine = ours.decode(row, skip_special_tokens=skip)
                tokens = theirs.convert_ids_to_tokens(row)
                decoder = theirs.backend_tokenizer.decoder
                assert mine == text, (seed, number, kind, decoder, tokens, skip, mine, text)
        done += ours._current() is not None
    return done, None


def main():
    seconds = float(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    warnings.simplefilter("ignore")
    end = time.monotonic() + seconds
    rounds, done, refused = 0, 0, {}
    while time.monotonic() < end:
        here, reason = round_of(seed, 60)
        seed, rounds, done = seed + 1, rounds + 1, done + here
        if reason:
            refused[reason[:120]] = refused.get(reason[:120], 0) + 1
    print(f"{rounds} tokenizers, {done} calls done here, no difference; refused: {refused}")


if __name__ == "__main__":
    main()
