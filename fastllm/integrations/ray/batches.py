"""A callable for the pipelines of others: batches with texts in, the same batches with ids out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastllm.checks import lazy_numpy as np
from fastllm.corpus.encoded.marks import add_marks, mark_id
from fastllm.corpus.id_files import id_dtype


class Encode:
    """Adds a column with the ids of the texts in another one.

    What it is called with decides what it gives: a mapping of columns (Ray Data's ``"numpy"``,
    Hugging Face's ``datasets.map(batched=True)``), a table of Arrow or of pandas, or, as Spark's
    ``mapInPandas`` has it, an iterator of tables. Each row's ids are those that `encode_corpus`
    writes for such a document. Where there is no text (None), there are no ids.

    Parameters
    ----------
    tokenizer : tokenizer, or path
        A tokenizer of subwords, or a file that `load_tokenizer` reads, which then must be there on
        each machine.
    column : str
        Where the texts are.
    output : str
        Where the ids go.
    separator, begin : str or int, optional
        A token, or its id, put behind each text, and before each.
    allow_special : bool
        Whether special tokens in a text become their ids. Otherwise they are ordinary text.
    threads : int
        Threads to encode with; pipelines have as many callables as cores.

    Raises
    ------
    KeyError
        If a batch has no such column.
    TypeError
        If what is in the column is not text; if a batch is of another kind.
    ValueError
        If a separator is no token.

    Examples
    --------
    >>> from fastllm import BPETokenizer
    >>> encode = Encode(BPETokenizer.train("low lower", 257), separator=10)
    >>> encode({"text": ["low", "we"]})
    {'text': ['low', 'we'], 'ids': [[256, 119, 10], [119, 101, 10]]}
    """

    def __init__(
        self,
        tokenizer: Any,
        column: str = "text",
        output: str = "ids",
        *,
        separator: str | int | None = None,
        begin: str | int | None = None,
        allow_special: bool = False,
        threads: int = 1,
    ) -> None:
        if isinstance(tokenizer, (str, os.PathLike)):
            from fastllm import load_tokenizer

            tokenizer = load_tokenizer(tokenizer)
        if not hasattr(tokenizer, "encode_batch_to_numpy"):
            raise TypeError(
                "tokenizer must be a tokenizer of subwords or a path, not "
                f"{type(tokenizer).__name__}"
            )
        self._tokenizer, self._column, self._output = tokenizer, column, output
        self._begin = mark_id(begin, tokenizer, "begin")
        self._separator = mark_id(separator, tokenizer, "separator")
        self._specials: dict[str, Any] = (
            {"allowed_special": "all"} if allow_special else {"disallowed_special": ()}
        )
        self._dtype = id_dtype(tokenizer.max_token_value)
        self._threads = threads

    def __call__(self, batch: Any) -> Any:
        """The batch with ids, or all batches of an iterator."""
        if isinstance(batch, Mapping):
            return self._in_columns(batch)
        if hasattr(batch, "append_column"):
            return self._in_arrow(batch)
        if hasattr(batch, "assign"):
            return self._in_pandas(batch)
        if isinstance(batch, Iterator):
            return map(self, batch)
        raise TypeError(
            "a batch must be a mapping of columns, a table of Arrow or pandas, or an iterator of "
            f"these, not {type(batch).__name__}"
        )

    def _in_columns(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        texts = self._found(batch, list(batch))
        ids = self._encoded(texts)
        if not isinstance(texts, np.ndarray):
            rows: Any = [None if row is None else row.tolist() for row in ids]
        else:
            rows = np.empty(len(ids), object)
            rows[:] = ids
        return {**batch, self._output: rows}

    def _in_arrow(self, table: Any) -> Any:
        import pyarrow

        texts = self._found(table, table.column_names).to_pylist()
        kind = pyarrow.list_(pyarrow.from_numpy_dtype(self._dtype.newbyteorder("=")))
        ids = pyarrow.array(self._encoded(texts), kind)
        if self._output in table.column_names:
            table = table.drop_columns(self._output)
        return table.append_column(self._output, ids)

    def _in_pandas(self, table: Any) -> Any:
        texts = [None if text != text else text for text in self._found(table, list(table.columns))]
        column = np.empty(len(texts), object)
        column[:] = self._encoded(texts)
        return table.assign(**{self._output: column})

    def _found(self, batch: Any, names: list[str]) -> Any:
        if self._column not in names:
            known = ", ".join(map(repr, names)) or "none"
            raise KeyError(f"there is no column {self._column!r} in the batch, only {known}")
        return batch[self._column]

    def _encoded(self, texts: Iterable[Any]) -> list[Any]:
        """The ids of each text, as arrays; None where there is none."""
        rows = list(texts)
        for number, text in enumerate(rows):
            if text is not None and not isinstance(text, str):
                raise TypeError(
                    f"column {self._column!r} must hold texts; row {number} is a "
                    f"{type(text).__name__}"
                )
        given = [text for text in rows if text is not None]
        whole = np.ones(len(given), np.bool_)
        ids, offsets = self._tokenizer.encode_batch_to_numpy(
            given, threads=self._threads, dtype=self._dtype, **self._specials
        )
        ids, stops = add_marks(ids, offsets, whole, whole, self._begin, self._separator)
        # Rows of their own: one that stays must not keep all others.
        split = iter([part.copy() for part in np.split(ids, stops[:-1])] if given else [])
        return [None if text is None else next(split) for text in rows]
