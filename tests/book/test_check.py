"""`fastllm check-book`: that every fact is computed, and that it notices what is wrong."""

import hashlib
import types

import numpy as np
import pytest
from typer.testing import CliRunner
from vocabularies import gpt2_folder

from fastllm.book import check, sections
from fastllm.book.facts import facts
from fastllm.cli.check_book import find_backends
from fastllm.cli.commands import app
from fastllm.explain import comparison
from fastllm.reference import attention as reference_attention
from fastllm.reference import tokenization as reference_bpe
from fastllm.vocabularies import published_files
from fastllm.vocabularies.published_files import PublishedFile

ANOTHER_STORY = (
    '"It\'s the last he painted, you know," Mrs. Gisburn said with pardonable pride. '
    "Jack embraced beauty through art and life." + sections.OPENING * 9
)


@pytest.fixture(autouse=True)
def vocabulary(monkeypatch, tmp_path):
    """GPT-2's vocabulary at hand, but no story: no network, and another cache than the user's."""

    def no_network(name, file):
        raise FileNotFoundError(file.url)

    monkeypatch.setenv("FASTLLM_VOCAB_DIR", str(gpt2_folder()))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "folder"))
    monkeypatch.setattr(published_files, "user_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(published_files, "_download", no_network)


def run(*options, **environment):
    result = CliRunner().invoke(app, ["check-book", *options], env=environment)
    return result.exit_code, " ".join(result.stdout.split()), result


def test_every_section_has_facts_and_the_other_way_round():
    assert set(sections.SECTIONS) == set(facts())


@pytest.mark.parametrize("backend", find_backends()[0], ids=lambda backend: backend.name)
def test_every_fact_is_reproduced(backend):
    rows = list(check.check([backend]))
    assert len(rows) == sum(map(len, facts().values()))
    for row in rows:
        assert sections.VOCABULARY not in row.missing, row
        assert row.missing or row.agreeing == [backend.name], row


def test_what_a_section_computes_is_what_it_has_facts_for():
    material = sections.Material(sections.Backend("reference", reference_bpe, reference_attention))
    for name, section in sections.SECTIONS.items():
        if not section.needs:
            assert set(section.compute(material)) == set(facts()[name])


def test_facts_are_the_printed_ones_to_more_digits():
    weights = facts()["3.3.1"]["weights by softmax"]
    assert np.round(weights, 4).tolist() == [0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581]
    assert sum(weights) == pytest.approx(1, abs=1e-15)


def test_command_reproduces_all_that_needs_no_story():
    code, text, _ = run()
    assert code == 0
    assert "15 not checked for want of the-verdict.txt" in text
    assert "7 not checked for want of an untrained GPT-2: --gpt makes two" in text
    assert "58 of 78 facts reproduced on" in text


def test_command_shows_all_numbers():
    code, text, result = run("--numbers")
    assert code == 0
    assert "3.6.2 MultiHeadAttention 6x2: " in text
    assert "0.2575 0.4028\n" in result.stdout
    assert "reference:" not in text  # what was computed shows the same digits


def test_command_notices_numbers_that_are_wrong(monkeypatch):
    def attend(query, key, value, **options):
        right = reference_attention.scaled_dot_product_attention(query, key, value, **options)
        return right + 1e-4

    wrong = types.SimpleNamespace(
        **{name: getattr(reference_attention, name) for name in ("softmax", "self_attention")},
        scaled_dot_product_attention=attend,
    )
    monkeypatch.setattr(
        comparison,
        "fast_backend",
        lambda topic: comparison.Backend(wrong if topic == "attention" else reference_bpe),
    )
    code, text, result = run()
    assert code == 1
    assert "NO: fast" in text
    assert (
        "DIFFERENT FROM THE BOOK: 3.4.2 SelfAttention_v1, seed 123, 3.4.2 SelfAttention_v2" in text
    )
    assert "3.3.2" not in text.partition("DIFFERENT")[2]
    _, _, result = run("--numbers")
    assert "fast:\n" in result.stdout


def test_command_notices_a_story_that_is_another(tmp_path):
    story = tmp_path / "the-verdict.txt"
    story.write_text(ANOTHER_STORY)
    code, text, _ = run("--story", str(story))
    assert code == 1
    assert "DIFFERENT FROM THE BOOK: 2.2 characters of the story" in text
    assert "for want of the-verdict.txt" not in text


def test_command_finds_the_story_where_vocabularies_are(monkeypatch, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "the-verdict.txt").write_text(ANOTHER_STORY)
    code, _, result = run()
    assert code == 1
    assert "is not the-verdict.txt as published at https://raw.github" in result.stderr
    digest = hashlib.sha256(ANOTHER_STORY.encode()).hexdigest()
    monkeypatch.setattr(check, "STORY_FILE", PublishedFile("https://x.org/the-verdict.txt", digest))
    code, text, _ = run()
    assert code == 1
    assert "DIFFERENT FROM THE BOOK: 2.2 characters of the story" in text


def test_command_without_the_compiled_backend(monkeypatch):
    monkeypatch.setattr(
        comparison, "fast_backend", lambda topic: comparison.Backend(None, "not built")
    )
    code, text, _ = run()
    assert code == 0
    assert "The reference alone was checked: not built." in text
    assert "reproduced on the reference." in text


def test_command_without_the_vocabulary(monkeypatch):
    def missing(name):
        raise FileNotFoundError(name)

    monkeypatch.setattr("fastllm.vocabularies.published.read_ranks", missing)
    code, text, _ = run()
    assert code == 0
    assert "14 not checked for want of the vocabulary of GPT-2: put encoder.json" in text


def test_command_says_which_story_is_not_there(tmp_path):
    code, _, result = run("--story", str(tmp_path / "nowhere.txt"))
    assert code == 1
    assert "nowhere.txt: No such file or directory" in result.stderr


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_command_keeps_within_the_terminal(columns):
    code, _, result = run(COLUMNS=columns)
    assert code == 0
    assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_command_makes_the_untrained_model_of_the_right_shape(monkeypatch, tmp_path):
    small = {**sections.GPT_CONFIG_124M, "emb_dim": 2, "n_heads": 1, "n_layers": 1}
    monkeypatch.setattr(sections, "GPT_CONFIG_124M", small)  # says other words than the book's
    story = tmp_path / "the-verdict.txt"
    story.write_text(
        '"It\'s the last he painted, you know," Mrs. Gisburn said with pardonable pride. '
        "Jack embraced beauty through art and life." + sections.OPENING * 50
    )
    code, text, _ = run("--gpt", "--story", str(story))
    assert code == 1
    different = text.partition("DIFFERENT FROM THE BOOK: ")[2]
    assert "4.7 ids after" in different
    assert "5.1 perplexity" in different
    assert "untrained" not in text
