"""Files of tokenizers with something wrong in them, beside the libraries that own the formats.

    python tests/formats/fuzz_mutated_files.py ROUNDS [SEED]

Each file is one of a model's family, made small, with a few places changed: tokenizer.json, BERT's
vocab.txt, or vocab.json with merges.txt. It is refused by a ValueError, or gives what its owner
gives: ids, with and without what stands around texts, and decoded texts. `test_mutated_files.py`
runs a few.
"""

import collections
import copy
import json
import random
import signal
import sys
import tempfile
from pathlib import Path

from formats import shapes
from tokenizers import Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre

import fastllm

LENIENT = "read, though its owner is stricter about its form"
TEXTS = [
    *("", "a", " Hello  world", "don't 1234 e\u0301 中文 ﬁ\x00 é😀\n", "<s> low</s><mask> ##a x"),
    *("[CLS] unaffable[SEP]", "▁a <0x0A>\t<|x|>", "the brother \ufffd\u200d İ"),
]
S = shapes.special("<s>", "</s>", "<unk>")


def bert():
    return shapes.shape(
        shapes.word_piece(),
        shapes.special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        normalizer=shapes.BERT_NORMALIZER,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=shapes.template(["[CLS]"], ["[SEP]"], second_type=1),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
        padding=shapes.padding(),
        truncation=dict(shapes.TRUNCATION),
    )


def t5():
    blanks = {"type": "WhitespaceSplit"}, shapes.metaspace()
    return shapes.shape(
        shapes.unigram(),
        [*S, shapes.token("<mask>", special=True, lstrip=True)],
        normalizer=shapes.sequence("normalizers", shapes.charsmap()),
        pre_tokenizer=shapes.sequence("pretokenizers", *blanks),
        post_processor=shapes.template([], ["</s>"]),
        decoder=shapes.metaspace(),
    )


def llama():
    return shapes.shape(
        shapes.sentencepiece_bpe(),
        [*S, shapes.token("<|x|>", normalized=True)],
        normalizer=shapes.sequence("normalizers", *shapes.BLANKS),
        post_processor=shapes.template(["<s>"]),
        decoder=shapes.LLAMA_DECODER,
    )


def gemma():
    return shapes.shape(
        shapes.sentencepiece_bpe(),
        S,
        normalizer=shapes.replace(" ", "▁"),
        pre_tokenizer=shapes.split(" ", "MergedWithPrevious", string=True),
        decoder=shapes.GEMMA_DECODER,
    )


FILES = {
    **{name: shapes.SHAPES[name] for name in ("gpt2", "roberta", "llama-3", "modernbert")},
    "bert": bert,
    "t5": t5,
    "llama": llama,
    "gemma": gemma,
}
VALUES = [None, True, False, 0, 1, -1, 2**31, 2**63, 0.5, "", "a", "▁", "##", "<unk>", [], {}, [0]]
KINDS = [
    *("NFC", "Lowercase", "Strip", "Replace", "Prepend", "ByteLevel", "Metaspace", "Sequence"),
    *("Whitespace", "Digits", "Split", "WordPiece", "BPE", "Unigram", "Fuse", "ByteFallback"),
    *("BertProcessing", "TemplateProcessing", "Isolated", "Removed", "Contiguous", "always"),
]


# --- Changes


def nodes(value, path=()):
    """Every place in a value, but of long lists and dicts only some."""
    yield path
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value))
        if isinstance(value, list)
        else []
    )
    for key, member in items if len(items) < 60 else items[:3] + items[-3:]:
        yield from nodes(member, (*path, key))


def change(content, rng):
    """Change one place of a tokenizer.json."""
    path = rng.choice([path for path in nodes(content) if path])
    if rng.random() < 0.25:
        model = content.get("model")
        if isinstance(model, dict) and rng.random() < 0.6:
            inside = [
                (name, place) for name in ("vocab", "merges") for place in places(model, name)
            ]
            if inside:
                name, key = rng.choice(inside)
                path = ("model", name, key)
    holder = content
    for key in path[:-1]:
        holder = holder[key]
    key, value = path[-1], holder[path[-1]]
    kind = rng.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 or isinstance(value, bool):
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(rng.choice([value, holder[-1], *VALUES])))
    elif kind == 2:
        holder[rng.choice([*KINDS, "type", "dropout", "x"])] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(value, str):
        holder[key] = changed_text(value, rng)
    elif isinstance(value, (int, float)):
        holder[key] = value + rng.choice([1, -1, 100, 0.5])
    elif isinstance(value, list) and value:
        other = rng.choice(value)
        value[rng.randrange(len(value))] = other
    elif isinstance(value, dict) and value:
        one, other = rng.choice(list(value)), rng.choice(list(value))
        value[one], value[other] = value[other], value[one]


def places(model, name):
    """Some places in the vocabulary or the merges of a model."""
    found = model.get(name)
    if isinstance(found, dict):
        return list(found)[::7]
    return list(range(0, len(found), 7)) if isinstance(found, list) else []


