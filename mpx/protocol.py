"""The conversation between a trial and the manager, as a value: bytes in, events out, no I/O.

One JSON object per line, UTF-8. From the trial a line of the protocol starts with the tag `@mpx `;
every other line is text for the trial's log. To the trial every line is the protocol's.
`docs/protocol.md` is the public specification.

The rules, which `CONVERSATION` below states once for both sides:

- A trial asks (`request`); the manager answers with `parameters`, which open a phase, or `no_more`.
- While a phase is open the trial may report `intermediate` results, and ends it with the first
  `final` result, or `failed`. Asking instead abandons it.
- `hello` may come at any time: another process of the trial begins to speak. It starts a new
  sequence and finds no phase open.
- `welcome`, `ack` and `error` change nothing, but an `error` that answers a request ends it.

Both sides refuse what the table does not allow: the sender with `LocalProtocolError` before
anything is sent, the receiver with a `RemoteProtocolError` among the events. The state stays.

Long lines. A write longer than PIPE_BUF may be cut apart by another writer's text, so a long
message travels in pieces, each a line of its own: `@mpx:3/7 …` is the third of seven parts of one
line of JSON. A receiver that missed the first part drops the others.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Union

from mpx.errors import LocalProtocolError, MessageError, RemoteProtocolError

VERSION = 1
TAG = b"@mpx "
PIECE_TAG = b"@mpx:"
_STEM = b"@mpx"
_NEWLINE_STEM = b"\n" + _STEM
DEFAULT_MAX_LINE = 64 * 1024 * 1024

IDLE = "no phase is open"
ASKED = "waiting for parameters"
OPEN = "a phase is open"

# state → message → next state. The first block is the trial's to send, the second the manager's.
CONVERSATION = {
    IDLE: {
        "hello": IDLE,
        "request": ASKED,
        "welcome": IDLE,
        "ack": IDLE,
        "error": IDLE,
    },
    ASKED: {
        "hello": IDLE,
        "parameters": OPEN,
        "no_more": IDLE,
        "error": IDLE,
        "welcome": ASKED,
        "ack": ASKED,
    },
    OPEN: {
        "hello": IDLE,
        "intermediate": OPEN,
        "final": IDLE,
        "failed": IDLE,
        "request": ASKED,
        "welcome": OPEN,
        "ack": OPEN,
        "error": OPEN,
    },
}
FROM_TRIAL = frozenset(["hello", "request", "intermediate", "final", "failed"])
FROM_MANAGER = frozenset(["welcome", "parameters", "no_more", "ack", "error"])
_ANSWERS = frozenset(["parameters", "no_more"])

Message = Dict[str, Any]
# bytes: text for the log. A RemoteProtocolError: what was wrong with a line of the other side.
Event = Union[bytes, Message, RemoteProtocolError]


def _encode_special(value: Any) -> Any:
    """Say in JSON what numpy, torch and Python have beyond it, in NNI's wire form."""
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        shape = list(getattr(value, "shape", ()))
        if not shape:
            return value.tolist()
        return {"__ndarray__": value.tolist(), "dtype": str(value.dtype), "shape": shape}
    if isinstance(value, (set, frozenset)):
        return {"__set__": list(value)}
    if isinstance(value, complex):
        return {"__complex__": [value.real, value.imag]}
    raise TypeError(f"{type(value).__name__} is not something JSON can say")


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
        f"a line of over {max_line} bytes: send less (write large results to a file in"
        " MPX_OUTPUT_DIR and report its name), or raise `maxLineLength` in the configuration"
    )


class TaggedLines:
    """Parts what a trial writes into text for its log and lines of the protocol.

    Text passes through at once, an incomplete line of it too; a tagged line is held until whole.
    """

    __slots__ = ("_held", "_held_size", "_in_text", "_skipping", "max_line")

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line
        self._held: list[bytes] = []
        self._held_size = 0
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
            if b"\n" not in data:
                self._hold(data, found)
                return found
            data = self._release() + data
        at, start = 0, _next_tag(data, 0)
        while start >= 0:
            _add_text(found, data[at:start])
            end = data.find(b"\n", start)
            if end < 0:
                self._hold(data[start:], found)
                return found
            found.append((True, data[start:end]))
            at = end + 1
            start = _next_tag(data, at)
        self._add_rest(data[at:], found)
        return found

    @property
    def holds_back(self) -> bool:
        """Whether a line that may be tagged is incomplete."""
        return bool(self._held)

    def _finish_line(self, data: bytes, found: list[tuple[bool, bytes]]) -> bytes:
        """Take the end of a line that is text, or too long, off the front of `data`."""
        end = data.find(b"\n") + 1
        line = data[:end] if end else data
        if not self._skipping:
            found.append((False, line))
        if end:
            self._in_text = self._skipping = False
        return data[len(line) :]

    def _hold(self, part: bytes, found: list[tuple[bool, bytes]]) -> None:
        self._held.append(part)
        self._held_size += len(part)
        if self._held_size > self.max_line:
            self._release()
            self._skipping = True
            found.append((True, b""))

    def _release(self) -> bytes:
        held = b"".join(self._held)
        self._held, self._held_size = [], 0
        return held

    def _add_rest(self, rest: bytes, found: list[tuple[bool, bytes]]) -> None:
        """Pass on text whose last line may be incomplete, or be the beginning of a tag."""
        last = rest.rfind(b"\n") + 1
        if last < len(rest):
            if _STEM.startswith(rest[last:]):
                self._hold(rest[last:], found)
                rest = rest[:last]
            else:
                self._in_text = True
        if rest:
            found.append((False, rest))


