"""`fastllm.book` against PyTorch."""

import numpy as np
import pytest
import torch

from fastllm import book
from fastllm.book.random_numbers import Generator, default_generator

SEEDS = [0, 123, 789, 2**32 + 5, -1, 2**64 - 1]


def seed_both(seed):
    torch.manual_seed(seed)
    book.manual_seed(seed)


def same_state():
    """Whether both generators go on with the same numbers."""
    return torch.rand(3).numpy().tolist() == book.rand(3).tolist()


def equal(ours, theirs):
    theirs = theirs.detach().numpy()
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def close(ours, theirs, atol=1e-6):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("seed", SEEDS)
def test_rand_is_that_of_torch(seed):
    seed_both(seed)
    equal(book.rand(3, 2), torch.rand(3, 2))
    equal(book.rand(2000), torch.rand(2000))
    assert book.rand(0).shape == (0,)
    assert same_state()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 15])
def test_randn_of_a_few_is_that_of_torch(count):
    seed_both(123)
    for _ in range(3):  # an odd number leaves one for the next call
        equal(book.randn(count), torch.randn(count))
    equal(book.rand(1), torch.rand(1))
    equal(book.randn(1), torch.randn(1))
    assert same_state()


@pytest.mark.parametrize("count", [16, 17, 18, 31, 32, 33, 1000])
def test_randn_of_many_is_that_of_torch_but_for_the_last_digits(count):
    seed_both(7)
    close(book.randn(3), torch.randn(3))  # leaves one, which the next call must not use
    close(book.randn(count), torch.randn(count))
    close(book.randn(2), torch.randn(2))
    assert same_state()


def test_numbers_made_in_several_parts_are_those_of_torch(monkeypatch):
    monkeypatch.setattr("fastllm.book.random_numbers.PART", 64)
    seed_both(1)
    equal(book.rand(200), torch.rand(200))
    close(book.randn(200), torch.randn(200))


@pytest.mark.parametrize("n", [0, 1, 2, 6, 1000])
def test_randperm_is_that_of_torch(n):
    seed_both(123)
    equal(book.randperm(n), torch.randperm(n))
    assert same_state()


def test_integer_is_that_of_torch():
    seed_both(9)
    theirs = torch.empty((), dtype=torch.int64).random_().item()
    assert default_generator().integer() == theirs


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (1, 1), (7, 5), (768, 20)])
def test_linear_is_that_of_torch(shape, bias):
    seed_both(123)
    ours, theirs = book.Linear(*shape, bias=bias), torch.nn.Linear(*shape, bias=bias)
    equal(ours.weight, theirs.weight)
    if bias:
        equal(ours.bias, theirs.bias)
    assert same_state()
    x = Generator(5).normal((4, 2, shape[0]))
    close(ours(x), theirs(torch.tensor(x)), 1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (2, 4), (50, 16), (33, 7)])
def test_embedding_is_that_of_torch(shape):
    seed_both(123)
    ours, theirs = book.Embedding(*shape), torch.nn.Embedding(*shape)
    close(ours.weight, theirs.weight)
    assert same_state()
    ids = np.array([[1, 0], [1, 1]])
    close(ours(ids), theirs(torch.tensor(ids)))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_is_that_of_torch(p, dtype):
    seed_both(123)
    x = Generator(5).uniform((6, 50)).astype(dtype)
    ours, theirs = book.Dropout(p), torch.nn.Dropout(p)
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).numpy(), rtol=2e-7)
    assert ours(x).dtype == dtype
    theirs(torch.tensor(x))
    assert same_state()
    equal(ours.eval()(x), theirs.eval()(torch.tensor(x)))
    assert same_state()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_dataloader_takes_the_order_of_torch(shuffle, drop_last):
    dataset = book.GPTDatasetV1("x" * 60, _Numbers(), max_length=4, stride=3)
    pairs = [tuple(map(torch.tensor, map(np.array, pair))) for pair in dataset]
    ours = book.DataLoader(dataset, 4, shuffle, drop_last)
    theirs = torch.utils.data.DataLoader(pairs, batch_size=4, shuffle=shuffle, drop_last=drop_last)
    assert len(ours) == len(theirs)
    seed_both(123)
    for _ in range(3):
        for ours_now, theirs_now in zip(ours, theirs, strict=True):
            for array, tensor in zip(ours_now, theirs_now, strict=True):
                equal(array, tensor)
    assert same_state()


