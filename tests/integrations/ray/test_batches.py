"""`Encode` in the pipelines of others."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fastllm.integrations.ray import Encode

END = "<|end|>"
TEXTS = ["low lower", "", None, f"a{END}b naïve"]


@pytest.fixture(scope="module")
def ids(tokenizer):
    rows = [
        None if text is None else tokenizer.encode(text, disallowed_special=()) for text in TEXTS
    ]
    return [None if row is None else [3, *row, 399] for row in rows]


@pytest.fixture(scope="module")
def encode(tokenizer):
    return Encode(tokenizer, separator=END, begin=3)


def listed(column):
    return [None if row is None else list(row) for row in column]


def test_batches_of_all_kinds(encode, ids):
    assert encode({"n": [1, 2, 3, 4], "text": TEXTS}) == {
        "n": [1, 2, 3, 4],
        "text": TEXTS,
        "ids": ids,
    }
    arrays = encode({"text": np.array(TEXTS, object)})
    assert listed(arrays["ids"]) == ids
    assert arrays["ids"][0].dtype == np.uint16
    table = encode(pa.table({"text": TEXTS, "ids": [1, 2, 3, 4]}))
    assert table["ids"].to_pylist() == ids
    assert table["ids"].type == pa.list_(pa.uint16())
    frame = pd.DataFrame({"text": TEXTS})
    assert listed(encode(frame)["ids"]) == ids
    assert list(frame.columns) == ["text"]
    frames = list(encode(iter([frame, frame[:0], frame[1:3]])))
    assert [listed(each["ids"]) for each in frames] == [ids, [], ids[1:3]]
    assert encode({"text": []}) == {"text": [], "ids": []}


def test_datasets_map(tokenizer, encode, ids):
    data = datasets.Dataset.from_dict({"text": TEXTS})
    assert data.map(encode, batched=True, batch_size=3)["ids"][:] == ids


def test_a_path_and_special_tokens(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tok.json")
    encode = Encode(tmp_path / "tok.json", "body", "tokens", allow_special=True)
    assert encode({"body": [f"a{END}"]})["tokens"] == [[97, 399]]


def test_errors(tokenizer, encode):
    with pytest.raises(KeyError, match="there is no column 'text' in the batch, only 'body'"):
        encode({"body": ["a"]})
    with pytest.raises(TypeError, match="column 'text' must hold texts; row 1 is a int"):
        encode({"text": ["a", 3]})
    with pytest.raises(TypeError, match=r"a batch must be a mapping of columns, .*, not list"):
        encode(["a"])
    with pytest.raises(TypeError, match="tokenizer must be a tokenizer of subwords or a path, not"):
        Encode(3)
    with pytest.raises(ValueError, match="separator '<s>' is no token"):
        Encode(tokenizer, separator="<s>")