def _next_tag(data: bytes, at: int) -> int:
    """Return where the next tagged line starts, from `at`, itself the start of a line; or -1."""
    if data.startswith(_STEM, at):
        return at
    newline = data.find(_NEWLINE_STEM, at)
    return newline + 1 if newline >= 0 else -1


def _add_text(found: list[tuple[bool, bytes]], text: bytes) -> None:
    """Add text that stands before a tag, without the newline the SDK puts before its tag."""
    if text == b"\n" or text.endswith(b"\n\n"):
        text = text[:-1]
    if text:
        found.append((False, text))


class _Connection:
    """What both sides share: the state, and the rules for sending and receiving."""

    __slots__ = ("max_line", "state")

    _accepts: frozenset[str] = frozenset()

    def __init__(self, max_line: int = DEFAULT_MAX_LINE) -> None:
        self.state = IDLE
        self.max_line = max_line

    def _sending(self, kind: str) -> None:
        """Move on as the message about to be sent demands."""
        after = CONVERSATION[self.state].get(kind)
        if after is None:
            raise LocalProtocolError(f"{kind!r} cannot be sent now: {self.state}")
        self.state = after

    def _parse(self, payload: bytes) -> Message | RemoteProtocolError:
        """Read one line of JSON; the state is as before."""
        try:
            message: Message = decode(payload.decode())
            kind = message["type"]
            known = kind in self._accepts
        except (ValueError, TypeError, KeyError):
            return RemoteProtocolError("not a JSON object with a `type`: " + _shorten(payload))
        if not known:
            return RemoteProtocolError(
                "unknown message type {!r} (known: {})".format(
                    kind, ", ".join(sorted(self._accepts))
                )
            )
        return message


def _shorten(payload: bytes) -> str:
    text = payload[:80].decode("ascii", "backslashreplace")
    return text if len(payload) <= 80 else text + "…"


class ManagerConnection(_Connection):
    """The manager's side of one trial's conversation.

    Attributes:
        state: IDLE, ASKED or OPEN.
        greeted: the trial said hello, so it understands acks and errors.
        last_seq: the number of the last message taken in; 0 where the trial gives none.
        session: the token of the last hello.
    """

    __slots__ = (
        "_lines",
        "_pieces",
        "_pieces_size",
        "_pieces_total",
        "greeted",
        "last_seq",
        "session",
    )

    _accepts = FROM_TRIAL

    def __init__(self, max_line: int = DEFAULT_MAX_LINE) -> None:
        super().__init__(max_line)
        self.greeted = False
        self.last_seq = 0
        self.session: Any = None
        self._lines = TaggedLines(max_line)
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._pieces_total = b""

    def receive(self, data: bytes) -> list[Event]:
        """Take in what the trial wrote; return text, messages and errors in their order."""
        events: list[Event] = []
        for tagged, line in self._lines.feed(data):
            event: Event | None = self._on_line(line) if tagged else line
            if event is not None:
                events.append(event)
        return events

    def end_of_output(self) -> list[Event]:
        """Take in that nothing more will come: a line that is held back is whole."""
        return self.receive(b"\n") if self._lines.holds_back else []

    def close_phase(self) -> None:
        """End the open phase from this side: its result cannot be taken."""
        self.state = IDLE

    def _on_line(self, line: bytes) -> Event | None:
        if line.startswith(TAG):
            return self._on_message(line[len(TAG) :])
        if line.startswith(PIECE_TAG):
            return self._on_piece(line[len(PIECE_TAG) :])
        if not line:
            return RemoteProtocolError(too_long(self.max_line))
        return line + b"\n"

    def _on_piece(self, piece: bytes) -> Event | None:
        numbers, _, part = piece.partition(b" ")
        number, _, total = numbers.partition(b"/")
        if number == b"1":
            self._pieces, self._pieces_size, self._pieces_total = [], 0, total
        elif total != self._pieces_total or number != b"%d" % (len(self._pieces) + 1):
            self._pieces_total = b""
            return None
        self._pieces.append(part)
        self._pieces_size += len(part)
        if self._pieces_size > self.max_line:
            self._pieces, self._pieces_total = [], b""
            return RemoteProtocolError(too_long(self.max_line))
        if number != total:
            return None
        whole, self._pieces, self._pieces_total = b"".join(self._pieces), [], b""
        return self._on_message(whole)

    def _on_message(self, payload: bytes) -> Event | None:
        message = self._parse(payload)
        if isinstance(message, RemoteProtocolError):
            return message
        kind, seq = message["type"], message.get("seq", 0)
        if kind == "hello":
            self.greeted, self.session = True, message.get("session")
        elif seq and seq <= self.last_seq:
            return None  # sent again, and taken in already
        after = CONVERSATION[self.state].get(kind)
        self.last_seq = seq
        if after is None:
            return RemoteProtocolError(f"{kind!r} is not allowed now: {self.state}")
        self.state = after
        return message

    def welcome(self) -> bytes:
        """Answer a hello. The newline ends what a manager that died may have left half written."""
        return (
            f'\n{{"type":"welcome","protocol":{VERSION},"seq":{self.last_seq},'
            f'"session":{encode(self.session)},"max_line":{self.max_line}}}\n'
        ).encode()

    def parameters(self, parameter_id: int, phase_index: int, text: str) -> bytes:
        """Open a phase. `text` is its parameters as `encode` made them."""
        self._sending("parameters")
        return (
            f'{{"type":"parameters","seq":{self.last_seq},"parameter_id":{parameter_id},'
            f'"phase_index":{phase_index},"parameters":{text}}}\n'
        ).encode()

    def no_more(self, reason: str) -> bytes:
        """Answer a request: no phase opens, and why."""
        self._sending("no_more")
        return f'{{"type":"no_more","seq":{self.last_seq},"reason":{encode(reason)}}}\n'.encode()

    def ack(self) -> bytes:
        """Acknowledge every message up to the last; call it when they are on disk."""
        return b'{"type":"ack","seq":%d}\n' % self.last_seq

    def error(self, message: str) -> bytes:
        """Answer what was illegal. It ends a request that waits."""
        state = self.state
        self._sending("error")
        return (
            f'{{"type":"error","seq":{self.last_seq},"state":{encode(state)},'
            f'"message":{encode(message)}}}\n'
        ).encode()


