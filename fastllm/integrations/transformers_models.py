"""Which models of transformers attend by a registered attention function, and which do not.

transformers does not ask: a model takes any registered name, whether its layers look the function
up or not. Those that do not are of three kinds. Some choose among attention classes by the name,
which is missing there. Some attend by their own code, whatever the name. And some of these are
given masks made for the name, which their code takes for something else, so that they see the
future.

So this reads the source of the classes that a model consists of. A layer goes through the interface
if it names `ALL_ATTENTION_FUNCTIONS`. It attends by its own code if it does not, and multiplies
matrices and takes a softmax, or calls an attention function of PyTorch.

`watch_models` puts these checks where transformers makes its own: into `PreTrainedModel`, for the
names that are watched and no others.
"""

from __future__ import annotations

import ast
import inspect
import sys
import weakref
from collections.abc import Iterator
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

__all__ = ["check_attention_classes", "check_layers", "kinds_of_layers", "watch_models"]

INTERFACE = "ALL_ATTENTION_FUNCTIONS"
PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum"}
WHOLE_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}


class LayerCode(NamedTuple):
    """What the source of a class of layers says.

    Attributes
    ----------
    through_interface : bool
        Whether it looks its attention function up.
    attends : bool
        Whether it attends by its own code instead.
    masked : bool
        Whether a method takes a mask.
    rewrites_mask : bool
        Whether a method changes the mask it is given.
    keywords : frozenset of str
        What it passes to the attention function by name.
    """

    through_interface: bool
    attends: bool
    masked: bool
    rewrites_mask: bool
    keywords: frozenset[str]


# Attention functions that are watched: the keywords that each knows.
_WATCHED: dict[str, frozenset[str]] = {}
# Of each configuration that a checked model has, by its id: what its layers say of being causal.
_KINDS: dict[int, set[bool]] = {}


def watch_models(name: str, known: frozenset[str]) -> None:
    """Check from now on every model that is to attend by `name`, when it is loaded or told to.

    Three methods of `PreTrainedModel` are wrapped, once in a process: the one that looks whether an
    implementation exists, before any layer is built; `post_init`, when all are; and
    `set_attn_implementation`, which leaves a model as it was if that is refused.

    Parameters
    ----------
    name : str
        The name of the attention function.
    known : frozenset of str
        The keywords that it applies, or may leave alone.
    """
    from transformers import PreTrainedModel

    if not _WATCHED:
        for method, checked in (
            ("get_correct_attn_implementation", _checking_classes),
            ("post_init", _checking_layers),
            ("set_attn_implementation", _checking_all_parts),
        ):
            setattr(PreTrainedModel, method, checked(getattr(PreTrainedModel, method)))
    _WATCHED[name] = known


def _checking_classes(get_correct_attn_implementation: Any) -> Any:
    @wraps(get_correct_attn_implementation)
    def checked(self: Any, requested_attention: Any, *args: Any, **kwargs: Any) -> Any:
        if requested_attention in _WATCHED:
            check_attention_classes(type(self), requested_attention)
        return get_correct_attn_implementation(self, requested_attention, *args, **kwargs)

    return checked


def _checking_layers(post_init: Any) -> Any:
    @wraps(post_init)
    def checked(self: Any) -> None:
        post_init(self)
        _check(self, part=_is_being_built_into_another(self))

    return checked


