"""On a cluster a corpus becomes what it becomes on one machine."""

import re

import pytest
import ray

import fastllm
from fastllm import BPETokenizer
from fastllm.corpus import encode_corpus
from fastllm.integrations import ray as on_ray
from fastllm.integrations.ray import cluster as nodes
from fastllm.integrations.ray import counting

END = "<|end|>"


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "options",
    [
        {"separator": END, "shard_tokens": 9_000},
        {"begin": 0, "split": {"validation": 0.2, "test": 0.1}, "shard_tokens": 5_000},
        {"shuffle": 3, "split": {"validation": 0.2}, "shard_tokens": 5_000},
        {"format": "megatron", "separator": END, "shuffle": 3},
        {"documents": "lines", "shuffle": 5, "split": {"validation": 0.2}, "shard_tokens": 9_000},
        {"format": "parquet", "allow_special": True, "shard_tokens": 20_000},
    ],
    ids=str,
)
def test_the_files_are_those_of_one_machine(
    cluster, small_units, folder, tokenizer, tmp_path, options
):
    made = on_ray.encode_corpus(folder, tokenizer, tmp_path / "many", **options)
    assert made == encode_corpus(folder, tokenizer, tmp_path / "one", **options)
    assert files_in(tmp_path / "many") == files_in(tmp_path / "one")
    assert len(made["shards"]) > 1 or "format" in options
    # What is done is done, for both.
    assert on_ray.encode_corpus(folder, tokenizer, tmp_path / "many", **options) == made
    assert encode_corpus(folder, tokenizer, tmp_path / "many", **options) == made


def test_one_file(cluster, small_units, folder, tokenizer, tmp_path):
    on_ray.encode_corpus(folder, tokenizer, tmp_path / "many.npy")
    encode_corpus(folder, tokenizer, tmp_path / "one.npy")
    for suffix in ("npy", "ends"):
        many, one = (tmp_path / f"{name}.{suffix}" for name in ("many", "one"))
        assert many.read_bytes() == one.read_bytes()


def test_words_are_counted_as_on_one_machine(cluster, small_units, folder, monkeypatch):
    paths = [path for path in sorted(folder.iterdir()) if path.suffix == ".txt"]
    alone = fastllm.count_words(paths, special_tokens=[END])
    told = []
    counts = on_ray.count_words(
        folder / "*.txt", special_tokens=[END], progress=lambda *now: told.append(now)
    )
    assert list(counts.items()) == list(alone.items())
    assert counts.special_tokens == (END,)
    size = sum(path.stat().st_size for path in paths)
    assert told[-1] == (size, size)
    monkeypatch.setattr(counting, "PARTITION_BYTES", 50_000)
    monkeypatch.setattr(counting, "FAN", 2)
    counts = on_ray.count_words(folder / "*.txt", special_tokens=[END], min_count=3)
    assert list(counts.items()) == [(word, n) for word, n in alone.items() if n >= 3]


def test_merges_are_those_of_one_machine(cluster, small_units, folder):
    options = {"vocab_size": 500, "field": "text", "tie_break": "first-seen", "pattern": "cl100k"}
    learned = on_ray.train(folder, special_tokens=[END], **options)
    paths = sorted(folder.iterdir())
    assert learned == BPETokenizer.train_from_files(paths, special_tokens=[END], **options)
    assert len(learned.merges) == 500 - 257


def test_tokens_are_counted(cluster, small_units, folder, tokenizer):
    counts, bad = on_ray.count_tokens(folder, tokenizer)
    assert [path for path, _ in counts] == [str(path) for path in sorted(folder.iterdir())]
    for path, count in counts:
        if path.endswith(".txt"):
            with open(path) as file:
                assert count == tokenizer.count(file.read())
    assert bad == []


def test_a_run_that_was_stopped_goes_on(cluster, small_units, folder, tokenizer, tmp_path):
    def stop(now):
        if now.documents > 100:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        on_ray.encode_corpus(folder, tokenizer, out, progress=stop, separator=END)
    done = {path: path.stat().st_mtime_ns for path in (out / ".cluster").glob("unit*.json")}
    assert len(done) >= 3
    with pytest.raises(ValueError, match="was begun on a cluster: go on there, or begin anew"):
        encode_corpus(folder, tokenizer, out, separator=END)
    with pytest.raises(ValueError, match="begun with another separator: 399, now None"):
        on_ray.encode_corpus(folder, tokenizer, out)

    def none_again(now):
        assert {path: path.stat().st_mtime_ns for path in done} == done

    on_ray.encode_corpus(folder, tokenizer, out, separator=END, progress=none_again)
    encode_corpus(folder, tokenizer, tmp_path / "one", separator=END)
    assert files_in(out) == files_in(tmp_path / "one")


