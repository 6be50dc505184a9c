"""Whether the classes that a document names are there, are what they are named for, and take their
`classArgs`: checked, and a user's own never run.

A built-in class may say more of its arguments than its constructor does, by these class attributes:

    class_args_schema   a JSON Schema of `classArgs`, flat
    requires            module that it imports → the extra of mpx that brings it
    check_class_args    returns what is wrong between arguments that are right by themselves
    check_class_args_in returns where these do not fit a search space that has no mistakes
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mpx.config.class_source import Constructor, ModuleSource, parse_module
from mpx.config.messages import value_problems
from mpx.config.packages import missing_packages
from mpx.config.paths import fault_of_directory, fault_of_file, path_from, similar_path
from mpx.config.problem import KeyPath, Problem, key_path
from mpx.config.reader import Document
from mpx.config.roles import ADVISOR, ASSESSOR, TUNER, Role
from mpx.config.space import FoundSpace
from mpx.config.suggestions import closest


def class_problems(document: Document, space: FoundSpace) -> Iterator[Problem]:
    """Yield what is wrong with the classes that a document names, for its search space."""
    for role in (TUNER, ADVISOR, ASSESSOR):
        if built_in := role.built_in(document):
            yield from _built_in_problems(document, role, built_in, space)
        elif role.methods and role.name_key not in document.mapping(role.key):
            yield from _custom_problems(document, role)


def _built_in_problems(
    document: Document, role: Role, built_in: type, space: FoundSpace
) -> Iterator[Problem]:
    name = str(role.built_in_name(document))
    for packages, advice in missing_packages(getattr(built_in, "requires", {})):
        yield document.problem(role.name_path, f"{name} needs {packages}", advice)
    schemas = getattr(built_in, "class_args_schema", {}).get("properties", {})
    yield from _argument_problems(document, role, name, Constructor.of(built_in), schemas)
    are_right = True
    for argument in document.mapping(role.key, "classArgs"):
        at = (role.key, "classArgs", argument)
        wrong = list(value_problems(document, at, schemas.get(argument, {})))
        yield from wrong
        are_right = are_right and not wrong
    if are_right:
        for place, message in _problems_between(built_in, role.arguments(document), space):
            yield document.problem((role.key, "classArgs", *place), message)


def _problems_between(
    built_in: type, given: dict[str, Any], space: FoundSpace
) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with arguments that are right by themselves, by places below `classArgs`."""
    if check := getattr(built_in, "check_class_args", None):
        yield from (((argument,), message) for argument, message in check(given))
    check_in = getattr(built_in, "check_class_args_in", None)
    if check_in is not None and space.value is not None and not space.problems:
        yield from check_in(space.value, given)


def _custom_problems(document: Document, role: Role) -> Iterator[Problem]:
    code_dir = document.text(role.key, "codeDir")
    file_name = document.text(role.key, "classFileName")
    if code_dir is None:
        return
    directory = path_from(document.path, code_dir)
    if fault := fault_of_directory(directory):
        yield document.problem((role.key, "codeDir"), fault, similar_path(directory))
    elif file_name is not None and file_name.endswith(".py"):
        yield from _file_problems(document, role, directory / file_name)


def _file_problems(document: Document, role: Role, file: Path) -> Iterator[Problem]:
    key = (role.key, "classFileName")
    if fault := fault_of_file(file):
        yield document.problem(key, fault, similar_path(file))
        return
    try:
        module = parse_module(file)
    except SyntaxError as error:
        yield _syntax_problem(role, file, error)
    except OSError as error:
        yield document.problem(key, f"{file} cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError, MemoryError) as error:
        yield document.problem(key, f"{file} is no Python that can be compiled: {error}")
    else:
        yield from _class_problems(document, role, file, module)


def _syntax_problem(role: Role, file: Path, error: SyntaxError) -> Problem:
    # Python counts lines and columns from 1, and says 0 or nothing where it knows none.
    message = f"no valid Python: {error.msg}"
    source = error.text.rstrip("\n") if error.text else None
    line, column = error.lineno or None, error.offset or None
    key = key_path((role.key, "classFileName"))
    return Problem(str(file), line, column if line else None, key, message, "", source)


def _class_problems(
    document: Document, role: Role, file: Path, module: ModuleSource
) -> Iterator[Problem]:
    key = (role.key, "className")
    name = document.text(*key)
    if name is None or not name.isidentifier():
        return
    if module.lacks(name):
        near = closest(name, module.class_names)
        known = ", ".join(module.class_names) or "no class"
        hint = f"did you mean {near}?" if near else f"the file defines {known}"
        yield document.problem(key, f"found no class {name} in {file}", hint)
    elif module.is_function(name):
        yield document.problem(key, f"found a function {name} in {file}; allowed: a class")
    elif module.lacks_methods(name, role.methods):
        message = f"the class {name} in {file} has no method {role.methods[0]}"
        hint = f"{role.article} {role.key} derives from {role.base} and defines it"
        yield document.problem(key, message, hint)
    elif constructor := module.constructor(name):
        yield from _argument_problems(document, role, name, constructor)


def _argument_problems(
    document: Document,
    role: Role,
    name: str,
    constructor: Constructor,
    schemas: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Problem]:
    at = (role.key, "classArgs")
    allowed = ", ".join(constructor.names) or "no arguments"
    for argument in document.mapping(*at):
        if argument not in constructor.names and not constructor.takes_any:
            near = closest(argument, constructor.names)
            message = f"{name} takes no such argument; allowed: {allowed}"
            hint = f"did you mean {near}?" if near else ""
            yield document.key_problem((*at, argument), message, hint)
    given = role.arguments(document)
    for argument in constructor.required:
        if argument not in given:
            message = f"missing: the constructor of {name} has no default for it"
            hint = schemas.get(argument, {}).get("description", "")
            yield document.problem((*at, argument), message, hint)
