"""Things that are what their fields say."""

from typing import Any


class Record:
    """Compared, hashed and shown by its fields, which are set once, by `_set`.

    (`dataclasses` does this as well; importing it takes as long as a third of this package.)

    >>> class Point(Record):
    ...     def __init__(self, x: int, y: int = 0) -> None:
    ...         self._set(x=x, y=y)
    >>> Point(1), Point(1) == Point(1, 0), Point(1) == Point(2)
    (Point(x=1, y=0), True, False)
    """

    _names: tuple[str, ...] = ()

    def _set(self, **fields: Any) -> None:
        object.__setattr__(self, "_names", tuple(fields))
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._names)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return {name: getattr(self, name) for name in self._names}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change once made")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash((type(self), self._fields))

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({', '.join(shown)})"
