"""The demo on any text: what it finds, and that it notices when the backends disagree."""

import types

import numpy as np
import pytest
from typer.testing import CliRunner

from fastllm.cli.commands import app
from fastllm.explain import comparison, demo, worked_example
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe

TEXTS = {
    "nothing": "",
    "one character": "x",
    "white space": " \n\n \t ",
    "one giant line": "the cat and the hat " * 500,
    "one giant word": "a" * 20_000,
    "emoji": "😀👨‍👩‍👧🎉" * 50,
    "Windows line ends": "one two\r\nthree four\r\n" * 20,
    "a byte order mark": "\ufeff",
    "special tokens": "<|endoftext|> <|unk|> hello <|endoftext|>" * 5,
    "escape sequences": "\x1b[31mred\x1b[0m \x00\x07 [bold]x[/bold] :smile:\n" * 5,
    "prose": "It was the best of times, it was the worst of times.\n\n" * 20,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Sizes that the reference takes no time for."""
    sizes = {"VOCAB_SIZE": 280, "LENGTH": 16, "HEAD_DIM": 8, "VECTOR_TOKENS": 16}
    for name, value in sizes.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(comparison, "FAST_RUNS", 1)


def run_demo(text, tmp_path, **environment):
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    return CliRunner().invoke(app, ["demo", str(path)], env=environment)


@pytest.mark.parametrize("name", TEXTS)
def test_demo_ends_well_on_any_text(name, tmp_path):
    result = run_demo(TEXTS[name], tmp_path)
    assert result.exit_code == 0, result.output
    assert "byte for byte" in " ".join(result.output.split())
    assert "\x1b" not in result.output  # neither a colour nor what the text holds


@pytest.mark.parametrize("columns", ["20", "40", "80", "200"])
def test_demo_keeps_within_the_terminal(columns, tmp_path):
    result = run_demo(TEXTS["prose"], tmp_path, COLUMNS=columns)
    assert result.exit_code == 0
    if int(columns) >= 40:
        assert max(map(len, result.output.splitlines())) <= int(columns)


def test_demo_without_a_file_takes_the_built_in_text():
    source = demo.built_in_text()
    assert len(source.text) > 300_000
    assert "statement" in source.text


@pytest.mark.parametrize("missing", [("bpe",), ("attention",), ("bpe", "attention")])
def test_demo_runs_on_the_reference_alone_and_says_so(missing, tmp_path, monkeypatch):
    modules = {"bpe": reference_bpe, "attention": reference_attention}

    def backend(topic):
        if topic in missing:
            return comparison.Backend(None, "no compiler was there")
        return comparison.Backend(modules[topic])

    monkeypatch.setattr(comparison, "fast_backend", backend)
    result = run_demo(TEXTS["prose"], tmp_path)
    assert result.exit_code == 0
    assert "Only the reference is here" in result.output
    assert "no compiler was there" in result.output
    assert "Reference only" in result.output


def wrong(module, **replaced):
    """A backend that gives wrong answers."""
    names = {name: getattr(module, name) for name in module.__all__}
    return comparison.Backend(types.SimpleNamespace(**(names | replaced)))


class WrongEncoder(reference_bpe.BytePairEncoder):
    def encode(self, text):
        return super().encode(text)[:-1]


class WrongDecoder(reference_bpe.BytePairEncoder):
    def decode_bytes(self, ids):
        return super().decode_bytes(ids) + b"?"


def slightly_wrong(*arrays, **options):
    return reference_attention.scaled_dot_product_attention(*arrays, **options) + np.float32(1e-4)


def wrong_steps(x, **options):
    found = reference_attention.self_attention(x, **options)
    if options.get("return_steps"):
        return found._replace(weights=found.weights * (1 + 1e-9))
    return found


def not_a_number(x, **options):
    found = reference_attention.self_attention(x, **options)
    if options.get("return_steps"):
        return found._replace(context=found.context * np.nan)
    return found * np.nan


@pytest.mark.parametrize(
    ("topic", "replaced", "named"),
    [
        ("bpe", {"split": lambda text, pattern: [text]}, "split"),
        ("bpe", {"train": lambda text, size: [(b"a", b"b")]}, "training"),
        ("bpe", {"BytePairEncoder": WrongEncoder}, "encode"),
        ("bpe", {"BytePairEncoder": WrongDecoder}, "decode"),
        ("attention", {"scaled_dot_product_attention": slightly_wrong}, "scaled dot-product"),
        ("attention", {"self_attention": wrong_steps}, "the worked example"),
        ("attention", {"self_attention": not_a_number}, "self-attention, the known answers"),
    ],
)
def test_demo_fails_and_says_what_disagrees(topic, replaced, named, tmp_path, monkeypatch):
    modules = {"bpe": reference_bpe, "attention": reference_attention}
    backends = {name: comparison.Backend(module) for name, module in modules.items()}
    backends[topic] = wrong(modules[topic], **replaced)
    monkeypatch.setattr(comparison, "fast_backend", backends.__getitem__)
    result = run_demo(TEXTS["prose"], tmp_path)
    assert result.exit_code == 1
    verdict = result.output[result.output.index("DISAGREEMENT") :]
    assert named in " ".join(verdict.split())


def test_close_rejects_other_shapes_dtypes_and_nan():
    zeros = np.zeros(3)
    assert comparison.close(zeros, zeros + 1e-13).holds
    assert not comparison.close(zeros, zeros + 1e-11).holds
    assert not comparison.close(zeros, np.zeros(4)).holds
    assert not comparison.close(zeros, np.zeros(3, np.float32)).holds
    assert not comparison.close(zeros, zeros * np.nan).holds
    assert comparison.close(np.zeros((0, 4)), np.zeros((0, 4))).holds


def test_worked_example_notices_a_number_that_is_not_the_known_one(monkeypatch):
    nothing = comparison.Backend(None)
    assert worked_example.worked_example(nothing).holds
    changed = ((0.43, 0.15, 0.89), *worked_example.INPUTS[1:5], (0.05, 0.80, 0.56))
    monkeypatch.setattr(worked_example, "INPUTS", changed)
    assert not worked_example.worked_example(nothing).holds


def test_read_text_takes_a_prefix_cut_between_two_characters(tmp_path):
    path = tmp_path / "long.txt"
    path.write_bytes("é".encode() * 10)
    source = demo.read_text(path, limit=5)
    assert source.text == "éé"
    assert source.note == "the first 4 of 20 bytes"
    assert demo.read_text(path).note == ""


@pytest.mark.parametrize(
    ("data", "position"), [(b"abc\xff", 3), (b"abcd\xc3", 4), (b"ab\xc3\x28" + b"x" * 10, 2)]
)
def test_read_text_says_where_a_file_is_not_utf8(data, position, tmp_path):
    path = tmp_path / "binary"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"not UTF-8: byte 0x.. at position {position}$"):
        demo.read_text(path, limit=8)


def test_training_sample_is_bounded_where_nothing_repeats():
    assert demo.training_sample("to be or not to be") == "to be or not to be"
    assert len(demo.training_sample("ab" * 100_000)) <= demo.DISTINCT_BYTES


def test_strategies_count_unknown_words_and_what_decoding_loses():
    tokenizer = demo.train_vocabulary("to be  or not", comparison.Backend(None)).tokenizer
    words, characters, pairs = demo.compare_strategies(
        "we know to be  or not and to be", "to be  or not", tokenizer
    )
    assert words.unknown == 2
    assert [token.data for token in words.tokens] == [b"to", b"be", b"or", b"not"]
    assert [token.unknown for token in words.tokens] == [False, False, True, True]
    assert words.lost == "2 unknown words and 1 blank"
    assert characters.lost == pairs.lost == "nothing"
    assert characters.ids == [characters.ids[0], *characters.ids[1:]]
    assert len(characters.ids) == 13


def test_token_vectors_put_tokens_in_like_company_close_together():
    # 0 and 1 stand between 2 and 3 by turns; 4 and 5 keep to themselves.
    ids = np.array([2, 0, 3, 2, 1, 3] * 50 + [4, 5] * 50)
    vectors = demo.token_vectors(ids, 7)
    alike = vectors @ vectors.T / demo.VECTOR_LENGTH**2
    assert alike[0, 1] > alike[0, 4]
    assert np.allclose(np.diag(alike)[:6], 1)
    assert not vectors[6].any()
