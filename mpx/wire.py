"""How a conversation looks on the wire: JSON, and lines that text may stand between.

A tagged line (`@mpx …`) carries one message. A write longer than PIPE_BUF may be cut apart by another
writer's text, so a long message travels in pieces, each a line of its own: `@mpx:3/7 …` is the third of
seven parts of one line of JSON. A receiver that missed the first part drops the others.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import json
from typing import Any

from mpx.errors import MessageError

TAG = b"@mpx "
PIECE_TAG = b"@mpx:"
_TAGS = (TAG, PIECE_TAG)
_STEM = b"@mpx"
_NEWLINE_STEM = b"\n" + _STEM
DEFAULT_MAX_LINE = 64 * 1024 * 1024


def _encode_special(value: Any) -> Any:
    """Say in JSON what numpy, torch and Python have beyond it, in NNI's wire form."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        shape = list(getattr(value, "shape", ()))
        if not shape:
            return value.tolist()
        return {"__ndarray__": value.tolist(), "dtype": str(value.dtype), "shape": shape}
    if isinstance(value, (set, frozenset)):
        return {"__set__": _in_order(value)}
    if isinstance(value, complex):
        return {"__complex__": [value.real, value.imag]}
    raise TypeError(f"{type(value).__name__} is not something JSON can say")


def _in_order(items: Any) -> list[Any]:
    """Return a set's items the same way in each process, if they have an order."""
    try:
        return sorted(items)
    except TypeError:
        return list(items)


_to_json = json.JSONEncoder(separators=(",", ":"), default=_encode_special).encode
_from_json = json.JSONDecoder().decode


def encode(value: Any) -> str:
    """Return `value` as one line of ASCII JSON.

    NaN and the infinities stay literals, numpy scalars become numbers, arrays
    `{"__ndarray__": nested lists, "dtype": …, "shape": …}`, sets and complex numbers likewise.

    Raises:
        MessageError: JSON cannot say it.
    """
    try:
        return _to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(f"JSON cannot say this: {error}") from error


def decode(text: str) -> Any:
    """Return what one line of JSON says.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return _from_json(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def in_pieces(payload: bytes, size: int) -> list[bytes]:
    """Cut one line of JSON into the tagged lines that carry it, none longer than `size` bytes."""
    room = size - len(b"\n@mpx:999999/999999 \n")
    parts = [payload[i : i + room] for i in range(0, len(payload), room)]
    return [
        b"\n@mpx:%d/%d %s\n" % (number, len(parts), part) for number, part in enumerate(parts, 1)
    ]


def too_long(max_line: int) -> str:
    """Say that a line is over the limit, and what to do about it."""
    return (
        f"a line of over {max_line} bytes (`maxLineLength` in the configuration): raise that, or send"
        " less: write large results to a file in MPX_OUTPUT_DIR and report its name"
    )


class TaggedLines:
    """Parts what a trial writes into text for its log and lines of the protocol.

    Text passes through at once, an incomplete line of it too; a tagged line is held until whole. The
    newline that the SDK writes before a tag is no text: an empty line is held until it is clear
    whether a tag follows.
    """

    __slots__ = ("_held", "_held_size", "_in_tagged", "_in_text", "_limit", "_skipping")

    def __init__(self, max_line: int) -> None:
        self._limit = max_line + len(TAG)
        self._held: list[bytes] = []
        self._held_size = 0
        self._in_tagged = False  # what is held begins with a tag
        self._in_text = False
        self._skipping = False

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        """Return pairs of (is it a tagged line?, the text or the line without its newline).

        A line over the limit comes as (True, b"") once, and is dropped up to its end.
        """
        found: list[tuple[bool, bytes]] = []
        if self._in_text or self._skipping:
            data = self._finish_line(data, found)
        elif self._held:
            if self._in_tagged and b"\n" not in data:
                self._hold_tagged(data, found)
                return found
            data = self._release() + data
        at, start = 0, _next_tag(data, 0)
        while start >= 0:
            _add_text(found, data[at:start])
            end = data.find(b"\n", start)
            if end < 0:
                self._hold_tagged(data[start:], found)
                return found
            found.append((True, data[start:end] if end - start <= self._limit else b""))
            at = end + 1
            start = _next_tag(data, at)
        if at < len(data):
            self._add_rest(data[at:], found)
        return found

    def skip_line(self) -> None:
        """Drop all up to the next newline."""
        self._skipping = True

    def finish(self) -> list[tuple[bool, bytes]]:
        """Return what was held back, for nothing more comes: it is whole."""
        is_tagged = self._in_tagged
        held = self._release()
        return [(is_tagged, held)] if held else []

    def _finish_line(self, data: bytes, found: list[tuple[bool, bytes]]) -> bytes:
        """Take the end of a line that is text, or too long, off the front of `data`."""
        end = data.find(b"\n") + 1
        line = data[:end] if end else data
        if not self._skipping:
            found.append((False, line))
        if end:
            self._in_text = self._skipping = False
        return data[len(line) :]

    def _hold_tagged(self, part: bytes, found: list[tuple[bool, bytes]]) -> None:
        self._in_tagged = True
        self._held.append(part)
        self._held_size += len(part)
        if self._held_size > self._limit:
            self._release()
            self._skipping = True
            found.append((True, b""))

    def _release(self) -> bytes:
        held = b"".join(self._held)
        self._held, self._held_size, self._in_tagged = [], 0, False
        return held

    def _add_rest(self, rest: bytes, found: list[tuple[bool, bytes]]) -> None:
        """Pass on text, but for what may be the beginning of a tag or the newline before one."""
        last = rest.rfind(b"\n") + 1
        if not _STEM.startswith(rest[last:]):
            self._in_text = True
        else:
            if rest[:last] == b"\n" or rest.endswith(b"\n\n", 0, last):
                last -= 1
            if last < len(rest):
                self._held.append(rest[last:])
                rest = rest[:last]
        if rest:
            found.append((False, rest))


def _next_tag(data: bytes, at: int) -> int:
    """Return where the next tagged line starts, from `at`, itself the start of a line; or -1."""
    if data.startswith(_TAGS, at):
        return at
    newline = data.find(_NEWLINE_STEM, at)
    while newline >= 0 and not data.startswith(_TAGS, newline + 1):
        newline = data.find(_NEWLINE_STEM, newline + 1)
    return newline + 1 if newline >= 0 else -1


def _add_text(found: list[tuple[bool, bytes]], text: bytes) -> None:
    """Add text that stands before a tag, without the newline the SDK puts before its tag."""
    if text == b"\n" or text.endswith(b"\n\n"):
        text = text[:-1]
    if text:
        found.append((False, text))
