"""NNI's `nni.protocol`: how NNI's manager speaks with its dispatcher.

mpx hosts tuners without it. It is here for code that imports it, and for unit tests of such code, which
set `_in_file` and `_out_file`. A frame is two letters of command, the length of the data in 14 digits
(v1.6-v1.9), and the data as UTF-8.
"""

from __future__ import annotations

import enum
import threading
from typing import BinaryIO

_LENGTH_DIGITS = 14

_lock = threading.Lock()
_in_file: BinaryIO | None = None
_out_file: BinaryIO | None = None


class CommandType(enum.Enum):
    """What a frame says: first the manager's words, then the dispatcher's."""

    Initialize = b"IN"
    RequestTrialJobs = b"GE"
    ReportMetricData = b"ME"
    UpdateSearchSpace = b"SS"
    ImportData = b"FD"
    AddCustomizedTrialJob = b"AD"
    TrialEnd = b"EN"
    Terminate = b"TE"
    Ping = b"PI"

    Initialized = b"ID"
    NewTrialJob = b"TR"
    SendTrialJobParameter = b"SP"
    NoMoreTrialJobs = b"NO"
    KillTrialJob = b"KI"


def send(command: CommandType, data: str) -> None:
    """Write a frame to `_out_file`.

    Raises:
        RuntimeError: there is no such file.
    """
    content = data.encode()
    with _lock:
        file = _checked(_out_file, "_out_file")
        file.write(b"%b%0*d%b" % (command.value, _LENGTH_DIGITS, len(content), content))
        file.flush()


def receive() -> tuple[CommandType, str] | tuple[None, None]:
    """Read a frame from `_in_file`; (None, None) at its end.

    Raises:
        RuntimeError: there is no such file.
        ValueError: what it says is no frame.
    """
    file = _checked(_in_file, "_in_file")
    header = file.read(2 + _LENGTH_DIGITS)
    if len(header) < 2 + _LENGTH_DIGITS:
        return None, None
    content = file.read(int(header[2:]))
    return CommandType(header[:2]), content.decode()


def _checked(file: BinaryIO | None, name: str) -> BinaryIO:
    if file is None:
        raise RuntimeError(
            f"nni.protocol.{name} is not set: under mpx no dispatcher speaks with a manager, tuners are"
            " called directly; derive from nni.tuner.Tuner. A unit test sets it to an io.BytesIO"
        )
    return file
