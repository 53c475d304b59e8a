"""Names, signatures and commands stay as they are stored, see `public_surface`."""

import json
from importlib.util import find_spec

import pytest
from backends.fast import public_surface
from backends.fast.public_surface import INTEGRATIONS, MODULES

STORED = json.loads(public_surface.STORED.read_text("utf-8"))


@pytest.mark.parametrize(
    "name", [*MODULES, *(m for m, lib in INTEGRATIONS.items() if find_spec(lib))]
)
def test_names_and_signatures_stay(name):
    assert public_surface.surface(name) == STORED[name]


def test_commands_and_options_stay():
    assert public_surface.commands() == STORED["cli"]