def _checking_all_parts(set_attn_implementation: Any) -> Any:
    @wraps(set_attn_implementation)
    def checked(self: Any, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        from transformers import PreTrainedModel

        parts = [part for part in self.modules() if isinstance(part, PreTrainedModel)]
        configs = {id(config): config for part in parts for config in _configs_of(part.config)}
        before = [(config, config._attn_implementation) for config in configs.values()]
        try:
            set_attn_implementation(self, attn_implementation, *args, **kwargs)
            for part in parts:
                _check(part, part=part is not self)
                if isinstance(attn_implementation, str) and attn_implementation in _WATCHED:
                    # Of a part that cannot be told transformers has only warned.
                    known = _WATCHED[attn_implementation]
                    check_layers(part, attn_implementation, known, part=part is not self)
        except Exception:
            for config, implementation in before:
                config._attn_implementation_internal = implementation
            raise

    return checked


def _check(model: Any, part: bool) -> None:
    name = model.config._attn_implementation
    if name in _WATCHED:
        check_layers(model, name, _WATCHED[name], part)
        _note_kinds(model)


def _note_kinds(model: Any) -> None:
    config = model.config
    if id(config) not in _KINDS:
        weakref.finalize(config, _KINDS.pop, id(config), None)
    _KINDS.setdefault(id(config), set()).update(
        bool(getattr(layer, "is_causal", False))
        for layer in own_layers(model)
        if code_of(layer).through_interface
    )


def kinds_of_layers(config: Any) -> set[bool]:
    """Whether layers with a configuration are causal: True, False or both; nothing if not known."""
    return _KINDS.get(id(config), set())


def _configs_of(config: Any) -> Iterator[Any]:
    yield config
    for name in config.sub_configs:
        if (inside := getattr(config, name, None)) is not None:
            yield from _configs_of(inside)


def _is_being_built_into_another(model: Any) -> bool:
    """Whether the initializer of another model is at work, further up in the calls."""
    from transformers import PreTrainedModel

    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "__init__":
            builder = frame.f_locals.get("self")
            if isinstance(builder, PreTrainedModel) and builder is not model:
                return True
        frame = frame.f_back
    return False


def check_attention_classes(model_class: type, name: str) -> None:
    """Refuse a model that chooses among attention classes by a name they do not know.

    Parameters
    ----------
    model_class : type
        A class of models, before its layers are built.
    name : str
        The name of the attention function.

    Raises
    ------
    ValueError
        If it does.
    """
    for table, classes in class_tables(model_class):
        if name not in classes:
            raise ValueError(
                f"{model_class.__name__} chooses its attention class from {table}, which has "
                f"{', '.join(map(repr, classes))} and not {name!r}: "
                + advice(model_class, part=True)
            )


def check_layers(model: Any, name: str, known: frozenset[str], part: bool) -> None:
    """Refuse a model whose layers do not go through the attention interface.

    Parameters
    ----------
    model : PreTrainedModel
        A model whose layers are built. Models inside it are checked by themselves.
    name : str
        The name of the attention function.
    known : frozenset of str
        The keywords that the attention function applies, or may leave alone.
    part : bool
        Whether it is part of another model, which may have parts that do not attend.

    Raises
    ------
    ValueError
        If the model attends by its own code, or does not attend at all.
    NotImplementedError
        If a layer passes something that the attention function does not know.
    """
    model_class = type(model)
    own = [(type(layer), code_of(layer)) for layer in own_layers(model)]
    strangers = [layer_class.__name__ for layer_class, code in own if code.attends]
    masked = [layer_class.__name__ for layer_class, code in own if code.attends and code.masked]
    reached = any(code_of(layer).through_interface for layer in model.modules())
    if masked or (strangers and not reached):
        raise ValueError(
            f"{model_class.__name__} attends by its own code, in {(masked or strangers)[0]}, and "
            f"not through the attention interface of transformers, so that {name!r} would not be "
            f"called: {advice(model_class, part)}"
        )
    if not reached and not part:
        raise ValueError(
            f"{model_class.__name__} has no layer that goes through the attention interface of "
            f"transformers, so that {name!r} would never be called: {advice(model_class, part)}"
        )
    for layer_class, code in own:
        if unknown := sorted(code.keywords - known):
            raise NotImplementedError(
                f"{layer_class.__name__} of {model_class.__name__} passes {unknown[0]}= to its "
                f"attention, which {name!r} does not know how to apply: {advice(model_class, part)}"
            )
        if code.through_interface and code.rewrites_mask and not model_class._supports_sdpa:
            raise ValueError(
                f"{layer_class.__name__} of {model_class.__name__} changes its mask, and is not "
                f"made for the boolean masks of {name!r}: {advice(model_class, part)}"
            )


def advice(model_class: type, part: bool) -> str:
    others = '"sdpa" or "eager"' if getattr(model_class, "_supports_sdpa", False) else '"eager"'
    text = f"load it with attn_implementation={others}"
    if part:
        text += (
            ", or, where it is part of another model, choose by parts, as in "
            '{"text_config": "fastllm", "vision_config": "eager"}'
        )
    return text


def own_layers(model: torch.nn.Module) -> Iterator[Any]:
    """The modules of a model but for models inside it."""
    from transformers import PreTrainedModel

    inside = list(model.children())
    while inside:
        layer = inside.pop()
        if not isinstance(layer, PreTrainedModel):
            yield layer
            inside.extend(layer.children())


def class_tables(model_class: type) -> Iterator[tuple[str, dict[str, type]]]:
    """The tables of attention classes that a model's classes name, but for models inside it."""
    from transformers import PreTrainedModel

    seen, classes = {model_class}, [model_class]
    while classes:
        layer_class = classes.pop()
        for scope, name in names_of(layer_class):
            value = getattr(sys.modules.get(scope), name, None)
            if isinstance(value, dict) and isinstance(value.get("eager"), type):
                yield name, value
            elif isinstance(value, type) and value not in seen:
                seen.add(value)
                if not issubclass(value, PreTrainedModel):
                    classes.append(value)


def names_of(layer_class: type) -> Iterator[tuple[str, str]]:
    """The names in a class and those it is derived from, with the module of each."""
    for scope, definition in definitions_of(layer_class):
        for node in ast.walk(definition):
            if isinstance(node, ast.Name):
                yield scope, node.id


def code_of(layer: Any) -> LayerCode:
    layer_class: Any = type(layer)
    return read_layer(layer_class)


@cache
def read_layer(layer_class: type) -> LayerCode:
    import torch

    if issubclass(layer_class, torch.nn.MultiheadAttention):
        return LayerCode(False, True, False, False, frozenset())
    names: set[str] = set()
    parameters: set[str] = set()
    keywords: set[str] = set()
    multiplies = rewrites = False
    for scope, definition in definitions_of(layer_class):
        for function in with_helpers(scope, definition):
            for node in ast.walk(function):
                if isinstance(node, ast.Name):
                    names.add(node.id)
                elif isinstance(node, ast.Attribute):
                    names.add(node.attr)
                elif isinstance(node, ast.MatMult):
                    multiplies = True
        for node in ast.walk(definition):
            if isinstance(node, ast.arg):
                parameters.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                rewrites |= node.id == "attention_mask"
            elif isinstance(node, ast.FunctionDef):
                keywords |= keywords_of(node)
    through = INTERFACE in names
    own = bool(names & WHOLE_ATTENTION) or (
        bool(names & {"softmax", "Softmax"}) and (multiplies or bool(names & PRODUCTS))
    )
    masked = any("mask" in name for name in parameters)
    return LayerCode(through, own and not through, masked, rewrites, frozenset(keywords))


def definitions_of(layer_class: type) -> Iterator[tuple[str, ast.AST]]:
    """The sources of a class and of those it is derived from, with the module of each."""
    import torch
    from transformers import PreTrainedModel

    for base in layer_class.__mro__:
        if not issubclass(base, torch.nn.Module) or issubclass(PreTrainedModel, base):
            continue
        definition = source_of(base.__module__).get(base.__name__)
        if definition is not None:
            yield base.__module__, definition


def with_helpers(scope: str, definition: ast.AST) -> Iterator[ast.AST]:
    """A definition and the functions of its module that it calls."""
    seen, found = {definition}, [definition]
    while found:
        function = found.pop()
        yield function
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                helper = source_of(scope).get(node.id)
                if isinstance(helper, ast.FunctionDef) and helper not in seen:
                    seen.add(helper)
                    found.append(helper)


def keywords_of(function: ast.FunctionDef) -> set[str]:
    """What a method passes by name to the function that it has looked up."""
    looked_up = set()
    for node in ast.walk(function):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if INTERFACE in {
                part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)
            }:
                looked_up |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {
        keyword.arg
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in looked_up
        for keyword in node.keywords
        if keyword.arg is not None
    }


@cache
def source_of(module: str) -> dict[str, ast.AST]:
    """The classes and functions of a module by name; nothing where there is no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node for node in tree.body if isinstance(node, kinds)}