class TrialConnection(_Connection):
    """The trial's side.

    Every sending method returns the writes to make, in order; none is over `atomic` bytes, so none
    is cut apart by another process that writes to the same pipe.

    Args:
        max_line: longest message in bytes, before it is cut into pieces.
        atomic: longest write that the system does not cut apart (PIPE_BUF).
    """

    __slots__ = ("_atomic", "_rest", "seq")

    _accepts = FROM_MANAGER

    def __init__(self, max_line: int = DEFAULT_MAX_LINE, atomic: int = 512) -> None:
        super().__init__(max_line)
        self.seq = 0
        self._atomic = atomic
        self._rest: list[bytes] = []

    def hello(self, sdk: str, pid: int, session: str) -> list[bytes]:
        """Begin to speak: a new sequence. The welcome repeats `session`, a token of one's own."""
        self.seq = 0
        return self._message(
            "hello",
            f',"protocol":{VERSION},"sdk":{encode(sdk)},"pid":{pid},"session":{encode(session)}',
        )

    def request(self) -> list[bytes]:
        """Ask for the parameters of the next phase."""
        return self._message("request", "")

    def intermediate(self, value: Any) -> list[bytes]:
        """Report an intermediate result of the open phase."""
        return self._message("intermediate", ',"value":' + encode(value))

    def final(self, value: Any) -> list[bytes]:
        """Report the final result of the open phase, which ends it."""
        return self._message("final", ',"value":' + encode(value))

    def failed(self, kind: str, message: str, traceback: str) -> list[bytes]:
        """End the open phase without a result."""
        error = {"type": kind, "message": message, "traceback": traceback}
        return self._message("failed", ',"error":' + encode(error))

    def _message(self, kind: str, fields: str) -> list[bytes]:
        line = f'{{"type":"{kind}","seq":{self.seq + 1}{fields}}}'
        if len(line) > self.max_line:
            raise MessageError(too_long(self.max_line))
        self._sending(kind)
        self.seq += 1
        if len(line) + len(TAG) + 2 <= self._atomic:
            return [b"\n%s%s\n" % (TAG, line.encode())]
        return in_pieces(line.encode(), self._atomic)

    def receive(self, data: bytes) -> list[Message]:
        """Take in what the manager wrote; return its messages in their order.

        Raises:
            RemoteProtocolError: the manager sent what is not allowed now.
        """
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            lines[0] = b"".join(self._rest) + lines[0]
            self._rest = []
        if rest:
            self._rest.append(rest)
        return [message for line in lines if line for message in self._on_line(line)]

    def forget_rest(self) -> None:
        """Drop half a line: the manager that wrote it is gone."""
        self._rest = []

    def _on_line(self, line: bytes) -> list[Message]:
        message = self._parse(line)
        if isinstance(message, RemoteProtocolError):
            return []  # what a manager that died left half written
        kind = message["type"]
        if kind in _ANSWERS and message.get("seq") != self.seq:
            return []  # answers a message of an earlier sequence, or one answered already
        after = CONVERSATION[self.state].get(kind)
        if after is None:
            raise RemoteProtocolError(f"{kind!r} is not allowed now: {self.state}")
        self.state = after
        return [message]
