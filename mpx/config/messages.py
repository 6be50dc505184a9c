"""What the schema refuses, in our own sentences: what was found, what is allowed, what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from mpx.config.durations import nearest_duration
from mpx.config.gpus import nearest_gpu_indices
from mpx.config.problem import KeyPath, Problem, shown
from mpx.config.reader import Document
from mpx.config.roles import ADVISOR, ASSESSOR, TUNER
from mpx.config.scalars import resolve
from mpx.config.schema import load_schema
from mpx.config.suggestions import closest, same
from mpx.config.unknown_keys import places_meant, unknown_keys

_TYPES = {
    "boolean": "true or false",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a mapping of keys to values",
    "null": "null",
}
# Of a number with bounds other than `minimum` and `maximum` together.
_BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "of at most",
    "exclusiveMaximum": "below",
}
_REFUSALS = {"x-notYet": "not supported yet", "x-refused": "not supported"}
# What a value that is none of a definition was meant to be.
_NEAREST = {"duration": nearest_duration, "gpuIndices": nearest_gpu_indices}
# What YAML 1.1 took for booleans.
_SPOKEN_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}


def schema_problems(document: Document) -> Iterator[Problem]:
    """Yield what the schema refuses in a document."""
    return _problems(document, (), _validator().iter_errors(document.value))


def value_problems(document: Document, at: KeyPath, schema: dict[str, Any]) -> Iterator[Problem]:
    """Yield what a schema of its own refuses in the value at `at`."""
    return _problems(document, at, _strict()(schema).iter_errors(document.find(*at)))


def _problems(
    document: Document, at: KeyPath, found: Iterable[ValidationError]
) -> Iterator[Problem]:
    errors = list(found)
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    for error in errors:
        path = (*at, *error.absolute_path)
        if error.validator == "additionalProperties":
            yield from unknown_keys(document, path)
        elif error.validator == "required":
            yield from _missing_keys(document, path, _schema_of(error))
        elif error.validator == "oneOf":
            pass  # tuner or advisor: `rules` has better words
        elif "propertyNames" in error.absolute_schema_path:
            message = f"found this name; allowed: {_allowed(_schema_of(error))}"
            yield document.key_problem((*path, str(error.instance)), message)
        elif error.validator == "type" or tuple(error.absolute_path) not in mistyped:
            yield _refused_value(document, path, error)


@cache
def _validator() -> Any:
    return _strict()(load_schema())


@cache
def _strict() -> Any:
    # JSON Schema takes 1.0 for an integer. Here it is a mistake, as it was in NNI: whoever writes
    # a point means a number that need not be whole.
    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: _is_number(value),
        }
    )
    return extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _refused_value(document: Document, path: KeyPath, error: ValidationError) -> Problem:
    schema, value = _schema_of(error), error.instance
    if error.validator == "not":
        words, reason = _refusal(schema)
        return document.key_problem(path, words, reason)
    if isinstance(value, str) and (refusal := _refusal_of_value(schema, value)):
        words, reason = refusal
        return document.problem(path, f"found {shown(value)}, which is {words}", reason)
    message = f"found {shown(value)}; allowed: {_allowed(schema)}"
    hint = _role_hint(path, value) or _hint(schema, value, document.written(path))
    return document.problem(path, message, hint)


def _refusal(schema: dict[str, Any]) -> tuple[str, str]:
    """Return what to say of a key that is known and refused, and what to do instead."""
    word = next(word for word in _REFUSALS if word in schema)
    return _REFUSALS[word], schema[word]


def _refusal_of_value(schema: dict[str, Any], value: str) -> tuple[str, str] | None:
    for word, said in _REFUSALS.items():
        if known := same(value, schema.get(word, {})):
            return said, schema[word][known]
    return None


def _schema_of(error: ValidationError) -> dict[str, Any]:
    # Never True or False, as the types have it: our schema has no such parts that can refuse.
    return cast(dict[str, Any], error.schema)


def _allowed(schema: dict[str, Any]) -> str:
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if "const" in schema:
        return shown(schema["const"])
    if "enum" in schema:
        return ", ".join(each if isinstance(each, str) else shown(each) for each in schema["enum"])
    return " or ".join(_allowed_type(schema, each) for each in _types(schema))


def _types(schema: dict[str, Any]) -> list[str]:
    types = schema["type"]
    return types if isinstance(types, list) else [types]


def _allowed_type(schema: dict[str, Any], wanted: str) -> str:
    if wanted == "array" and "minItems" in schema:
        least = schema["minItems"]
        return f"{_TYPES[wanted]} of at least {'one item' if least == 1 else f'{least} items'}"
    return _TYPES[wanted] + (_range(schema) if wanted in ("integer", "number") else "")


def _range(schema: dict[str, Any]) -> str:
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if lowest is not None and highest is not None:
        return f" from {lowest} to {highest}"
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _hint(schema: dict[str, Any], value: Any, written: str) -> str:
    if "x-hint" in schema:
        return str(schema["x-hint"])
    if "enum" in schema:
        known = [each for each in schema["enum"] if isinstance(each, str)]
        meant = closest(value, known) if isinstance(value, str) else None
        return f"did you mean {meant}?" if meant else ""
    for definition, nearest in _NEAREST.items():
        if schema == load_schema()["$defs"][definition]:
            meant = nearest(value)
            return f"write {meant}" if meant else ""
    hints = (_type_hint(wanted, value, written) for wanted in _types(schema))
    return next(filter(None, hints), "")


def _role_hint(path: KeyPath, value: Any) -> str:
    """Say where the name of a built-in class belongs that stands in the place of another kind."""
    roles = (TUNER, ADVISOR, ASSESSOR)
    if not isinstance(value, str) or path not in [role.name_path for role in roles]:
        return ""
    for role in (TUNER, ASSESSOR):
        if path != role.name_path and (name := same(value, role.built_ins)):
            return f"{name} is {role.article} {role.key}: {role.key}: {{{role.name_key}: {name}}}"
    return ""


def _type_hint(wanted: str, value: Any, written: str) -> str:
    if wanted == "string" and isinstance(value, bool | int | float):
        return f'put it in quotes: "{written}"'
    if wanted == "boolean" and isinstance(value, str):
        meant = _SPOKEN_BOOLEANS.get(value.lower()) or same(value, ("true", "false"))
        return f"write {meant}" if meant else ""
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if wanted in ("integer", "number") and isinstance(value, str):
        text = value.strip()
        is_meant = text.isdecimal() or (wanted == "number" and _is_decimal(text))
        return f"write {text}, without quotes" if is_meant else ""
    return ""


def _is_decimal(text: str) -> bool:
    try:
        return isinstance(resolve(text), float)
    except ValueError:  # too large
        return False


def _missing_keys(document: Document, path: KeyPath, schema: dict[str, Any]) -> Iterator[Problem]:
    found, meant = document.mapping(*path), places_meant(document, path)
    for key in schema["required"]:
        if key not in found and (*path, key) not in meant:
            description = schema["properties"][key]["description"]
            yield document.problem((*path, key), "missing", description)
