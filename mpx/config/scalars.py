"""What a plain YAML scalar means, by the core schema of YAML 1.2 (§10.3.2).

PyYAML follows YAML 1.1, where `yes` is a boolean, `1e-5` a string, `010` is 8 and `12:30:45` a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

Scalar = str | int | float | bool | None

_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **{sign + word: math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **{"-" + word: -math.inf for word in (".inf", ".Inf", ".INF")},
}

_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

_INTEGERS: tuple[tuple[re.Pattern[str], Callable[[str], int]], ...] = (
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
)

# Each integer of so many digits still fits a float.
_MOST_DIGITS = 300

# By exact type: True is an int to isinstance.
_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
}


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar.

    Raises:
        ValueError: it is a number that is too large.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for pattern, convert in _INTEGERS:
        if pattern.fullmatch(text):
            if len(text) > _MOST_DIGITS:
                raise ValueError(f"found a number of more than {_MOST_DIGITS} digits")
            return convert(text)
    return _finite(text) if _FLOAT.fullmatch(text) else text


def resolve_as(tag: str, text: str) -> Scalar:
    """Return the value of a scalar with an explicit tag: `null`, `bool`, `int`, `float` or `str`.

    Raises:
        ValueError: the text is no such value.
    """
    if tag == "str":
        return text
    value = resolve(text)
    if type(value) not in _TYPES[tag]:
        raise ValueError(f"found {text[:40]!r} with the tag '!!{tag}', which it is not")
    return float(text) if tag == "float" and isinstance(value, int) else value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("found a number too large for a float; infinity is written .inf")
    return value