def test_what_fails_is_one_line(cluster, small_units, folder, tokenizer, tmp_path, monkeypatch):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.txt").write_bytes(b"good")
    (bad / "b.txt").write_bytes(b"not \xff good")
    with pytest.raises(ValueError, match=r"^\S*b.txt is not UTF-8: byte 0xFF at position 4; err"):
        on_ray.encode_corpus(bad, tokenizer, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(ValueError, match=r"^\S*b.txt is not UTF-8: byte 0xFF at position 4; err"):
        on_ray.train(bad, 300)
    made = on_ray.encode_corpus(bad, tokenizer, tmp_path / "out", skip_bad=True)
    assert made == encode_corpus(bad, tokenizer, tmp_path / "one", skip_bad=True)
    with pytest.raises(TypeError, match="encode_corpus on a cluster takes no 'threads'"):
        on_ray.encode_corpus(bad, tokenizer, tmp_path / "out", threads=2)


def test_lines_have_their_numbers_in_the_whole_file(
    cluster, small_units, folder, tokenizer, tmp_path
):
    lines = (folder / "a.jsonl").read_bytes().splitlines(keepends=True)
    for number in (30, 31, 90, 180):
        lines[number] = b'{"text": 3}\n'
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"".join(lines))
    made = on_ray.encode_corpus(path, tokenizer, tmp_path / "many", skip_bad=True, shuffle=1)
    assert made == encode_corpus(path, tokenizer, tmp_path / "one", skip_bad=True, shuffle=1)
    assert files_in(tmp_path / "many") == files_in(tmp_path / "one")
    assert made["bad"][3] == f"{path}, line 181 has no text in field 'text' but a int"
    _, bad = on_ray.count_tokens(path, tokenizer, skip_bad=True)
    assert bad == made["bad"]
    lines[30] = lines[31] = b"\n"
    path.write_bytes(b"".join(lines))
    for run in (
        lambda: on_ray.encode_corpus(path, tokenizer, tmp_path / "out"),
        lambda: on_ray.count_tokens(path, tokenizer),
    ):
        with pytest.raises(ValueError, match=r"bad.jsonl, line 91 has no text in field 'text'"):
            run()
    with pytest.raises(ValueError, match=r"bad.jsonl, line (91|181) has no text|, line (91|181)"):
        on_ray.train(path, 300, field="text")


def test_lines_of_texts_are_counted(cluster, small_units, folder):
    counts = on_ray.count_words(folder / "*.txt", documents="lines")
    paths = sorted(folder.glob("*.txt"))
    assert list(counts.items()) == list(fastllm.count_words(paths, documents="lines").items())
    assert on_ray.count_words(f"file://{paths[0]}") == fastllm.count_words(paths[0])
    path = folder / "a.jsonl"
    alone = fastllm.count_words(path, field="text")
    assert list(on_ray.count_words(path, field="text").items()) == list(alone.items())


def test_nodes_must_have_the_same_fastllm(cluster, folder, tokenizer, tmp_path, monkeypatch):
    build = nodes.build()
    monkeypatch.setattr(nodes, "build", lambda: "9.9 (0123abcd)")
    message = f"has fastllm {re.escape(build)}, this machine 9.9 .0123abcd.: the same must be"
    with pytest.raises(ValueError, match=message):
        on_ray.encode_corpus(folder, tokenizer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nodes_must_see_the_files(cluster, folder, tokenizer, tmp_path, monkeypatch):
    other = nodes.Here("1", "/")
    with pytest.raises(ValueError, match=r"has fastllm .*, the driver 1:"), nodes.as_on(other):
        pass
    with pytest.raises(
        ValueError, match=r"node \S+ does not see gone.txt: all nodes need the same"
    ):
        nodes.check_seen([("gone.txt", 3)])
    path = tmp_path / "a.txt"
    path.write_text("other")
    with pytest.raises(ValueError, match=r"sees \S*a.txt with 5 bytes, the driver with 3: all"):
        nodes.check_seen([(str(path), 3)])
    with pytest.raises(ValueError, match=r"node \S+ does not see \S*missing: all nodes need"):
        nodes.once(tmp_path / "missing" / "mark.json", None)


def test_ray_data_encodes(cluster, tokenizer):
    texts = ["low", "", f"a{END}b"] * 5
    data = ray.data.from_items([{"text": text} for text in texts])
    rows = data.map_batches(on_ray.Encode, fn_constructor_args=[tokenizer], concurrency=1)
    found = [list(row["ids"]) for row in rows.take_all()]
    assert found == [tokenizer.encode(text, disallowed_special=()) for text in texts]
