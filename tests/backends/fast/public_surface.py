"""What users can type: names, parameters with their defaults, commands with their options.

After a change on purpose, ``PYTHONPATH=tests python -m backends.fast.public_surface`` writes
`surface.json` anew. Annotations are left to mypy, docstrings to who reads them.
"""

import importlib
import inspect
import json
import re
from pathlib import Path

STORED = Path(__file__).with_name("surface.json")
MODULES = [
    "fastllm",
    "fastllm.reference",
    "fastllm.fast",
    "fastllm.corpus",
    "fastllm.kv_cache",
    "fastllm.explain",
    "fastllm.book",
    "fastllm.compat.minbpe",
    "fastllm.compat.tiktoken",
]
# Each with the library that it needs.
INTEGRATIONS = {
    "fastllm.integrations.ray": "ray",
    "fastllm.integrations.torch": "torch",
    "fastllm.integrations.transformers": "transformers",
    "fastllm.integrations.transformers_attention": "torch",
}


def surface(name):
    """Each public name of a module, and what it takes."""
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None) or [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    ]
    return {key: described(getattr(module, key)) for key in sorted(public)}


def described(value):
    if inspect.isclass(value):
        members = {name: member(value, name) for name in dir(value) if not name.startswith("_")}
        return {"class": parameters(value), "members": members}
    return parameters(value) if callable(value) else type(value).__name__


def member(cls, name):
    value = getattr(cls, name)
    return parameters(value) if callable(value) else "attribute"


def parameters(function):
    """The signature without annotations, as one line."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # the class is made by its own `__new__` only
        return "?"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def commands():
    """Each command of the command line: its arguments and options."""
    from fastllm.cli.commands import app

    found = {}
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        taken = inspect.signature(command.callback).parameters.values()
        found[name] = {p.name: option(p) for p in taken}
    return dict(sorted(found.items()))


def option(parameter):
    (info,) = parameter.annotation.__metadata__
    default = getattr(parameter.default, "value", parameter.default)
    words = getattr(info, "param_decls", None) or []
    required = parameter.default is parameter.empty
    return " ".join([*words, "" if required else f"= {default}"]).strip()


def whole():
    return {name: surface(name) for name in [*MODULES, *INTEGRATIONS]} | {"cli": commands()}


if __name__ == "__main__":
    STORED.write_text(json.dumps(whole(), indent=1, sort_keys=True) + "\n", "utf-8")
