"""Whether the tuner's class is there, is a tuner, and takes its `classArgs`: checked, not run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mpx.config.class_source import Constructor, ModuleSource, parse_module
from mpx.config.paths import fault_of_directory, fault_of_file, path_from, similar_path
from mpx.config.problem import Problem, key_path
from mpx.config.reader import Document
from mpx.config.suggestions import closest
from mpx.loader import BUILT_IN_TUNERS, load_built_in_tuner

_CODE_DIR = ("tuner", "codeDir")
_FILE = ("tuner", "classFileName")
_CLASS = ("tuner", "className")
_ARGUMENTS = ("tuner", "classArgs")


def tuner_problems(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with the tuner that a document names."""
    built_in = document.text("tuner", "builtinTunerName")
    if built_in in BUILT_IN_TUNERS:
        constructor = Constructor.of(load_built_in_tuner(built_in))
        yield from _argument_problems(document, built_in, constructor)
    elif built_in is None:
        yield from _custom_problems(document)


def _custom_problems(document: Document) -> Iterator[Problem]:
    code_dir, file_name = document.text(*_CODE_DIR), document.text(*_FILE)
    if code_dir is None:
        return
    directory = path_from(document.path, code_dir)
    if fault := fault_of_directory(directory):
        yield document.problem(_CODE_DIR, fault, similar_path(directory))
    elif file_name is not None and file_name.endswith(".py"):
        yield from _file_problems(document, directory / file_name)


def _file_problems(document: Document, file: Path) -> Iterator[Problem]:
    if fault := fault_of_file(file):
        yield document.problem(_FILE, fault, similar_path(file))
        return
    try:
        module = parse_module(file)
    except SyntaxError as error:
        yield _syntax_problem(file, error)
    except OSError as error:
        yield document.problem(_FILE, f"{file} cannot be read: {error.strerror or error}")
    except (ValueError, RecursionError, MemoryError) as error:
        yield document.problem(_FILE, f"{file} is no Python that can be compiled: {error}")
    else:
        yield from _class_problems(document, file, module)


def _syntax_problem(file: Path, error: SyntaxError) -> Problem:
    # Python counts lines and columns from 1, and says 0 or nothing where it knows none.
    message = f"no valid Python: {error.msg}"
    source = error.text.rstrip("\n") if error.text else None
    line, column = error.lineno or None, error.offset or None
    return Problem(str(file), line, column if line else None, key_path(_FILE), message, "", source)


def _class_problems(document: Document, file: Path, module: ModuleSource) -> Iterator[Problem]:
    name = document.text(*_CLASS)
    if name is None or not name.isidentifier():
        return
    if module.lacks(name):
        near = closest(name, module.class_names)
        known = ", ".join(module.class_names) or "no class"
        hint = f"did you mean {near}?" if near else f"the file defines {known}"
        yield document.problem(_CLASS, f"found no class {name} in {file}", hint)
    elif module.is_function(name):
        yield document.problem(_CLASS, f"found a function {name} in {file}; allowed: a class")
    elif module.is_no_tuner(name):
        message = f"the class {name} in {file} has no method generate_parameters"
        yield document.problem(_CLASS, message, "a tuner derives from mpx.Tuner and defines it")
    elif constructor := module.constructor(name):
        yield from _argument_problems(document, name, constructor)


def _argument_problems(
    document: Document, name: str, constructor: Constructor
) -> Iterator[Problem]:
    given = document.mapping(*_ARGUMENTS)
    allowed = ", ".join(constructor.names) or "no arguments"
    for argument in given:
        if argument not in constructor.names and not constructor.takes_any:
            near = closest(argument, constructor.names)
            message = f"{name} takes no such argument; allowed: {allowed}"
            hint = f"did you mean {near}?" if near else ""
            yield document.key_problem((*_ARGUMENTS, argument), message, hint)
    for argument in constructor.required:
        if argument not in given:
            message = f"missing: the constructor of {name} has no default for it"
            yield document.problem((*_ARGUMENTS, argument), message)
