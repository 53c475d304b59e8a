"""How each number that the book prints is computed again, section by section.

Some sections need material that does not come with fastllm: the vocabulary of GPT-2, or the story
that the book takes its examples from. Those of chapters 4 and 5 are about a GPT-2 whose 163 million
weights are random: they agree only if these are PyTorch's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fastllm.book.attention import (
    CausalAttention,
    MultiHeadAttention,
    MultiHeadAttentionWrapper,
    SelfAttention_v1,
    SelfAttention_v2,
)
from fastllm.book.bpe import BPETokenizerSimple
from fastllm.book.data_loading import DataLoader, GPTDatasetV1
from fastllm.book.facts import facts
from fastllm.book.gpt import GPT_CONFIG_124M, GPTModel, generate_text_simple
from fastllm.book.layers import Dropout, Embedding
from fastllm.book.random_numbers import manual_seed
from fastllm.book.tokenizers import SimpleTokenizerV1, SimpleTokenizerV2, split_words
from fastllm.tokenizers.bpe import BPETokenizer

Array = npt.NDArray[Any]
Computed = dict[str, Any]

VOCABULARY = "the vocabulary of GPT-2"
STORY = "the-verdict.txt"
MODEL = "an untrained GPT-2"
TOLERANCE = 1e-6  # PyTorch's own float32 numbers differ by as much from one processor to another
FOUR_DIGITS = 5e-5

INPUTS = np.array(
    [
        [0.43, 0.15, 0.89],  # Your
        [0.55, 0.87, 0.66],  # journey
        [0.57, 0.85, 0.64],  # starts
        [0.22, 0.58, 0.33],  # with
        [0.77, 0.25, 0.10],  # one
        [0.05, 0.80, 0.55],  # step
    ]
)
BATCH = np.stack([INPUTS, INPUTS])
JOURNEY = 1

# The first sentence of the story: Edith Wharton, "The Verdict", 1908.
OPENING = (
    "I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough--so it "
    "was no great surprise to me to hear that, in the height of his glory, he had dropped his "
    "painting, married a rich widow, and established himself in a villa on the Riviera."
)


@dataclass(frozen=True)
class Backend:
    """A pair of modules: byte-pair encoding, and attention.

    Attributes
    ----------
    name : str
    bpe, attention : module
        Those of `fastllm.reference` or of `fastllm.fast`.
    """

    name: str
    bpe: Any
    attention: Any


@dataclass(frozen=True)
class Material:
    """What a section is computed from.

    Attributes
    ----------
    backend : Backend
    gpt2 : BPETokenizer, optional
        On that backend; None if there is no vocabulary.
    story : str, optional
    """

    backend: Backend
    gpt2: BPETokenizer | None = None
    story: str | None = None


def with_attributes(kind: type[Any], **attributes: Any) -> type[Any]:
    """A class with other attributes: another backend."""
    return type(kind.__name__, (kind,), attributes)


def _on(module: Any, backend: Backend) -> Any:
    """A module whose attention, and that of all modules inside, is a backend's."""
    if hasattr(module, "_attention"):
        module._attention = backend.attention
    for part in module.children():
        _on(part, backend)
    return module


# Chapter 2


def _words(material: Material) -> Computed:
    return {"words of a sentence": split_words("Hello, world. Is this-- a test?")}


def _words_of_story(material: Material) -> Computed:
    story = material.story or ""
    words = split_words(story)
    return {
        "characters of the story": len(story),
        "words of the story": len(words),
        "its first words": words[:30],
    }


def _known_words(material: Material) -> Computed:
    words = sorted(set(split_words(material.story or "")))
    text = '"It\'s the last he painted, you know,"\n    Mrs. Gisburn said with pardonable pride.'
    return _simple_tokenizer(SimpleTokenizerV1, words, text)


def _unknown_words(material: Material) -> Computed:
    words = [*sorted(set(split_words(material.story or ""))), "<|endoftext|>", "<|unk|>"]
    text = "Hello, do you like tea? <|endoftext|> In the sunlit terraces of the palace."
    return _simple_tokenizer(SimpleTokenizerV2, words, text)


