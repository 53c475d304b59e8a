"""Fields of parsed JSON, checked for their form; messages name the component and the field."""

from typing import Any

Json = dict[str, Any]


def section_of(value: object, where: str, **known: Any) -> Json:
    """The fields of an object, with the default of those that are missing; no others."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shown(value)}, not an object")
    for field in value:
        if field not in known and field != "type":
            raise ValueError(f"{where} has {field!r}, which is not supported")
    return known | value


def require(section: Json, where: str, field: str, *values: Any) -> None:
    """Refuse any value of a field but the given ones."""
    found = section[field]
    # True is 1 to Python, but not to the library of the format.
    if not any(
        found == value and isinstance(found, bool) == isinstance(value, bool) for value in values
    ):
        raise ValueError(f"{where} with {field} {shown(found)} is not supported")


def shown(value: object) -> str:
    """A value as messages show it: short."""
    if isinstance(value, dict):
        return f"an object of type {value['type']!r}" if "type" in value else "an object"
    text = repr(value)
    return text if len(text) <= 40 else text[:36] + " ..."


def kind_of(value: object, where: str) -> str:
    """The type that a component names."""
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"{where} is {shown(value)}, not an object with a type")
    return kind


def members_of(value: Json, field: str, where: str) -> list[Any]:
    """The components of a Sequence."""
    members = section_of(value, where, **{field: None})[field]
    if not isinstance(members, list):
        raise ValueError(f"{where} has no list of {field}")
    for member in members:
        kind_of(member, f"{where} member")
    return members


def untyped(value: object, where: str, **known: Any) -> Json:
    """The fields of an object that has no type."""
    if isinstance(value, dict) and "type" in value:
        raise ValueError(f"{where} has 'type', which is not supported")
    return section_of(value, where, **known)


def flags(value: object, where: str, *names: str) -> Json:
    """A section whose fields all say True or False."""
    section = section_of(value, where, **dict.fromkeys(names))
    for name in names:
        require_flag(section, where, name)
    return section


def require_flag(section: Json, where: str, field: str) -> None:
    if type(section[field]) is not bool:
        raise ValueError(f"{where} has {field} {shown(section[field])}, not true or false")


def require_count(section: Json, where: str, field: str) -> None:
    if type(section[field]) is not int or not 0 <= section[field] < 2**32:
        raise ValueError(f"{where} has {field} {shown(section[field])}, not a number")


def character_of(section: Json, field: str, where: str) -> str:
    """A field that is one character."""
    character = text_of(section, field, where)
    if len(character) != 1:
        raise ValueError(f"{where} has {field} {shown(character)}, not one character")
    return character


def text_of(section: Json, field: str, where: str) -> str:
    """A field that is a text."""
    if not isinstance(section[field], str):
        raise ValueError(f"{where} has {field} {shown(section[field])}, not a text")
    text: str = section[field]
    return text
