"""How the chapters of `fastllm demo` look on a terminal, in a pipe, in 40 columns, in no colour."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from fastllm.cli.tables import MISSING, shown_token, shown_tokens, weights_table
from fastllm.explain import comparison, demo
from fastllm.explain.formatting import seconds, text_of, times
from fastllm.explain.strategies import Strategy, Token
from fastllm.explain.worked_example import INPUTS, QUERY, WORDS, WorkedExample, worked_example
from fastllm.tokenizers.string_tokenizer import UNKNOWN


def show_demo(console: Console, source: demo.Source) -> bool:
    """Run the demo chapter by chapter; whether both backends agreed on everything."""
    bpe, attention = comparison.fast_backend("bpe"), comparison.fast_backend("attention")
    _show_source(console, source, bpe, attention)

    with _working(console, "training on both backends"):
        training = demo.train_vocabulary(source.text, bpe)
    passage = demo.passage_of(source.text)
    with _working(console, "comparing strategies"):
        strategies = demo.compare_strategies(source.text, passage, training.tokenizer)
    _show_strategies(console, passage, strategies)
    _show_training(console, training)
    trip = demo.round_trip(source.text, training.tokenizer)
    _show_round_trip(console, trip)

    with _working(console, "compiling the attention kernels (once, not timed)"):
        example = worked_example(attention)
    _show_worked_example(console, example)
    with _working(console, "attending over the text"):
        over_text = demo.attend_over_text(source.text, passage, training.tokenizer, attention)
    _show_text_attention(console, over_text)

    with _working(console, "timing both backends on the same work"):
        rows = list(demo.compare_backends(source.text, training, bpe, attention))
    _show_comparisons(console, rows)

    wrong = comparison.disagreements(
        [
            ("training", training.agreement),
            ("the worked example", example.agreement),
            ("attention over the text", over_text.agreement),
            *((row.operation, row.agreement) for row in rows),
        ]
    )
    if not trip.comes_back:
        wrong.append("decoding (the text did not come back)")
    if not example.holds:
        wrong.append("the known answers of the worked example")
    return _show_verdict(console, wrong, bpe, attention)


def _working(console: Console, what: str) -> Any:
    """A spinner while something slow runs; nothing at all where there is no terminal."""
    return console.status(f"{what} ...")


def _chapter(console: Console, title: str, explanation: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Text(explanation, style="dim"))


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        # Figures are never broken in two; on a narrow terminal the words beside them are.
        figures = column in right
        justify: JustifyMethod = "right" if figures else "left"
        table.add_column(column, justify=justify, no_wrap=figures, overflow="fold")
    return table


def _show_source(
    console: Console, source: demo.Source, bpe: comparison.Backend, attention: comparison.Backend
) -> None:
    note = f" ({source.note})" if source.note else ""
    size = f"{len(source.text):,} characters, {len(source.text.encode()):,} bytes"
    console.print(Text(f"Text: {source.name}{note}: {size}"))
    for topic, backend in (("byte-pair encoding", bpe), ("attention", attention)):
        if backend.module is None:
            reason = f"Only the reference is here for {topic}: {backend.missing}"
            console.print(Text(reason, style="yellow"))


def _show_strategies(console: Console, passage: str, strategies: Sequence[Strategy]) -> None:
    _chapter(
        console,
        "Three strategies on one passage",
        "White space is shown as · and ↵. Words the rest of the text does not hold are unknown.",
    )
    console.print(Text(shown_token(passage)), "", sep="\n")
    table = _table(
        "strategy", "tokens", "vocabulary", "lost by decoding", right=("tokens", "vocabulary")
    )
    for strategy in strategies:
        table.add_row(
            strategy.name, f"{len(strategy.ids):,}", f"{strategy.vocab_size:,}", strategy.lost
        )
    console.print(table)
    for strategy in strategies:
        console.print()
        console.print(Text(strategy.name, style="bold"))
        console.print(
            shown_tokens(_token_names(strategy.tokens[:24])), Text(_more(strategy.tokens, 24))
        )
        console.print(Text(" ".join(map(str, strategy.ids[:24])) + _more(strategy.ids, 24)))


def _token_names(tokens: Sequence[Token]) -> list[str]:
    return [UNKNOWN if token.unknown else text_of(token.data) for token in tokens]


def _more(things: Sequence[object], shown: int) -> str:
    return f" ... and {len(things) - shown} more" if len(things) > shown else ""


def _show_training(console: Console, training: demo.Training) -> None:
    _chapter(
        console,
        "A byte-pair vocabulary learned from the text",
        f"{len(training.merges)} merges from {len(training.text.encode()):,} bytes, "
        f"up to {demo.VOCAB_SIZE} tokens. The most frequent pair is merged first:",
    )
    shown = [
        f"{shown_token(text_of(left))} + {shown_token(text_of(right))}"
        for left, right in training.merges[:16]
    ]
    console.print(Text("   ".join(shown) + _more(training.merges, 16)))
    if training.warning:
        console.print(Text(training.warning, style="yellow"))
    if training.agreement is not None:
        same = "the same merges in the same order" if training.agreement.holds else "OTHER MERGES"
        console.print(Text(f"Both backends learned {same}."))


def _show_round_trip(console: Console, trip: demo.RoundTrip) -> None:
    verdict = "byte for byte" if trip.comes_back else "CHANGED"
    console.print(
        Text(
            f"Encoded, the text is {trip.ids:,} ids"
            + (f" ({trip.text_bytes / trip.ids:.2f} bytes each)" if trip.ids else "")
            + f"; decoded, it comes back {verdict}."
        )
    )


def _show_worked_example(console: Console, example: WorkedExample) -> None:
    _chapter(
        console,
        "Self-attention, worked by hand",
        "Three numbers for each word. How alike are two words? Multiply their numbers, add up. "
        f"Shown for {WORDS[QUERY]}; the context vectors are those of every word.",
    )
    steps = example.steps
    columns: dict[str, Sequence[str]] = {
        "word": WORDS,
        "vector": [_numbers(vector, 2) for vector in INPUTS],
        "score": [_numbers([score]) for score in steps.scores[QUERY]],
        "exp": [_numbers([exponential]) for exponential in steps.exponentials[QUERY]],
        "weight": [_numbers([weight]) for weight in steps.weights[QUERY]],
        "context": [_numbers(context) for context in steps.context],
    }
    # Six columns take 74 characters; a narrower terminal gets several tables.
    names = list(columns)
    parts = (
        [names] if console.width >= 74 else [names[:3], ["word", *names[3:5]], ["word", "context"]]
    )
    for part in parts:
        table = _table(*part)
        for cells in zip(*(columns[name] for name in part), strict=True):
            table.add_row(*cells)
        console.print(table)
    products = " + ".join(
        f"{a:.2f}*{b:.2f}" for a, b in zip(INPUTS[QUERY], INPUTS[QUERY + 1], strict=True)
    )
    console.print(
        Text(
            f"score: {products} = {steps.scores[QUERY][QUERY + 1]:.4f}\n"
            f"exp: e to the score less the largest score, {steps.scores[QUERY].max():.4f}\n"
            f"weight: exp over the row's sum, {steps.row_sums[QUERY]:.4f}; weights add up to 1\n"
            "context: each word's own weights times the six vectors, added up"
        )
    )
    errors = f"reference {example.reference_error:.1e}"
    if example.fast_error is not None:
        errors += f", fast {example.fast_error:.1e}"
    verdict = "Equal to" if example.holds else "NOT EQUAL to"
    console.print(Text(f"{verdict} the known answers to four decimals (differences: {errors})."))


def _numbers(row: Iterable[float], digits: int = 4) -> str:
    return " ".join(f"{number:.{digits}f}" for number in row)


def _show_text_attention(console: Console, attention: demo.TextAttention) -> None:
    _chapter(
        console,
        "Attention between tokens of the text",
        "Each token's vector says which tokens stand near it in this text: counted, not learned. "
        "Rows attend to columns, in percent.",
    )
    if attention.tokens:
        console.print(weights_table(attention.tokens, attention.weights))
    else:
        console.print(Text("The text has no tokens."))


def _show_comparisons(console: Console, rows: Sequence[comparison.Comparison]) -> None:
    _chapter(
        console,
        "Reference against fast, on the same work",
        f"The reference ran once. Fast is the median of {comparison.FAST_RUNS} runs after one to "
        "warm up (kernels compiled, words cached); compilation is not timed.",
    )
    names = ("reference", "fast", "ratio", "agreement")
    table = _table("operation", *names, right=names[:3])
    for row in rows:
        cells = _cells(row)
        table.add_row(Text.assemble(row.operation, "\n", (row.work, "dim")), *cells)
        if console.width < 72:  # too narrow for five columns
            console.print(Text.assemble((row.operation, "bold"), f" ({row.work}):"))
            for name, cell in zip(names, cells, strict=True):
                console.print(Text.assemble(f"  {name:<10} ", cell))
    if console.width >= 72:
        console.print(table)


def _cells(row: comparison.Comparison) -> list[Text]:
    """What the closing table says of one operation."""
    if row.fast_seconds is None or row.ratio is None or row.agreement is None:
        return [Text(cell) for cell in (seconds(row.reference_seconds), *[MISSING] * 3)]
    agreement = Text(row.agreement.how, style="green" if row.agreement.holds else "bold red")
    figures = (seconds(row.reference_seconds), seconds(row.fast_seconds), times(row.ratio))
    return [*map(Text, figures), agreement]


def _show_verdict(
    console: Console, wrong: Sequence[str], bpe: comparison.Backend, attention: comparison.Backend
) -> bool:
    console.print()
    if wrong:
        console.print(Text(f"DISAGREEMENT: {', '.join(wrong)}.", style="bold red"))
        return False
    missing = [
        topic
        for topic, backend in (("byte-pair encoding", bpe), ("attention", attention))
        if backend.module is None
    ]
    if missing:
        console.print(Text(f"Reference only: nothing to compare {' and '.join(missing)} with."))
    else:
        console.print(Text("Both backends agree on everything above.", style="green"))
    return True