def _simple_tokenizer(kind: type[SimpleTokenizerV1], words: list[str], text: str) -> Computed:
    """What a tokenizer of the book makes of a text, with the words of a vocabulary in order."""
    tokenizer = kind({word: number for number, word in enumerate(words)})
    ids = tokenizer.encode(text)
    return {
        "size of the vocabulary": len(words),
        f"ids of {kind.__name__}": ids,
        "decoded": tokenizer.decode(ids),
    }


def _gpt2(material: Material) -> Computed:
    assert material.gpt2 is not None
    ids = material.gpt2.encode(
        "Hello, do you like tea? <|endoftext|> In the sunlit terraces of someunknownPlace.",
        allowed_special={"<|endoftext|>"},
    )
    return {
        "ids of GPT-2": ids,
        "decoded": material.gpt2.decode(ids),
        'ids of "Akwirw ier"': material.gpt2.encode("Akwirw ier"),
    }


def _classic(material: Material) -> Computed:
    bpe = material.backend.bpe
    text = "aaabdaaabac"
    number_of = {bytes([byte]): byte for byte in range(256)}
    ids = list(text.encode())
    merges = []
    for left, right in bpe.train(text, 259, tie_break="first-seen"):
        pair, number = (number_of[left], number_of[right]), len(number_of)
        merges.append((pair, number))
        number_of[left + right] = number
        ids = bpe.merge(ids, pair, number)
    return {
        'merges of "aaabdaaabac"': [[*pair, number] for pair, number in merges],
        'ids of "aaabdaaabac"': ids,
    }


def _simple_bpe(material: Material) -> Computed:
    tokenizer = with_attributes(BPETokenizerSimple, _bpe=material.backend.bpe)(mode="book")
    tokenizer.train(material.story, vocab_size=1000, allowed_special={"<|endoftext|>"})
    ids = tokenizer.encode("Jack embraced beauty through art and life.")
    return {
        "merges of BPETokenizerSimple": len(tokenizer.bpe_merges),
        "ids of BPETokenizerSimple": ids,
        "decoded": tokenizer.decode(ids),
    }


def _windows(material: Material) -> Computed:
    assert material.gpt2 is not None
    ones = iter(DataLoader(GPTDatasetV1(OPENING, material.gpt2, max_length=4, stride=1)))
    first, second, *rest = ones
    eight = DataLoader(GPTDatasetV1(OPENING, material.gpt2, max_length=4, stride=4), batch_size=8)
    inputs, targets = next(iter(eight))
    return {
        "input of one window": rest[48][0][0],
        "target of one window": rest[48][1][0],
        "first batch of one": first,
        "second batch of one": second,
        "inputs of a batch of eight": inputs,
        "targets of a batch of eight": targets,
    }


def _tokens_of_story(material: Material) -> Computed:
    assert material.gpt2 is not None
    return {"GPT-2 ids of the story": material.gpt2.count(material.story or "")}


def _embedding(material: Material) -> Computed:
    manual_seed(123)
    embedding = Embedding(6, 3)
    return {
        "Embedding(6, 3), seed 123": embedding.weight,
        "vector of id 3": embedding([3]),
        "vectors of ids 2, 3, 5, 1": embedding([2, 3, 5, 1]),
    }


# Chapter 3


def _one_word(material: Material) -> Computed:
    attention = material.backend.attention
    scores = attention.self_attention(INPUTS, return_steps=True).scores[JOURNEY]
    weights = attention.softmax(scores)
    return {
        'scores of "journey"': scores,
        "weights by the sum": scores / scores.sum(),
        "weights by softmax": weights,
        'context vector of "journey"': weights @ INPUTS,
    }


def _all_words(material: Material) -> Computed:
    steps = material.backend.attention.self_attention(INPUTS, return_steps=True)
    return {
        "all scores": steps.scores,
        "all weights": steps.weights,
        "all context vectors": steps.context,
    }