class _Numbers:
    """A tokenizer whose ids are the places of the characters."""

    def encode(self, text, allowed_special):
        return list(range(len(text)))


class _TorchAttention(torch.nn.Module):
    """Heads that share three matrices: causal, dropout on the weights, a last layer."""

    def __init__(self, d_in, d_out, dropout, num_heads, last):
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = (
            torch.nn.Linear(d_in, d_out, bias=False) for _ in range(3)
        )
        self.last = torch.nn.Linear(d_out, d_out) if last else torch.nn.Identity()
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x):
        query, key, value = (
            layer(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.mT / key.shape[-1] ** 0.5
        future = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        weights = self.dropout(torch.softmax(scores.masked_fill(future, -torch.inf), -1))
        return self.last((weights @ value).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_causal_attention_is_that_of_torch(dropout):
    x = Generator(2).normal((2, 5, 8))
    seed_both(123)
    ours = book.CausalAttention(8, 4, 6, dropout)
    theirs = _TorchAttention(8, 4, dropout, 1, last=False)
    close(ours(x), theirs(torch.tensor(x)))
    assert same_state()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_multi_head_attention_is_that_of_torch(dropout):
    x = Generator(2).normal((2, 5, 8))
    seed_both(123)
    ours = book.MultiHeadAttention(8, 12, 6, dropout, num_heads=3)
    theirs = _TorchAttention(8, 12, dropout, 3, last=True)
    close(ours(x), theirs(torch.tensor(x)))
    assert same_state()
    close(ours.eval()(x), theirs.eval()(torch.tensor(x)))
    assert same_state()


def test_multi_head_attention_wrapper_is_that_of_torch():
    x = Generator(2).normal((2, 5, 8))
    seed_both(123)
    ours = book.MultiHeadAttentionWrapper(8, 4, 6, 0.3, num_heads=3)
    heads = [_TorchAttention(8, 4, 0.3, 1, last=False) for _ in range(3)]
    close(ours(x), torch.cat([head(torch.tensor(x)) for head in heads], -1))
    assert same_state()
    close(ours.eval()(x), torch.cat([head.eval()(torch.tensor(x)) for head in heads], -1))


class _TorchBlock(torch.nn.Module):
    """Attention and a feed-forward network, each added to what goes into it."""

    def __init__(self, size, heads, dropout):
        super().__init__()
        self.attention = _TorchAttention(size, size, dropout, heads, last=True)
        self.forth = torch.nn.Sequential(
            torch.nn.Linear(size, 4 * size),
            torch.nn.GELU(approximate="tanh"),
            torch.nn.Linear(4 * size, size),
        )
        self.norms = torch.nn.LayerNorm(size), torch.nn.LayerNorm(size)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(self, x):
        x = x + self.dropout(self.attention(self.norms[0](x)))
        return x + self.dropout(self.forth(self.norms[1](x)))


class _TorchGPT(torch.nn.Module):
    def __init__(self, vocab, length, size, heads, layers, dropout):
        super().__init__()
        self.tokens, self.places = torch.nn.Embedding(vocab, size), torch.nn.Embedding(length, size)
        self.dropout = torch.nn.Dropout(dropout)
        self.blocks = torch.nn.Sequential(
            *(_TorchBlock(size, heads, dropout) for _ in range(layers))
        )
        self.norm = torch.nn.LayerNorm(size)
        self.head = torch.nn.Linear(size, vocab, bias=False)

    def forward(self, ids):
        x = self.dropout(self.tokens(ids) + self.places(torch.arange(ids.shape[1])))
        return self.head(self.norm(self.blocks(x)))


def test_gpt_model_is_that_of_torch():
    seed_both(123)
    shape = {"vocab_size": 60, "context_length": 9, "emb_dim": 12, "n_heads": 3, "n_layers": 2}
    ours = book.GPTModel({**shape, "drop_rate": 0.2, "qkv_bias": False})
    theirs = _TorchGPT(*shape.values(), 0.2)
    ids = np.array([[5, 3, 59, 0], [1, 1, 2, 2]])
    for _ in range(2):  # in training, and not
        close(ours(ids), theirs(torch.tensor(ids)), 1e-5)
        assert same_state()
        ours.eval()
        theirs.eval()
    longer = torch.tensor(ids)
    for _ in range(8):
        longer = torch.cat([longer, theirs(longer[:, -9:])[:, -1].argmax(-1, keepdim=True)], 1)
    assert book.generate_text_simple(ours, ids, 8, 9).tolist() == longer.tolist()