def changed_text(text, rng):
    if rng.random() < 0.3:
        return rng.choice(KINDS)
    place = rng.randint(0, len(text))
    other = rng.choice(["", "a", "▁", " ", "#", "\x00", "é", "Ġ", "<", "\u0301"])
    return text[:place] + other + text[place + rng.randint(0, 1) :]


def changed_bytes(data, rng):
    """A few bytes changed, lost or said twice."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data))
        kind = rng.randrange(4)
        if kind == 0:
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 9)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 40)]
        else:
            data[place:place] = rng.choice([b"\n", b"\r\n", b" ", b"\xa0", b"\xe2\x96\x81", b"\0"])
        if not data:
            break
    return bytes(data)


# --- Files and their owners


def json_file(folder, rng):
    content = copy.deepcopy(FILES[rng.choice(list(FILES))]())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change(content, rng)
    data = json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:
        data = changed_bytes(data, rng)
    path = folder / "tokenizer.json"
    path.write_bytes(data)

    def owner():
        return Tokenizer.from_str(data.decode())

    return path, owner, {}


def vocab_file(folder, rng):
    tokens = sorted(shapes.word_piece()["vocab"].items(), key=lambda item: item[1])
    data = changed_bytes("".join(f"{token}\n" for token, _ in tokens).encode(), rng)
    path = folder / "vocab.txt"
    path.write_bytes(data)

    def owner():
        made = Tokenizer(models.WordPiece.from_file(str(path), unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        made.add_special_tokens(
            [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if made.token_to_id(t)]
        )
        return made

    return path, owner, {"around": False}


def merges_file(folder, rng):
    model = shapes.byte_level()
    vocab = json.dumps(model["vocab"]).encode()
    merges = "#version: 0.2\n" + "".join(
        f"{' '.join(merge) if isinstance(merge, list) else merge}\n" for merge in model["merges"]
    )
    data = merges.encode()
    if rng.random() < 0.7:
        data = changed_bytes(data, rng)
    else:
        vocab = changed_bytes(vocab, rng)
    (folder / "vocab.json").write_bytes(vocab)
    (folder / "merges.txt").write_bytes(data)

    def owner():
        made = Tokenizer(
            models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
        )
        made.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        return made

    return folder / rng.choice(["vocab.json", "merges.txt"]), owner, {"around": False}


# --- Comparing


class RefusedError(Exception):
    """The owner does not take a file, or a text."""


def asked(call, *arguments, **options):
    """What the owner gives; `RefusedError` for whatever it raises, panics too."""
    try:
        return call(*arguments, **options)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, TimeoutError)):
            raise
        raise RefusedError(f"{type(error).__name__}: {error}") from None


def is_a_matter_of_form(error):
    """Whether the owner minds a blank line in merges.txt, which is passed over here."""
    return "Merges text file invalid" in error


def check(path, owner, around=True):
    """One of "refused" and "equal", or what is different."""
    try:
        ours = fastllm.load_tokenizer(path)
    except ValueError:
        return "refused"
    try:
        theirs = asked(owner)
    except RefusedError as error:
        return LENIENT if is_a_matter_of_form(str(error)) else f"the owner refuses it: {error}"
    theirs.no_truncation()
    theirs.no_padding()
    for text in TEXTS:
        for add in (False, True) if around else (False,):
            try:
                expected = asked(theirs.encode, text, add_special_tokens=add).ids
            except RefusedError as error:
                expected = str(error)
            try:
                found = ours.encode(
                    text, add_special_tokens=add, allowed_special="all", disallowed_special=()
                )
            except ValueError:
                return "equal" if isinstance(expected, str) else "refused"
            if found != expected:
                return f"{text!r} has {found}, not {expected} ({add})"
            decoded = ours.decode(found)
            try:
                text_of = asked(theirs.decode, found, False)
            except RefusedError:
                continue  # it panics, for some decoders of no tokens
            if decoded != text_of:
                return f"{found} is {decoded!r}, not {text_of!r}"
    return "equal"


def run(rounds, seed, kinds=(json_file, json_file, json_file, json_file, vocab_file, merges_file)):
    """Outcomes and how often there were; differences with what makes them again."""
    outcomes, different = collections.Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + rounds):
            rng = random.Random(number)
            path, owner, options = rng.choice(kinds)(Path(folder), rng)
            try:
                found = check(path, owner, **options)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            known = ("refused", "equal", LENIENT)
            outcomes[found if found in known else "different"] += 1
            if found not in known:
                different.append((number, path.name, found))
            for left in Path(folder).iterdir():
                left.unlink()
    return outcomes, different


def main():
    rounds = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0

    def late(*_):
        raise TimeoutError("a file took a minute")

    signal.signal(signal.SIGALRM, late)
    step = 100
    outcomes, different = collections.Counter(), []
    for start in range(seed, seed + rounds, step):
        signal.alarm(60)
        here, found = run(step, start)
        outcomes += here
        different += found
    for each in different[:40]:
        print(*each)
    print(rounds, "files:", dict(outcomes))


if __name__ == "__main__":
    main()
