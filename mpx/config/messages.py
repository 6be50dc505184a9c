"""What the schema refuses, in our own sentences: what was found, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from mpx.config.durations import nearest_duration
from mpx.config.problem import KeyPath, Problem, shown
from mpx.config.reader import Document
from mpx.config.schema import load_schema
from mpx.config.suggestions import closest, same
from mpx.config.unknown_keys import places_meant, unknown_keys

_TYPES = {
    "boolean": "true or false",
    "string": "text",
    "object": "a mapping of keys to values",
}
# What YAML 1.1 took for booleans.
_SPOKEN_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false"}


def schema_problems(document: Document) -> Iterator[Problem]:
    """Yield what the schema refuses in a document."""
    errors = list(_validator().iter_errors(document.value))
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    for error in errors:
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            yield from unknown_keys(document, path)
        elif error.validator == "required":
            yield from _missing_keys(document, path, _schema_of(error))
        elif "propertyNames" in error.absolute_schema_path:
            message = f"found this name; allowed: {_allowed(_schema_of(error))}"
            yield document.key_problem((*path, error.instance), message)
        elif error.validator == "type" or path not in mistyped:
            yield _refused_value(document, path, error)


@cache
def _validator() -> Any:
    # JSON Schema takes 1.0 for an integer. Here it is a mistake, as it was in NNI: whoever writes
    # a point means a number that need not be whole.
    checker = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    strict: Any = extend(Draft202012Validator, type_checker=checker)  # type: ignore[no-untyped-call]
    return strict(load_schema())


def _refused_value(document: Document, path: KeyPath, error: ValidationError) -> Problem:
    schema, value = _schema_of(error), error.instance
    reason = _reason_not_yet(error)
    if error.validator == "not":
        return document.key_problem(path, "not supported yet", reason)
    if reason:
        return document.problem(path, f"found {shown(value)}, which is not supported yet", reason)
    message = f"found {shown(value)}; allowed: {_allowed(schema)}"
    return document.problem(path, message, _hint(schema, value, document.written(path)))


def _reason_not_yet(error: ValidationError) -> str:
    reasons = _schema_of(error).get("x-notYet", "")
    if isinstance(reasons, dict):
        known = same(error.instance, reasons) if isinstance(error.instance, str) else None
        return str(reasons[known]) if known else ""
    return str(reasons) if error.validator in ("not", "const", "maximum") else ""


def _schema_of(error: ValidationError) -> dict[str, Any]:
    # Never True or False, as the types have it: our schema has no such parts that can refuse.
    return cast(dict[str, Any], error.schema)


def _allowed(schema: dict[str, Any]) -> str:
    if "x-allowed" in schema:
        return str(schema["x-allowed"])
    if "const" in schema:
        return shown(schema["const"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    return _whole_number(schema) if schema["type"] == "integer" else _TYPES[schema["type"]]


def _whole_number(schema: dict[str, Any]) -> str:
    lowest, highest = schema["minimum"], schema.get("maximum")
    if lowest == highest:
        return str(lowest)
    return f"a whole number from {lowest}" + (f" to {highest}" if highest else " up")


def _hint(schema: dict[str, Any], value: Any, written: str) -> str:
    if "x-hint" in schema:
        return str(schema["x-hint"])
    if "enum" in schema:
        meant = closest(value, schema["enum"]) if isinstance(value, str) else None
        return f"did you mean {meant}?" if meant else ""
    if schema == load_schema()["$defs"]["duration"]:
        duration = nearest_duration(value)
        return f"write {duration}" if duration else ""
    return _type_hint(schema["type"], value, written)


def _type_hint(wanted: str, value: Any, written: str) -> str:
    if wanted == "string" and isinstance(value, bool | int | float):
        return f'put it in quotes: "{written}"'
    if wanted == "boolean" and isinstance(value, str):
        meant = _SPOKEN_BOOLEANS.get(value.lower()) or same(value, ("true", "false"))
        return f"write {meant}" if meant else ""
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    if wanted == "integer" and isinstance(value, str) and value.strip().isdecimal():
        return f"write {value.strip()}, without quotes"
    return ""


def _missing_keys(document: Document, path: KeyPath, schema: dict[str, Any]) -> Iterator[Problem]:
    found, meant = document.mapping(*path), places_meant(document, path)
    for key in schema["required"]:
        is_explained = (*path, key) in meant or (key == "tuner" and "advisor" in found)
        if key not in found and not is_explained:
            description = schema["properties"][key]["description"]
            yield document.problem((*path, key), "missing", description)
