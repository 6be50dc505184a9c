"""The conversation between a trial and the manager, as a value: bytes in, events out, no I/O.

One JSON object per line, UTF-8. From the trial a line of the protocol starts with the tag `@mpx `;
every other line is text for the trial's log. To the trial every line is the protocol's.
`docs/protocol.md` is the public specification.

The rules, which `CONVERSATION` below states once for both sides:

- A trial asks (`request`); the manager answers with `parameters`, which open a phase, or `no_more`. One
  that asks for several at a time has a *batch* of phases open.
- While a phase is open the trial may report `intermediate` results and a `checkpoint`, and ends it with
  the first `final` result, or `failed`; in a batch these name the phase. Asking instead abandons what
  is open.
- `hello` may come at any time: another process of the trial begins to speak. It starts a new
  sequence and finds no phase open.
- `welcome` answers a hello. Without one, it says that a manager has taken the place of one that died,
  and the number of the last message that it knows of: what came later is sent again.
- `welcome`, `ack`, `verdict` and `error` change nothing, but an `error` that answers a request ends it:
  one that gives the request's number.

What the table does not allow, the sender refuses with `LocalProtocolError` before anything is sent, and
the manager with a `RemoteProtocolError` among the events. The state stays. To a trial it can only be an
answer that it has: another manager repeats the last one, and it is dropped.

A trial imports this module, so it keeps to Python 3.7 and to the standard library.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple, Union

from mpx.errors import LocalProtocolError, MessageError, RemoteProtocolError
from mpx.wire import DEFAULT_MAX_LINE, PIECE_TAG, TAG, TaggedLines, encode, in_pieces, too_long

VERSION = 1

IDLE = "no phase is open"
ASKED = "waiting for parameters"
OPEN = "a phase is open"

# state → message → next state. In a batch it is the last open phase whose end leads to IDLE.
CONVERSATION = {
    IDLE: {
        "hello": IDLE,
        "request": ASKED,
        "welcome": IDLE,
        "ack": IDLE,
        "verdict": IDLE,
        "error": IDLE,
    },
    ASKED: {
        "hello": IDLE,
        "parameters": OPEN,
        "no_more": IDLE,
        "error": IDLE,
        "welcome": ASKED,
        "ack": ASKED,
        "verdict": ASKED,
    },
    OPEN: {
        "hello": IDLE,
        "intermediate": OPEN,
        "checkpoint": OPEN,
        "final": IDLE,
        "failed": IDLE,
        "request": ASKED,
        "welcome": OPEN,
        "ack": OPEN,
        "verdict": OPEN,
        "error": OPEN,
    },
}
_ENDS = frozenset(["final", "failed"])
_ABOUT_A_PHASE = frozenset(["intermediate", "checkpoint", "final", "failed"])
FROM_TRIAL = frozenset(["hello", "request", "intermediate", "checkpoint", "final", "failed"])
FROM_MANAGER = frozenset(["welcome", "parameters", "no_more", "ack", "verdict", "error"])
_ANSWERS = frozenset(["parameters", "no_more", "error"])
# What tells a trial that all its messages up to the answer's number are on record.
_SETTLES = frozenset(["parameters", "no_more", "ack", "verdict"])
# What a trial holds at most before it asks for an acknowledgement: bytes, and messages.
_MUCH_HELD = 2**20
_MANY_HELD = 1000
_MAX_SEQ = 2**53  # what every JSON reader takes for a whole number, and every database
LARGEST_BATCH = 10_000  # phases
_NAMED = 8  # open phases, where all cannot be

Message = Dict[str, Any]
# bytes: text for the log. A RemoteProtocolError: what was wrong with a line of the other side.
Event = Union[bytes, Message, RemoteProtocolError]
# A message's number and the writes that carry it.
Outgoing = Tuple[int, List[bytes]]


class Given(NamedTuple):
    """The parameters of one phase, as a trial is given them.

    Attributes:
        parameter_id: number of the phase in the experiment.
        phase_index: and in its trial.
        text: the parameters as `encode` made them.
        parent: parameter_id of the phase that it goes on from.
        checkpoint: path of what that phase saved, if the trial is to load it.
    """

    parameter_id: int
    phase_index: int
    text: str
    parent: int | None = None
    checkpoint: str | None = None

    def fields(self) -> str:
        """Return it as the fields of a JSON object, the parameters last."""
        parent = f'"parent":{self.parent},' if self.parent is not None else ""
        if self.checkpoint is not None:
            parent += f'"checkpoint":{encode(self.checkpoint)},'
        return (
            f'"parameter_id":{self.parameter_id},"phase_index":{self.phase_index},'
            f'{parent}"parameters":{self.text}'
        )


_from_json = json.JSONDecoder().decode


class _Connection:
    """What both sides share: the state, and the rules for sending and receiving.

    Attributes:
        state: IDLE, ASKED or OPEN.
        open_phases: the indexes of the phases that are open.
    """

    __slots__ = ("max_line", "open_phases", "state")

    _accepts: frozenset[str] = frozenset()

    def __init__(self, max_line: int = DEFAULT_MAX_LINE) -> None:
        self.state = IDLE
        self.open_phases: set[int] = set()
        self.max_line = max_line

    def _sending(self, kind: str, phase_index: Any = None) -> None:
        """Move on as the message about to be sent demands."""
        flaw = self._move(kind, phase_index)
        if flaw is not None:
            raise LocalProtocolError(f"{kind!r} cannot be sent now: {flaw}")

    def _move(self, kind: str, phase_index: Any) -> str | None:
        """Move on as a message of the trial, or one that opens nothing, demands.

        Returns:
            Why it is not allowed now, and nothing moved; None if it is.
        """
        after = CONVERSATION[self.state].get(kind)
        if after is None:
            return self.state
        if kind in _ABOUT_A_PHASE:
            if phase_index not in self.open_phases:
                return self._name_of(phase_index)
            if kind in _ENDS:
                self.open_phases.discard(phase_index)
                if self.open_phases:
                    after = OPEN
        elif after != self.state:
            self.open_phases.clear()  # nothing that leads elsewhere leaves a phase open
        self.state = after
        return None

    def _name_of(self, phase_index: Any) -> str:
        """Say which phases are open, to one who named none of them."""
        some = ", ".join(map(str, sorted(self.open_phases)[:_NAMED]))
        if len(self.open_phases) > _NAMED:
            some += " …"
        if phase_index is None:
            many = len(self.open_phases)
            return f"{many} phases are open: name one by its `phase_index` ({some})"
        return f"phase {phase_index!r:.80} is not open (open: {some})"

    def only_open(self) -> int | None:
        """Return the index of the open phase; None if there are several, or none."""
        return next(iter(self.open_phases)) if len(self.open_phases) == 1 else None

    def close_phases(self) -> None:
        """End what is open from this side: its results cannot be taken."""
        self.open_phases.clear()
        self.state = IDLE

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


def _flaw(message: Message, kind: str) -> str | None:
    """Say what is wrong with the fields of a trial's message; None if nothing is."""
    if kind in _ABOUT_A_PHASE and type(message.get("phase_index", 0)) is not int:
        index = message["phase_index"]
        return f"the `phase_index` of {kind!r} is a whole number; found {index!r:.80}"
    if kind == "final" or kind == "intermediate":
        return None if "value" in message else f"{kind!r} has no `value`"
    if kind == "checkpoint":
        return _flaw_of_checkpoint(message)
    if kind == "request":
        return _flaw_of_count(message["count"]) if "count" in message else None
    if kind == "failed" and not isinstance(message.get("error", {}), dict):
        return "the `error` of 'failed' is not an object of `type`, `message` and `traceback`"
    if kind == "hello" and not _is_token(message.get("session", "")):
        return "the `session` of 'hello' is not a string of ASCII"
    return None


