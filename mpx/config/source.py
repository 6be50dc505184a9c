"""A user's text file: read with every check that comes before its syntax."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path

from mpx.config.paths import first_config_in, similar_path
from mpx.config.problem import KeyPath, Position, Problem, key_path
from mpx.errors import ConfigError

MAX_BYTES = 1_000_000

# The breaks that PyYAML counts lines by, so that its positions fit the lines shown.
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_CONTROL_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a file, and the name its problems are reported under."""

    name: str
    text: str
    lines: list[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", _LINE_BREAK.split(self.text))

    @property
    def is_json(self) -> bool:
        """Whether the file calls itself JSON."""
        return self.name.endswith(".json")

    def problem(self, position: Position, path: KeyPath, message: str, hint: str = "") -> Problem:
        """Return a problem at `position`, with the source line it is in."""
        line, column = position
        source = self.lines[line - 1]
        return Problem(self.name, line, column, key_path(path), message, hint, source)

    def position_at(self, index: int) -> Position:
        """Return the position of a character by its index in the text."""
        breaks = list(_LINE_BREAK.finditer(self.text, 0, index))
        return Position(len(breaks) + 1, index - (breaks[-1].end() if breaks else 0) + 1)


def read_source(path: Path) -> Source:
    """Read a file of at most `MAX_BYTES` of UTF-8 text; a byte order mark is dropped.

    Raises:
        ConfigError: the file is missing, no regular text, or too large.
    """
    data = _read_bytes(path)
    if len(data) > MAX_BYTES:
        raise _whole(path, "is larger than 1 MB", "a configuration or search space is a short text")
    if data.startswith(_UTF_16):
        raise _whole(path, "is UTF-16 text; allowed: UTF-8", "save it as UTF-8")
    if b"\0" in data:
        raise _whole(path, "is a binary file; allowed: text in UTF-8")
    source = Source(str(path), _decode(path, data))
    _refuse_control_characters(source)
    return source


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _whole(path, "no such file", similar_path(path)) from None
    except IsADirectoryError:
        raise _whole(path, "is a directory; allowed: a file", first_config_in(path)) from None
    except OSError as error:
        raise _whole(path, f"cannot be read: {error.strerror or error}") from None


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        source = Source(str(path), before)
        position = source.position_at(len(before))
        message = f"byte 0x{error.object[error.start]:02x} is no UTF-8"
        raise ConfigError([source.problem(position, (), message, "save it as UTF-8")]) from None


def _refuse_control_characters(source: Source) -> None:
    found = _CONTROL_CHARACTER.search(source.text)
    if found:
        message = f"found the control character {found.group()!r} in the text"
        position = source.position_at(found.start())
        raise ConfigError([source.problem(position, (), message, "remove it")])


def _whole(path: Path, message: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(str(path), None, None, "", message, hint)])