def _weights_by_hand(material: Material) -> Computed:
    manual_seed(123)
    module = SelfAttention_v1(3, 2)
    query, keys = INPUTS[JOURNEY] @ module.W_query, INPUTS @ module.W_key
    scores = query @ keys.T
    weights = material.backend.attention.softmax(scores / keys.shape[-1] ** 0.5)
    return {
        "W_query, seed 123": module.W_query,
        "W_key": module.W_key,
        "W_value": module.W_value,
        'query of "journey"': query,
        'scores of "journey"': scores,
        'weights of "journey"': weights,
        'context vector of "journey"': weights @ (INPUTS @ module.W_value),
    }


def _self_attention(material: Material) -> Computed:
    manual_seed(123)
    first = _on(SelfAttention_v1(3, 2), material.backend)
    manual_seed(789)
    second = _on(SelfAttention_v2(3, 2), material.backend)
    return {
        "SelfAttention_v1, seed 123": first(INPUTS),
        **_projections(second, ", seed 789"),
        "SelfAttention_v2, seed 789": second(INPUTS),
    }


def _causal_weights(material: Material) -> Array:
    """The causal weights of section 3.5.1: with unit vectors for values, the result is weights."""
    manual_seed(789)
    module = SelfAttention_v2(3, 2)
    weights: Array = material.backend.attention.scaled_dot_product_attention(
        module.W_query(INPUTS), module.W_key(INPUTS), np.eye(len(INPUTS)), is_causal=True
    )
    return weights


def _masking(material: Material) -> Computed:
    manual_seed(789)
    module = SelfAttention_v2(3, 2)
    scores = module.W_query(INPUTS) @ module.W_key(INPUTS).T
    return {
        "all scores": scores,
        "all weights": material.backend.attention.softmax(scores / 2**0.5),
        "causal weights": _causal_weights(material),
    }


def _dropout(material: Material) -> Computed:
    weights = _causal_weights(material)
    dropout = Dropout(0.5)
    manual_seed(123)
    ones = dropout(np.ones((6, 6)))
    manual_seed(123)
    return {
        "dropout of ones, seed 123": ones,
        "dropped causal weights": dropout(weights),
    }


def _causal_attention(material: Material) -> Computed:
    manual_seed(123)
    module = _on(CausalAttention(3, 2, 6, 0.0), material.backend)
    return {**_projections(module, ", seed 123"), "CausalAttention": module(BATCH)[0]}


def _stacked_heads(material: Material) -> Computed:
    manual_seed(123)
    module = _on(MultiHeadAttentionWrapper(3, 2, 6, 0.0, num_heads=2), material.backend)
    names = zip(("first", "second"), module.heads, strict=True)
    matrices = {
        f"{name} of the {place} head": getattr(head, name).weight
        for place, head in names
        for name in ("W_query", "W_key", "W_value")
    }
    return {**matrices, "MultiHeadAttentionWrapper": module(BATCH)[0]}


def _split_heads(material: Material) -> Computed:
    manual_seed(123)
    module = _on(MultiHeadAttention(3, 2, 6, 0.0, num_heads=2), material.backend)
    return {
        **_projections(module, ", seed 123"),
        "out_proj, weights": module.out_proj.weight,
        "out_proj, bias": module.out_proj.bias,
        "MultiHeadAttention": module(BATCH)[0],
    }


def _projections(module: Any, seed: str) -> Computed:
    return {
        f"W_query{seed}": module.W_query.weight,
        "W_key": module.W_key.weight,
        "W_value": module.W_value.weight,
    }


# Chapters 4 and 5


@lru_cache(maxsize=1)
def untrained_gpt(context_length: int) -> GPTModel:
    """GPT-2 with the weights of seed 123: 650 MB, so no more than one at a time."""
    manual_seed(123)
    return GPTModel({**GPT_CONFIG_124M, "context_length": context_length}).eval()


