"""What a Python file says about a class, without running it.

Only what is certain is told. A name that is imported, assigned, bound twice or made by `globals()`, a
decorator, a metaclass, a base class from elsewhere: what these make of a class, running the code
alone could tell.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Bases that add no constructor, and methods that only say what is missing.
_KNOWN_BASES = frozenset(
    {
        "object",
        "mpx.Tuner",
        "mpx.MultiPhaseTuner",
        "mpx.Assessor",
        "mpx.tuner.Tuner",
        "mpx.tuner.MultiPhaseTuner",
        "mpx.assessor.Assessor",
        "nni.tuner.Tuner",
        "nni.assessor.Assessor",
        "nni.multi_phase.multi_phase_tuner.MultiPhaseTuner",
    }
)
# Calls that can bind names which the text does not show.
_BINDING_CALLS = frozenset({"globals", "locals", "vars", "exec", "setattr"})
_ATTRIBUTE_HOOKS = frozenset({"__getattr__", "__getattribute__"})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Constructor:
    """The keyword arguments a class takes: their names in order, and which have no default."""

    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    takes_any: bool = False

    @classmethod
    def of(cls, loaded: type) -> Constructor:
        """Return that of a class that is already loaded: what its `class_args_schema` says, if any."""
        schema = getattr(loaded, "class_args_schema", None)
        if schema is not None:
            return cls(tuple(schema.get("properties", ())), tuple(schema.get("required", ())))
        parameters = inspect.signature(loaded).parameters.values()
        named = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
        return cls(
            tuple(each.name for each in named),
            tuple(each.name for each in named if each.default is each.empty),
            any(each.kind is each.VAR_KEYWORD for each in parameters),
        )


class ModuleSource:
    """A parsed module."""

    def __init__(self, tree: ast.Module) -> None:
        bound = Counter(_bound_names(tree.body))
        once = [node for node in tree.body if bound[getattr(node, "name", "")] == 1]
        self._classes = {node.name: node for node in once if isinstance(node, ast.ClassDef)}
        self._functions = {
            node.name for node in once if isinstance(node, _Function) and not node.decorator_list
        }
        self._imports = {
            name: full for name, full in _imported_names(tree.body) if bound[name] == 1
        }
        self._bound = set(bound)
        self._set_elsewhere = set(_names_set_elsewhere(tree))
        self._is_open = "__getattr__" in bound or any(map(_binds_unseen_names, ast.walk(tree)))

    @property
    def class_names(self) -> list[str]:
        """The classes that the module defines at its top level."""
        return list(self._classes)

    def lacks(self, name: str) -> bool:
        """Tell whether the module certainly has nothing of that name."""
        return not self._is_open and name not in self._bound | self._set_elsewhere

    def is_function(self, name: str) -> bool:
        """Tell whether the name certainly is a function."""
        return name in self._functions and not self._is_open

    def lacks_methods(self, name: str, methods: Collection[str]) -> bool:
        """Tell whether the class certainly defines none of `methods`."""
        node = self._plain_class(name)
        if node is None or self._is_open or not self._set_elsewhere.isdisjoint(methods):
            return False
        if not _ATTRIBUTE_HOOKS.union(methods).isdisjoint(_bound_names(node.body)):
            return False
        bases = [base for base in node.bases if not self._is_known(base)]
        return all(self.lacks_methods(self._base_here(node, base), methods) for base in bases)

    def constructor(self, name: str) -> Constructor | None:
        """Return what the class's constructor takes; None where that is not certain."""
        node = self._plain_class(name)
        if node is None or self._is_open or "__init__" in self._set_elsewhere:
            return None
        bound = Counter(_bound_names(node.body))
        if bound["__new__"] or bound["__init__"] > 1:
            return None
        if bound["__init__"]:
            return _own_constructor(node)
        if all(map(self._is_known, node.bases)):
            return Constructor()
        base = self._base_here(node, node.bases[0]) if len(node.bases) == 1 else None
        return self.constructor(base) if base else None

    def _plain_class(self, name: str) -> ast.ClassDef | None:
        node = self._classes.get(name)
        return node if node and not node.decorator_list and not node.keywords else None

    def _is_known(self, base: ast.expr) -> bool:
        first, *rest = _dotted(base)
        return ".".join([self._imports.get(first, first), *rest]) in _KNOWN_BASES

    def _base_here(self, node: ast.ClassDef, base: ast.expr) -> str:
        """Return the name of a base class that stands above `node` in this module, or ``."""
        name = ".".join(_dotted(base))
        known = self._classes.get(name)
        return name if known and known.lineno < node.lineno else ""


def parse_module(path: Path) -> ModuleSource:
    """Parse the Python file at `path`.

    Raises:
        OSError: it cannot be read.
        SyntaxError: it is no Python that this interpreter runs.
        ValueError, RecursionError, MemoryError: the interpreter's parser gave up.
    """
    data = path.read_bytes()
    with warnings.catch_warnings():
        # A warning about the user's code belongs to the run that imports it.
        warnings.simplefilter("ignore")
        compile(data, path, "exec", dont_inherit=True)
        return ModuleSource(ast.parse(data, path))


def _dotted(expression: ast.expr) -> list[str]:
    """Return the parts of `a.b.c`; one empty part for any other expression."""
    parts: list[str] = []
    while isinstance(expression, ast.Attribute):
        parts.insert(0, expression.attr)
        expression = expression.value
    return [expression.id, *parts] if isinstance(expression, ast.Name) else [""]


def _own_constructor(node: ast.ClassDef) -> Constructor | None:
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return None if member.decorator_list else _signature(member.args)
    return None


def _signature(arguments: ast.arguments) -> Constructor | None:
    if len(arguments.posonlyargs) > 1:
        return None
    first = 0 if arguments.posonlyargs else 1
    names = [argument.arg for argument in arguments.args[first:]]
    without_default = names[: max(0, len(names) - len(arguments.defaults))]
    named_only = list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return Constructor(
        (*names, *(argument.arg for argument, _ in named_only)),
        (*without_default, *(argument.arg for argument, value in named_only if value is None)),
        arguments.kwarg is not None,
    )


def _bound_names(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yield each name that a scope binds, once for each time, without entering inner scopes."""
    todo = list(body)
    while todo:
        node = todo.pop()
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name
                continue
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
        todo.extend(ast.iter_child_nodes(node))


def _names_set_elsewhere(tree: ast.Module) -> Iterator[str]:
    """Yield each name that is set as an attribute, or by a function that calls it global."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.Global(names=names):
                yield from names


def _imported_names(body: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Yield what each import at the top level binds, with the dotted name it stands for."""
    for node in body:
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    name = alias.name if alias.asname else alias.name.split(".")[0]
                    yield alias.asname or name, name
            case ast.ImportFrom(module=str(module), level=0, names=aliases):
                for alias in aliases:
                    yield alias.asname or alias.name, f"{module}.{alias.name}"


def _binds_unseen_names(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _BINDING_CALLS
        case ast.ImportFrom(names=aliases):
            return any(alias.name == "*" for alias in aliases)
    return False
