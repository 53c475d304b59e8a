"""SentencePiece's .model files: pieces with scores, and how text is normalized.

They are read by a reader of our own, of the few fields that matter: the official one is a package
of compiled code that knows no more of them than these pages, and whose classes would have to be
taken apart again. What is read is kept as it was, and written back byte by byte."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastllm.api.models import SentencePieces
from fastllm.formats import protobuf
from fastllm.formats.source_file import SourceFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE, WORD, CHAR = range(1, 5)
ALGORITHMS = {UNIGRAM: "unigram", BPE: "bpe", WORD: "words", CHAR: "characters"}

# What the schema says: the number of a field, its name here, how it is written, its default.
Schema = dict[int, tuple[str, int, Any]]
PIECE: Schema = {
    1: ("text", protobuf.BYTES, b""),
    2: ("score", protobuf.FOUR_BYTES, 0.0),
    3: ("kind", protobuf.VARINT, NORMAL),
}
TRAINER: Schema = {
    3: ("model_type", protobuf.VARINT, UNIGRAM),
    24: ("treat_whitespace_as_suffix", protobuf.VARINT, False),
    35: ("byte_fallback", protobuf.VARINT, False),
    44: ("unk_surface", protobuf.BYTES, " \u2047 ".encode()),
    45: ("unk_piece", protobuf.BYTES, b"<unk>"),
    46: ("bos_piece", protobuf.BYTES, b"<s>"),
    47: ("eos_piece", protobuf.BYTES, b"</s>"),
    48: ("pad_piece", protobuf.BYTES, b"<pad>"),
}
NORMALIZER: Schema = {
    1: ("name", protobuf.BYTES, b""),
    2: ("charsmap", protobuf.BYTES, b""),
    3: ("add_dummy_prefix", protobuf.VARINT, True),
    4: ("remove_extra_whitespaces", protobuf.VARINT, True),
    5: ("escape_whitespaces", protobuf.VARINT, True),
}
# Enumerations: a number that the schema does not list is as good as none.
LISTED = {"kind": range(NORMAL, BYTE + 1), "model_type": range(UNIGRAM, CHAR + 1)}


class SentencePiece(NamedTuple):
    """A piece: its text, its score, and what kind of piece it is."""

    text: str
    score: float = 0.0
    kind: int = NORMAL


class NormalizerSpec(NamedTuple):
    """How text is normalized.

    Attributes
    ----------
    name : str
        What the rules are called, such as "nmt_nfkc".
    charsmap : bytes
        What is replaced by what; nothing, if empty.
    add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces : bool
        Whether a blank is put before the text, blanks in a row become one and those at the ends
        none, and whether blanks are written "▁".
    """

    name: str = ""
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True


class SentencePieceModel(NamedTuple):
    """What a .model file says; the id of a piece is its place.

    Attributes
    ----------
    pieces : tuple of SentencePiece
    model_type : int
        ``UNIGRAM``, ``BPE``, ``WORD`` or ``CHAR``.
    byte_fallback : bool
    treat_whitespace_as_suffix : bool
        Whether the blank is put behind the text, not before it.
    unk_surface : str
        What an unknown token is decoded as.
    normalizer : NormalizerSpec
    denormalizer : NormalizerSpec, optional
        What is done to decoded text.
    source : bytes
        The file as it was read; nothing if it was not.
    """

    pieces: tuple[SentencePiece, ...]
    model_type: int = UNIGRAM
    byte_fallback: bool = False
    treat_whitespace_as_suffix: bool = False
    unk_surface: str = " \u2047 "
    normalizer: NormalizerSpec = NormalizerSpec()
    denormalizer: NormalizerSpec | None = None
    source: bytes = b""


def is_model(file: SourceFile) -> bool:
    """Whether a file is a SentencePiece model: it begins with a piece."""
    return file.data[:1] == b"\n" and ".model" in file.path.name


def read_file(file: SourceFile) -> dict[str, Any]:
    """What a .model file says, as the argument of `SentencePieceTokenizer`."""
    parse(file.data)
    return {"data": file.data}


def parse(data: bytes) -> SentencePieceModel:
    """What the bytes of a .model file say.

    Raises
    ------
    ValueError
        If they are no such file, or it holds what SentencePiece itself refuses.
    """
    pieces: list[SentencePiece] = []
    specs: dict[int, list[bytes]] = {2: [], 3: [], 5: []}
    try:
        for number, kind, value in protobuf.fields(data):
            if kind == protobuf.BYTES and isinstance(value, bytes):
                if number == 1:
                    pieces.append(SentencePiece(**_message([value], PIECE)))
                elif number in specs:
                    specs[number].append(value)
        trainer = _message(specs[2], TRAINER)
        normalizer = NormalizerSpec(**_message(specs[3], NORMALIZER))
        denormalizer = NormalizerSpec(**_message(specs[5], NORMALIZER)) if specs[5] else None
    except ValueError as error:
        raise ValueError(f"this is no SentencePiece model: {error}") from None
    model = SentencePieceModel(
        tuple(pieces),
        model_type=trainer["model_type"],
        byte_fallback=trainer["byte_fallback"],
        treat_whitespace_as_suffix=trainer["treat_whitespace_as_suffix"],
        unk_surface=trainer["unk_surface"],
        normalizer=normalizer,
        denormalizer=denormalizer,
        source=data,
    )
    _check(model)
    return model


def _message(parts: list[bytes], schema: Schema) -> dict[str, Any]:
    """The fields of a message by name. Of one that comes twice, the last is taken."""
    found = {name: _decoded(default, name) for name, _, default in schema.values()}
    for part in parts:
        for number, kind, value in protobuf.fields(part):
            name, written, default = schema.get(number, ("", -1, None))
            if kind != written:
                continue
            if isinstance(default, bool):
                found[name] = bool(value)
            elif isinstance(default, float):
                assert isinstance(value, bytes)
                found[name] = protobuf.float_of(value)
            elif name not in LISTED or value in LISTED[name]:
                found[name] = _decoded(value, name)
    return found


def _decoded(value: Any, name: str) -> Any:
    """Bytes as text, but for those that are none."""
    if not isinstance(value, bytes) or name == "charsmap":
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is {value[:20]!r}, which is not UTF-8") from None


def _check(model: SentencePieceModel) -> None:
    """Refuse what SentencePiece refuses to load."""
    if not model.pieces:
        raise ValueError("this is no SentencePiece model: it has no pieces")
    seen: set[tuple[bool, str]] = set()
    for place, piece in enumerate(model.pieces):
        if not piece.text or "\0" in piece.text:
            raise ValueError(f"piece {place} is {piece.text!r}")
        of_text = model.model_type == BPE or piece.kind in (NORMAL, USER_DEFINED, UNUSED)
        if (of_text, piece.text) in seen:
            raise ValueError(f"piece {place}, {piece.text!r}, is there twice")
        seen.add((of_text, piece.text))
        if not -3.5e38 < piece.score < 3.5e38:
            raise ValueError(f"piece {place}, {piece.text!r}, has the score {piece.score}")
    unknown = [piece for piece in model.pieces if piece.kind == UNKNOWN]
    if len(unknown) > 1 or not (unknown or model.byte_fallback):
        raise ValueError(f"{len(unknown)} pieces are of the kind unknown; it should be one")
    _check_bytes(model)


def _check_bytes(model: SentencePieceModel) -> None:
    """Pieces that stand for bytes are all there, or none is."""
    found = {piece.text for piece in model.pieces if piece.kind == BYTE}
    wanted = {f"<0x{byte:02X}>" for byte in range(256)} if model.byte_fallback else set()
    if found != wanted:
        some = sorted(found ^ wanted)[0]
        there = "is there" if some in found else "is missing"
        raise ValueError(f"byte_fallback is {model.byte_fallback}, but the piece {some!r} {there}")


def written(model: SentencePieceModel) -> bytes:
    """A model as the content of a .model file: as it was read, if it was."""
    if model.source:
        return model.source
    pieces = [_written_fields(piece._asdict(), PIECE) for piece in model.pieces]
    parts = [protobuf.write_field(1, protobuf.BYTES, piece) for piece in pieces]
    for number, values, schema in (
        (2, model._asdict(), TRAINER),
        (3, model.normalizer._asdict(), NORMALIZER),
        (5, model.denormalizer._asdict() if model.denormalizer else None, NORMALIZER),
    ):
        if values is not None:
            spec = _written_fields(values, schema)
            parts.append(protobuf.write_field(number, protobuf.BYTES, spec))
    return b"".join(parts)


def _written_fields(values: dict[str, Any], schema: Schema) -> bytes:
    """A message of what there is of a schema's fields."""
    parts = []
    for number, (name, kind, _) in schema.items():
        if name in values:
            value = values[name]
            if isinstance(value, str):
                value = value.encode()
            elif kind == protobuf.FOUR_BYTES:
                value = protobuf.bytes_of(value)
            parts.append(protobuf.write_field(number, kind, value))
    return b"".join(parts)


def pieces_of(model: SentencePieceModel) -> SentencePieces:
    """The pieces of a model, as an encoder takes them."""

    def of_kind(*kinds: int) -> frozenset[int]:
        return frozenset(i for i, piece in enumerate(model.pieces) if piece.kind in kinds)

    return SentencePieces(
        [(piece.text, piece.score) for piece in model.pieces],
        algorithm=ALGORITHMS[model.model_type],
        unknown=next(iter(of_kind(UNKNOWN)), None),
        byte_fallback=model.byte_fallback,
        user_defined=of_kind(USER_DEFINED),
        unused=of_kind(UNUSED),
        no_text=of_kind(UNKNOWN, CONTROL, BYTE),
    )