def _continued(material: Material) -> Computed:
    model = _on(untrained_gpt(1024), material.backend)
    ids = generate_text_simple(model, [[15496, 11, 314, 716]], 10, 1024)
    return {'ids after "Hello, I am"': ids[0]}


def _continued_text(material: Material) -> Computed:
    assert material.gpt2 is not None
    return {
        'ids of "Hello, I am"': material.gpt2.encode("Hello, I am"),
        "decoded": material.gpt2.decode(facts()["4.7"]['ids after "Hello, I am"']),
    }


def _loss(material: Material) -> Computed:
    model = _on(untrained_gpt(256), material.backend)
    ids = generate_text_simple(model, [[6109, 3626, 6100, 345]], 10, 256)
    inputs = np.array([[16833, 3626, 6100], [40, 1107, 588]])  # every effort moves, I really like
    targets = np.array([[3626, 6100, 345], [1107, 588, 11311]])  # the next: you, chocolate
    logarithms = _logarithms(material, inputs, targets)
    return {
        'ids after "Every effort moves you"': ids[0],
        "logarithms of probabilities": logarithms,
        "loss": -logarithms.mean(),
        "perplexity": np.exp(-logarithms.mean()),
    }


def _loss_of_story(material: Material) -> Computed:
    assert material.story is not None
    cut = int(0.9 * len(material.story))
    return {
        "loss of the story's first nine tenths": _loss_of(material, material.story[:cut]),
        "loss of the rest": _loss_of(material, material.story[cut:]),
    }


def _loss_of(material: Material, text: str) -> float:
    """The mean loss over all windows of a text, two of them at a time."""
    dataset = GPTDatasetV1(text, material.gpt2, max_length=256, stride=256)
    batches = DataLoader(dataset, batch_size=2)
    return float(np.mean([-_logarithms(material, *batch).mean() for batch in batches]))


def _logarithms(material: Material, inputs: Array, targets: Array) -> Array:
    """The logarithm of the probability that the untrained GPT-2 gives each target."""
    model = _on(untrained_gpt(256), material.backend)
    weights = material.backend.attention.softmax(model(inputs))
    chosen = np.take_along_axis(weights, targets[..., np.newaxis], -1)
    logarithms: Array = np.log(chosen.ravel().astype(np.float64))
    return logarithms


@dataclass(frozen=True)
class Section:
    """How the facts of a section are computed.

    Attributes
    ----------
    compute : callable
        Gives the values of all of them, by name.
    needs : tuple of str
        What must be at hand.
    tolerance : float
        How far numbers may be from those of the book.
    slow : bool
        Whether it would take the reference an hour.
    """

    compute: Callable[[Material], Computed]
    needs: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    slow: bool = False


SECTIONS = {
    "2.2 words": Section(_words),
    "2.2 story": Section(_words_of_story, (STORY,)),
    "2.3": Section(_known_words, (STORY,)),
    "2.4": Section(_unknown_words, (STORY,)),
    "2.5": Section(_gpt2, (VOCABULARY,)),
    "2.5 bonus": Section(_classic),
    "2.5 bonus, story": Section(_simple_bpe, (STORY,)),
    "2.6": Section(_windows, (VOCABULARY,)),
    "2.6 story": Section(_tokens_of_story, (VOCABULARY, STORY)),
    "2.7": Section(_embedding),
    "3.3.1": Section(_one_word),
    "3.3.2": Section(_all_words),
    "3.4.1": Section(_weights_by_hand),
    "3.4.2": Section(_self_attention),
    "3.5.1": Section(_masking),
    "3.5.2": Section(_dropout),
    "3.5.3": Section(_causal_attention),
    "3.6.1": Section(_stacked_heads),
    "3.6.2": Section(_split_heads),
    "4.7": Section(_continued, (MODEL,)),
    "4.7 text": Section(_continued_text, (VOCABULARY,)),
    "5.1": Section(_loss, (MODEL,), FOUR_DIGITS),
    "5.1 story": Section(_loss_of_story, (VOCABULARY, STORY, MODEL), FOUR_DIGITS, slow=True),
}
