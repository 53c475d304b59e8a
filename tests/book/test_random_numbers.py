"""Random numbers of the book: facts from PyTorch 2.13."""

import numpy as np
import pytest

from fastllm import book
from fastllm.book.random_numbers import Generator, default_generator


def test_random_numbers_are_those_of_torch():
    book.manual_seed(123)
    assert book.randn(7).astype(float).round(7).tolist() == [
        -0.1114671, 0.1203629, -0.3696345, -0.240418, -1.1969243, 0.2092694, -0.972355,
    ]  # fmt: skip
    assert book.rand(3).astype(float).round(7).tolist() == [0.1185683, 0.8273954, 0.3820844]
    assert book.randperm(10).tolist() == [0, 8, 2, 3, 7, 9, 1, 4, 6, 5]


def test_seeds_count_modulo_two_to_the_32():
    draws = [Generator(seed).uniform((4,)).tolist() for seed in (-1, 2**32 - 1, 2**64 - 1)]
    assert draws[0] == draws[1] == draws[2]
    assert np.isclose(draws[0][:2], [0.9937994, 0.5713063]).all()


def test_manual_seed_forgets_the_normal_number_kept():
    book.manual_seed(1)
    first = book.randn(1).item()
    book.manual_seed(1)
    assert book.randn(1).item() == first


def test_manual_seed_gives_the_generator_that_everything_draws_from():
    generator = book.manual_seed(5)
    assert generator is default_generator()
    expected = Generator(5).uniform((2,))
    assert (generator.uniform((2,)) == expected).all()


def test_generators_without_a_seed_differ():
    assert Generator().integer() != Generator().integer()


@pytest.mark.parametrize(
    ("seed", "error"),
    [("1", TypeError), (1.0, TypeError), (2**64, ValueError), (-(2**65), ValueError)],
)
def test_manual_seed_refuses_what_is_no_seed(seed, error):
    with pytest.raises(error, match="seed must be"):
        book.manual_seed(seed)


def test_rand_takes_a_shape_as_numbers_or_as_a_tuple():
    book.manual_seed(1)
    numbers = book.rand(2, 3)
    book.manual_seed(1)
    assert (book.rand((2, 3)) == numbers).all()
    with pytest.raises(ValueError, match="size must be at least 0, not -1"):
        book.randn(2, -1)
    with pytest.raises(TypeError, match="n must be an int"):
        book.randperm(2.0)
