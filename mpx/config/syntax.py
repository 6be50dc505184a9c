"""YAML's syntax errors in words that say what to change.

PyYAML has two parsers, libyaml and its own in Python, that word and place an error differently. The
tables match what both say, in order; the first that fits is told.
"""

from __future__ import annotations

import yaml

from mpx.config.problem import Position, Problem, shown
from mpx.config.source import Source

_TAB_HINT = "indent with spaces: YAML allows no tabs there"
_OUT_OF_LINE = "found this out of line with what begins at {opened}"
_OUT_OF_LINE_HINT = "check the indentation, and that each quote and bracket is closed"

# (words of the parser's problem, our message, what to do); {opened} is where the construct began.
_MESSAGES = (
    ("',' or ']'", "found no `,` or `]` in the list that begins at {opened}", ""),
    ("',' or '}'", "found no `,` or `}}` in the mapping that begins at {opened}", ""),
    (
        "apping values are not allowed",
        "found a `:` where no key can be",
        "check the indentation, and the line above; text that holds `: ` needs quotes",
    ),
    ("expected ':'", "found a key without a `: ` behind it", "write `key: value`, with a space"),
    (
        "sequence entries are not allowed",
        "found a `- ` where no list can be",
        "begin the list on a new line",
    ),
    ("end of stream", "found no end of the quote that opens at {opened}", ""),
    ("document separator", "found no end of the quote that opens at {opened}", ""),
    (
        "escape",
        "found an unknown escape in double quotes",
        r"write \\ for a backslash, or use single quotes",
    ),
    ("undefined tag handle", "found a tag; allowed: values without a tag", ""),
    (
        "incompatible YAML",
        "found another version of YAML; allowed: 1.2 and 1.1",
        "remove the %YAML line",
    ),
    (
        "cannot start any token",
        "found {found}, which cannot begin a value",
        "put the text in quotes",
    ),
    ("expected key", _OUT_OF_LINE, _OUT_OF_LINE_HINT),
    ("expected <block end>", _OUT_OF_LINE, _OUT_OF_LINE_HINT),
    ("expected '-'", _OUT_OF_LINE, _OUT_OF_LINE_HINT),
    ("node content", "found {found} where a value should be", ""),
)


def explain(source: Source, error: yaml.YAMLError) -> Problem:
    """Return the problem that a parser's error stands for."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return source.problem(Position(1, 1), (), f"no valid YAML: {error}")
    position = _within(source, _position(error.problem_mark))
    opened = _within(source, _position(error.context_mark or error.problem_mark))
    line = source.lines[position.line - 1]
    found = line[position.column - 1 : position.column]
    if found == "\t":
        return source.problem(position, (), "found a tab in the indentation", _TAB_HINT)
    if not found and error.context_mark:
        position = opened  # the end of a line shows nobody what is wrong
    for words, message, hint in _MESSAGES:
        if words in (error.problem or ""):
            place = f"line {opened.line}, column {opened.column}"
            message = message.format(opened=place, found=shown(found) if found else "the end")
            return source.problem(position, (), message, hint)
    return source.problem(position, (), f"no valid YAML: {error.problem}")


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)


def _within(source: Source, position: Position) -> Position:
    """Return the end of the text for a position beyond it."""
    last = len(source.lines)
    return position if position.line <= last else Position(last, len(source.lines[-1]) + 1)
