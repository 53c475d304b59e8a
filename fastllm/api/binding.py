"""Public functions, bound to the engine of one backend."""

import importlib
from typing import Any, Generic, TypeVar

Engine = TypeVar("Engine")


class PublicFunctions(Generic[Engine]):
    """Functions that check their arguments and call an engine.

    Parameters
    ----------
    module : str
        The module that holds this object as ``FUNCTIONS``: pickled functions are found there.
    engine
        What computes.
    """

    def __init__(self, module: str, engine: Engine) -> None:
        self._module = module
        self._engine = engine

    def __reduce__(self) -> Any:
        return _functions_of, (self._module,)


def _functions_of(module: str) -> Any:
    return importlib.import_module(module).FUNCTIONS
