"""Who imports whom in the package: every import that its files hold, hidden ones included.

Read are Python (``import``, ``from``, in functions and under ``TYPE_CHECKING`` too, and names of
modules in strings, as `importlib.import_module` takes them), Cython (``cimport``, ``include``) and
C++ (``#include``, also of the file that a macro names). A module and its ``.pxd`` and ``.pyi`` are
one.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import fastllm

PACKAGE = Path(fastllm.__file__).parent
SUFFIXES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h"}

_MODULE = re.compile(r"^fastllm(?:\.\w+)+\.?$")
_CYTHON = re.compile(r"^\s*(?:from\s+(\S+)\s+)?c?import\s+([^#\n(]+|\([^)]*\))", re.MULTILINE)
_INCLUDE = re.compile(
    r'^\s*(?:#\s*include|#define FASTLLM_KERNELS|include|cdef extern from)\s+["\']([^"\']+)["\']',
    re.MULTILINE,
)


def files():
    """The sources of the package as paths in it, in order."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*"))
    return sorted(path for path in found if path.suffix in SUFFIXES)


def node(path):
    """What stands for a file in the drawing: a module's files share their name."""
    return str(path) if path.suffix in (".h", ".pxi") else str(path.with_suffix(""))


NODES = {node(path) for path in files()}


def arrows():
    """Node to the nodes it imports."""
    drawn = defaultdict(set)
    for path in files():
        for target in _targets(path):
            if target != node(path):
                drawn[node(path)].add(target)
    return drawn


def circles(drawn):
    """The sets of nodes that import each other, each in order; none if all arrows go down."""
    reached = {start: _reached(drawn, start) for start in drawn}
    both = {
        tuple(sorted({start, *(n for n in ends if start in reached.get(n, ()))}))
        for start, ends in reached.items()
        if start in ends
    }
    return sorted(both)


def _reached(drawn, start):
    seen, ahead = set(), list(drawn[start])
    while ahead:
        at = ahead.pop()
        if at not in seen:
            seen.add(at)
            ahead += drawn.get(at, ())
    return seen


def _targets(path):
    text = (PACKAGE / path).read_text("utf-8")
    if path.suffix in (".py", ".pyi"):
        return _python(ast.parse(text), path)
    found = {_included(name, path) for name in _INCLUDE.findall(text)} - {None}
    if path.suffix != ".h":
        for origin, names in _CYTHON.findall(text):
            listed = [name.split(" as ")[0].strip() for name in names.strip("()\n ").split(",")]
            found |= _imported(_absolute(origin, path), listed) if origin else _modules(listed)
    return found


def _python(tree, path):
    found = set()
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for part in ast.walk(tree):
        if isinstance(part, ast.Import):
            found |= _modules(alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            origin = _absolute("." * part.level + (part.module or ""), path)
            found |= _imported(origin, [alias.name for alias in part.names])
        elif isinstance(part, ast.Constant) and id(part) not in prose:
            found |= _modules(name.rstrip(".") for name in _MODULE.findall(str(part.value)))
    return found


def _absolute(module, path):
    dots = len(module) - len(module.lstrip("."))
    if not dots:
        return module
    package = ["fastllm", *path.parts[:-1]]
    above = package[: len(package) - dots + 1]
    return ".".join([*above, module.lstrip(".")]).rstrip(".")


def _imported(origin, names):
    """The nodes of ``from origin import names``: modules of a package, or the origin itself."""
    parts = {name: _modules([f"{origin}.{name}"]) for name in names}
    found = set().union(*parts.values())
    return found if all(parts.values()) else found | _modules([origin])


def _modules(names):
    found = set()
    for name in names:
        first, *rest = name.split(".")
        if first == "fastllm":
            found |= {"/".join(rest), "/".join([*rest, "__init__"])} & NODES
    return found


def _included(name, path):
    for folder in (path.parent, *path.parent.parents):
        target = (PACKAGE / folder / name).resolve()
        if target.is_file() and target.is_relative_to(PACKAGE):
            return node(target.relative_to(PACKAGE))
    return None