def _flaw_of_checkpoint(message: Message) -> str | None:
    if not _is_path(message.get("path")):
        return "the `path` of 'checkpoint' is not an absolute path, in Unicode"
    size = message.get("size", 0)
    if type(size) is not int or not 0 <= size < 2**63:
        return "the `size` of 'checkpoint' is not a whole number of bytes"
    return None


def _flaw_of_count(count: Any) -> str | None:
    if type(count) is int and 1 <= count <= LARGEST_BATCH:
        return None
    return f"the `count` of 'request' is from 1 to {LARGEST_BATCH}; found {count!r:.80}"


def _is_token(session: Any) -> bool:
    return isinstance(session, str) and session.isascii()


def _is_path(path: Any) -> bool:
    """Say whether a file can have this name, and the store can take it: no lone surrogates."""
    if not isinstance(path, str):
        return False
    return (
        path.startswith("/")
        and "\0" not in path
        and not any("\ud800" <= c <= "\udfff" for c in path)
    )


class ManagerConnection(_Connection):
    """The manager's side of one trial's conversation.

    Attributes:
        greeted: the trial said hello, so it understands acks and errors.
        last_seq: the number of the last message taken in; 0 where the trial gives none.
        about: the index of the phase that the last report was about.
        session: the token of the last hello.
        has_assessor: intermediate results are judged; the welcome says so.
        resends: the trial promised to send again what a manager that died may not have taken in.
    """

    __slots__ = (
        "_in_step",
        "_lines",
        "_pieces",
        "_pieces_size",
        "_pieces_total",
        "about",
        "greeted",
        "has_assessor",
        "last_seq",
        "resends",
        "session",
    )

    _accepts = FROM_TRIAL

    def __init__(self, max_line: int = DEFAULT_MAX_LINE) -> None:
        super().__init__(max_line)
        self.greeted = False
        self.has_assessor = False
        self.last_seq = 0
        self.about: Any = None
        self.session: Any = None
        self.resends = False
        # False from an adoption until the trial goes on from `last_seq`: what is ahead of that comes
        # again, in order, once the trial has read the welcome.
        self._in_step = True
        self._lines = TaggedLines(max_line)
        self._pieces: list[bytes] = []
        self._pieces_size = 0
        self._pieces_total = b""

    @classmethod
    def adopted(
        cls,
        max_line: int,
        state: str,
        last_seq: int,
        session: str | None,
        resends: bool,
        open_phases: Iterable[int] = (),
    ) -> ManagerConnection:
        """Go on with a conversation that a manager led which has died.

        Args:
            max_line: bytes of the longest message.
            state: where the conversation stands, as far as it is on record.
            last_seq: the number of the last message on record.
            session: the token of the last hello; None if there was none.
            resends: the trial promised to send again what is not on record.
            open_phases: the indexes of those that are open.
        """
        connection = cls(max_line)
        connection.open_phases.update(open_phases)
        connection.state, connection.last_seq = state, last_seq
        connection.session, connection.resends = session, resends
        connection.greeted = session is not None
        if resends:
            connection.skip_rest()
        return connection

    def skip_rest(self) -> None:
        """Drop the rest of a line whose head died with a manager, and what is ahead of the record."""
        self._in_step = False
        self._lines.skip_line()

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
            self._in_step = True  # its number cannot be read, and it may be the one waited for
            return RemoteProtocolError("nested too deeply: " + _shorten(payload))
        kind, seq = message["type"], message.get("seq", 0)
        if type(seq) is not int or not 0 <= seq <= _MAX_SEQ:
            return RemoteProtocolError(
                f"`seq` numbers a trial's messages from 1; found {seq!r:.80}"
            )
        flaw = _flaw(message, kind)
        if kind == "hello":
            if flaw is not None:
                return RemoteProtocolError(flaw, seq)
            self.greeted, self.session = True, message.get("session")
            self.resends = message.get("resend") is True
            self._in_step = True
        elif seq and not (seq > self.last_seq if self._in_step else self._falls_in_step(seq)):
            return None  # sent again and taken in already, or to be sent again
        if flaw is not None:
            answers = kind == "request" and self.state is not ASKED
            return RemoteProtocolError(flaw, seq, answers)
        if kind in _ABOUT_A_PHASE:
            self.about = message["phase_index"] if "phase_index" in message else self.only_open()
        refused = self._move(kind, self.about)
        if refused is not None:
            return RemoteProtocolError(f"{kind!r} is not allowed now: {refused}", seq)
        self.last_seq = seq
        return message

    def _falls_in_step(self, seq: int) -> bool:
        """Say whether an adopted trial goes on from the last message on record with this one."""
        self._in_step = seq == self.last_seq + 1
        return self._in_step

    def welcome(self) -> bytes:
        """Answer a hello, or take the place of a manager that died.

        The newline ends what that one may have left half written.
        """
        assessor = ',"assessor":true' if self.has_assessor else ""
        return (
            f'\n{{"type":"welcome","seq":{self.last_seq},"protocol":{VERSION},'
            f'"session":{encode(self.session)},"max_line":{self.max_line}{assessor}}}\n'
        ).encode()

    def parameters(self, given: Sequence[Given], is_batch: bool = False) -> bytes:
        """Open phases: one, or as a batch those for which a request with a `count` asked."""
        self._sending("parameters")
        self.open_phases.update([one.phase_index for one in given])
        return self.parameters_again(given, is_batch)

    def parameters_again(self, given: Sequence[Given], is_batch: bool = False) -> bytes:
        """Repeat the answer to the last message, a request: it may have died with a manager."""
        if is_batch:
            fields = '"phases":[' + ",".join(f"{{{one.fields()}}}" for one in given) + "]"
        else:
            fields = given[0].fields()
        return f'{{"type":"parameters","seq":{self.last_seq},{fields}}}\n'.encode()

    def no_more(self, reason: str) -> bytes:
        """Answer a request: no phase opens, and why."""
        self._sending("no_more")
        return self.no_more_again(reason)

    def no_more_again(self, reason: str) -> bytes:
        """Repeat that answer: it may have died with a manager."""
        return f'{{"type":"no_more","seq":{self.last_seq},"reason":{encode(reason)}}}\n'.encode()

    def ack(self) -> bytes:
        """Acknowledge every message up to the last; call it when they are on disk."""
        return b'{"type":"ack","seq":%d}\n' % self.last_seq

    def verdict(self, stop: str | None) -> bytes:
        """Answer the last intermediate result: why the phase is stopped; None: it goes on."""
        stopped = f'true,"reason":{encode(stop)}' if stop is not None else "false"
        return f'{{"type":"verdict","seq":{self.last_seq},"stop":{stopped}}}\n'.encode()

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

    Every sending method puts writes into `to_write`, in order; none is over `atomic` bytes, so none
    is cut apart by another process that writes to the same pipe. What is sent is kept until an answer
    says that it is on record; a welcome from another manager puts the rest into `to_write` again.

    Attributes:
        seq: number of the last message.
        session: the token of the hello.
        to_write: the messages that wait to be written, each as its number and its writes.
        has_assessor: the manager can say whether the phase is worth going on with.
        held: bytes of intermediate results whose record is not certain, since all was.

    Args:
        max_line: longest message in bytes, before it is cut into pieces.
        atomic: longest write that the system does not cut apart (PIPE_BUF).
    """

    __slots__ = (
        "_atomic",
        "_awaited",
        "_rest",
        "_settled",
        "_unsettled",
        "has_assessor",
        "held",
        "seq",
        "session",
        "to_write",
    )

    _accepts = FROM_MANAGER

    def __init__(self, max_line: int = DEFAULT_MAX_LINE, atomic: int = 512) -> None:
        super().__init__(max_line)
        self.seq = 0
        self.session = ""
        self.has_assessor = False
        self._atomic = atomic
        self._awaited: str | None = None  # the session whose welcome has not come
        self._rest: list[bytes] = []
        self._settled = 0
        self._unsettled: deque[Outgoing] = deque()
        self.to_write: deque[Outgoing] = deque()
        self.held = 0

    def hello(self, sdk: str, pid: int, session: str) -> None:
        """Begin to speak: a new sequence.

        The welcome repeats `session`, a token of one's own. All that comes before it was meant for
        a process that spoke earlier, and is dropped.
        """
        self.seq = self.held = self._settled = 0
        self._unsettled.clear()
        self.to_write.clear()
        self.session = self._awaited = session
        self._message(
            "hello",
            f',"protocol":{VERSION},"resend":true,"sdk":{encode(sdk)},"pid":{pid},"session":{encode(session)}',
        )

    def request(self, count: int | None = None) -> None:
        """Ask for the parameters of the next phase, or of a batch of so many."""
        self._message("request", "" if count is None else f',"count":{count}')

    def intermediate(
        self, value: Any, phase_index: int | None = None, ack: bool = False, verdict: bool = False
    ) -> None:
        """Report an intermediate result of an open phase.

        Args:
            value: anything JSON can say.
            phase_index: the phase; None: the only one that is open.
            ack: ask for an acknowledgement, so that what is held is held no longer.
            verdict: ask whether to go on with the phase, which is an acknowledgement too.
        """
        text = encode(value)
        wishes = (',"ack":true' if ack else "") + (',"verdict":true' if verdict else "")
        self._about_a_phase("intermediate", phase_index, f'{wishes},"value":{text}')
        self.held += len(text)  # all other messages are answered at once

    def checkpoint(
        self, path: str, phase_index: int | None = None, size: int | None = None
    ) -> None:
        """Say what an open phase has saved, of how many bytes: another one may go on from it."""
        text = f',"path":{encode(path)}'
        if size is not None:
            text += f',"size":{size}'
        self._about_a_phase("checkpoint", phase_index, text)

    def final(self, value: Any, phase_index: int | None = None) -> None:
        """Report the final result of an open phase, which ends it."""
        self._about_a_phase("final", phase_index, ',"value":' + encode(value))

    def failed(
        self, kind: str, message: str, traceback: str, phase_index: int | None = None
    ) -> None:
        """End an open phase without a result. Text that would be too long is cut.

        A character is at most twelve bytes of JSON.
        """
        short = self.max_line // 64
        error = {
            "type": kind[:short],
            "message": message[:short],
            "traceback": traceback[-3 * short :],
        }
        self._about_a_phase("failed", phase_index, ',"error":' + encode(error))

    def _about_a_phase(self, kind: str, phase_index: int | None, fields: str) -> None:
        if phase_index is None:
            self._message(kind, fields, self.only_open())
        else:
            self._message(kind, f',"phase_index":{phase_index}{fields}', phase_index)

    def _message(self, kind: str, fields: str, phase_index: int | None = None) -> None:
        line = f'{{"type":"{kind}","seq":{self.seq + 1}{fields}}}'
        if len(line) > self.max_line:
            raise MessageError(too_long(self.max_line))
        if len(line) + len(TAG) + 2 <= self._atomic:
            writes = [b"\n%s%s\n" % (TAG, line.encode())]
        else:
            writes = in_pieces(line.encode(), self._atomic)
        self._sending(kind, phase_index)
        self.seq += 1
        outgoing = (self.seq, writes)
        self._unsettled.append(outgoing)
        self.to_write.append(outgoing)

    @property
    def holds_much(self) -> bool:
        """Whether an acknowledgement should be asked for, so that no more is held."""
        return self.held > _MUCH_HELD or len(self._unsettled) > _MANY_HELD

    def unsettled(self) -> bytes:
        """Return all messages whose record is not certain, as they were written."""
        return b"".join(write for _, writes in self._unsettled for write in writes)

    def _settle(self, seq: int) -> None:
        """Hold what was sent up to this number no longer."""
        self._settled = seq
        unsettled = self._unsettled
        while unsettled and unsettled[0][0] <= seq:
            unsettled.popleft()
        if not unsettled:
            self.held = 0

    def _on_other_manager(self, seq: int) -> None:
        """Send again what another manager, who knows of all up to `seq`, may not have."""
        if seq < self._settled:
            raise RemoteProtocolError(
                f"the experiment's record ends at this trial's message {seq}, but all up to"
                f" {self._settled} had been acknowledged: the store was damaged or replaced"
            )
        self._settle(seq)
        self.to_write = deque(self._unsettled)

    def receive(self, data: bytes) -> list[Message]:
        """Take in what the manager wrote; return its messages in their order.

        Raises:
            RemoteProtocolError: the manager's answer cannot be read.
        """
        *lines, rest = data.split(b"\n")
        if lines and self._rest:
            lines[0] = b"".join(self._rest) + lines[0]
            self._rest = []
        if rest:
            self._rest.append(rest)
        return [message for line in lines if line for message in self._on_line(line)]

    def _is_stale(self, kind: str, seq: Any) -> bool:
        """Say whether this answers a message of an earlier sequence, or one answered already."""
        if seq is None:  # an error about a message whose number could not be read
            return self.state is ASKED
        return seq != self.seq or (kind != "error" and self.state is not ASKED)

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
        kind: str = message["type"]
        seq: Any = message.get("seq")
        if self._awaited is not None:
            if kind != "welcome":
                return []
            if message.get("session") != self._awaited:
                # Meant for a process that spoke earlier, or from a manager that knows of that alone.
                self.to_write = deque(self._unsettled)
                return []
            self._awaited = None
            self.max_line = message.get("max_line", self.max_line)
            self.has_assessor = message.get("assessor") is True
            self._settle(seq)
        elif kind == "welcome":
            self._on_other_manager(seq)
        elif kind in _SETTLES and seq <= self.seq:
            self._settle(seq)
        if kind in _ANSWERS and self._is_stale(kind, seq):
            return []
        if kind == "parameters":
            self._open(message)
        self.state = CONVERSATION[self.state][kind]
        return [message]

    def _open(self, message: Message) -> None:
        given = message.get("phases", [message])
        self.open_phases.update(one["phase_index"] for one in given)
