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
- `welcome`, `ack` and `error` change nothing, but an `error` that answers a request ends it: one that
  gives the request's number.

Both sides refuse what the table does not allow: the sender with `LocalProtocolError` before
anything is sent, the receiver with a `RemoteProtocolError` among the events. The state stays.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, Union

from mpx.errors import LocalProtocolError, MessageError, RemoteProtocolError
from mpx.wire import DEFAULT_MAX_LINE, PIECE_TAG, TAG, TaggedLines, encode, in_pieces, too_long

VERSION = 1

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
_ANSWERS = frozenset(["parameters", "no_more", "error"])
_MAX_SEQ = 2**53  # what every JSON reader takes for a whole number, and every database

Message = Dict[str, Any]
# bytes: text for the log. A RemoteProtocolError: what was wrong with a line of the other side.
Event = Union[bytes, Message, RemoteProtocolError]

_from_json = json.JSONDecoder().decode


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

    def _parse(self, payload: bytes) -> Message:
        """Read one line of JSON.

        Raises:
            RemoteProtocolError: it is no message that this side takes in.
            RecursionError: it is nested too deeply for the stack.
        """
        try:
            message: Message = _from_json(payload.decode())
            kind = message["type"]
            known = kind in self._accepts
        except (ValueError, TypeError, KeyError):
            raise RemoteProtocolError(
                "not a JSON object with a `type`: " + _shorten(payload)
            ) from None
        if not known:
            names = ", ".join(sorted(self._accepts))
            raise RemoteProtocolError(f"unknown message type {kind!r:.80} (known: {names})")
        return message


def _shorten(payload: bytes) -> str:
    text = payload[:80].decode("ascii", "backslashreplace")
    return text if len(payload) <= 80 else text + "…"


def _flaw(message: Message, kind: str, seq: Any) -> str | None:
    """Say what is wrong with the fields of a trial's message; None if nothing is."""
    if type(seq) is not int or not 0 <= seq <= _MAX_SEQ:
        return f"`seq` numbers a trial's messages from 1; found {seq!r:.80}"
    if kind == "final" or kind == "intermediate":
        return None if "value" in message else f"{kind!r} has no `value`"
    if kind == "failed" and not isinstance(message.get("error", {}), dict):
        return "the `error` of 'failed' is not an object of `type`, `message` and `traceback`"
    if kind == "hello" and not _is_token(message.get("session", "")):
        return "the `session` of 'hello' is not a string of ASCII"
    return None


def _is_token(session: Any) -> bool:
    return isinstance(session, str) and session.isascii()


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

    def receive(self, data: bytes) -> Iterator[Event]:
        """Take in what the trial wrote; yield text, messages and errors in their order.

        While an event is handled, the state and `last_seq` are those it led to: what stands behind
        it is not taken in yet.
        """
        return self._take_in(self._lines.feed(data))

    def end_of_output(self) -> Iterator[Event]:
        """Take in that nothing more will come: a line that is held back is whole."""
        return self._take_in(self._lines.finish())

    def _take_in(self, found: list[tuple[bool, bytes]]) -> Iterator[Event]:
        for tagged, line in found:
            event: Event | None = self._on_line(line) if tagged else line
            if event is not None:
                yield event

    def close_phase(self) -> None:
        """End the open phase from this side: its result cannot be taken."""
        self.state = IDLE

    def _on_line(self, line: bytes) -> Event | None:
        if line.startswith(TAG):
            return self._on_message(line[len(TAG) :])
        if line.startswith(PIECE_TAG):
            return self._on_piece(line[len(PIECE_TAG) :])
        return RemoteProtocolError(too_long(self.max_line))

    def _on_piece(self, piece: bytes) -> Event | None:
        numbers, _, part = piece.partition(b" ")
        number, _, total = numbers.partition(b"/")
        if not (number.isdigit() and total.isdigit()):
            return PIECE_TAG + piece + b"\n"
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
        try:
            message = self._parse(payload)
        except RemoteProtocolError as error:
            return error
        except RecursionError:
            return RemoteProtocolError("nested too deeply: " + _shorten(payload))
        kind, seq = message["type"], message.get("seq", 0)
        flaw = _flaw(message, kind, seq)
        if flaw is not None:
            return RemoteProtocolError(flaw)
        if kind == "hello":
            self.greeted, self.session = True, message.get("session")
        elif seq and seq <= self.last_seq:
            return None  # sent again, and taken in already
        after = CONVERSATION[self.state].get(kind)
        if after is None:
            return RemoteProtocolError(f"{kind!r} is not allowed now: {self.state}", seq)
        self.last_seq = seq
        self.state = after
        return message

    def welcome(self) -> bytes:
        """Answer a hello. The newline ends what a manager that died may have left half written."""
        return (
            f'\n{{"type":"welcome","seq":{self.last_seq},"protocol":{VERSION},'
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
        """Answer a request: it cannot be met, and why."""
        state = self.state
        self._sending("error")
        return _error(self.last_seq, state, message)

    def violation(self, error: RemoteProtocolError) -> bytes:
        """Tell the trial what it did wrong; a request that waits for its answer still waits."""
        return _error(error.seq, self.state, str(error))


def _error(seq: int | None, state: str, message: str) -> bytes:
    return (
        f'{{"type":"error","seq":{encode(seq)},"state":{encode(state)},'
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

    __slots__ = ("_atomic", "_awaited", "_rest", "seq")

    _accepts = FROM_MANAGER

    def __init__(self, max_line: int = DEFAULT_MAX_LINE, atomic: int = 512) -> None:
        super().__init__(max_line)
        self.seq = 0
        self._atomic = atomic
        self._awaited: str | None = None  # the session whose welcome has not come
        self._rest: list[bytes] = []

    def hello(self, sdk: str, pid: int, session: str) -> list[bytes]:
        """Begin to speak: a new sequence.

        The welcome repeats `session`, a token of one's own. All that comes before it was meant for
        a process that spoke earlier, and is dropped.
        """
        self.seq = 0
        self._awaited = session
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
        """End the open phase without a result. Text that would be too long is cut.

        A character is at most twelve bytes of JSON.
        """
        short = self.max_line // 64
        error = {
            "type": kind[:short],
            "message": message[:short],
            "traceback": traceback[-3 * short :],
        }
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
        try:
            message = self._parse(line)
        except RemoteProtocolError:
            return []  # half a line of a manager that died, or more than this version knows
        except RecursionError:
            self.state = IDLE
            raise RemoteProtocolError("the answer is nested too deeply for the stack") from None
        kind, seq = message["type"], message.get("seq")
        if self._awaited is not None:
            if kind != "welcome" or message.get("session") != self._awaited:
                return []
            self._awaited = None
            self.max_line = message.get("max_line", self.max_line)
        elif kind in _ANSWERS and seq != self.seq and (seq is not None or self.state is ASKED):
            return []  # answers a message of an earlier sequence, or one answered already
        after = CONVERSATION[self.state].get(kind)
        if after is None:
            raise RemoteProtocolError(f"{kind!r} is not allowed now: {self.state}")
        self.state = after
        return [message]
