"""One trial in real processes on real named pipes, with managers that the test scripts."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mpx.protocol import ASKED, Given, ManagerConnection
from mpx.wire import encode
from tests.lab import wait_until

REPOSITORY = Path(__file__).resolve().parent.parent
KEEPER = REPOSITORY / "mpx" / "training_service" / "keeper.sh"
PATIENCE = 30  # seconds until a trial that hangs is ended


class Bench:
    """One trial's directory, and the manager's side of it.

    It hands out `parameters`, then no more, and acknowledges results. A test that wants it otherwise
    puts a function of the message in `on`; what that returns is sent. Such a function may let the
    manager `die`, before or after the message is on `record`.

    Attributes:
        heard: the messages on record, in order.
        lost: those that a manager heard and did not record.
        text: what the trial wrote to its pipe beside them.
        errors: what was wrong with its lines.
        stops: says of the value of an intermediate result why its phase is stopped; None to go on.
        orphan_timeout: seconds that the trial waits for another manager.
        on_return: called when another manager has come.
        parents: phase_index → the parent and the checkpoint that such a phase is given.
    """

    def __init__(self, root, parameters=({"n": 0}, {"n": 1}), max_line=64 * 1024 * 1024):
        self.root = root / "the trial's directory"
        self.root.mkdir()
        self.code = root / "code"
        self.code.mkdir()
        self.parameters = list(parameters)
        self.connection = ManagerConnection(max_line)
        self.heard = []
        self.lost = []
        self.errors = []
        self.text = b""
        self.on = {
            "hello": lambda message: self.connection.welcome(),
            "request": lambda message: self.answer(),
            "intermediate": lambda message: self.judge(message),
            "checkpoint": lambda message: self.acknowledge(),
            "final": lambda message: self.acknowledge(),
            "failed": lambda message: self.acknowledge(),
            "text": lambda text: b"",
        }
        self.stops = lambda value: None
        self.orphan_timeout = 10 * PATIENCE
        self.on_return = lambda: None
        self.parents = {}
        self._phases = 0
        self._wanted = None  # by the last request
        self._unsent = b""
        self._answered = (0, b"")  # the last answer to a request, by the number of that
        self._is_dead = False
        self._record = (self.connection.state, 0, None, False, [], 0)
        for name in ("stdin", "stdout"):
            os.mkfifo(self.root / name)
        self._child_stdin = os.open(self.root / "stdin", os.O_RDONLY | os.O_NONBLOCK)
        self._stdin = os.open(self.root / "stdin", os.O_WRONLY | os.O_NONBLOCK)
        self._stdout = os.open(self.root / "stdout", os.O_RDONLY | os.O_NONBLOCK)
        self._child_stdout = os.open(self.root / "stdout", os.O_WRONLY)
        os.set_blocking(self._child_stdin, True)

    def script(self, text, name="trial.py"):
        path = self.code / name
        path.write_text(textwrap.dedent(text))
        return path

    def python(self, text, interpreter=sys.executable):
        """Run a trial that is this code, to its end."""
        self.script(text)
        return self.run(f"'{interpreter}' trial.py")

    def run(self, command):
        """Run a trial that is this shell command, to its end; return its exit code."""
        ours = ("MPX_", "NNI_", "PYTHON")  # PYTHONUNBUFFERED would hide what a buffer does
        clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        with open(self.root / "trial.log", "ab") as log:
            process = subprocess.Popen(
                ["sh", str(KEEPER), command, str(self.root)],
                stdin=self._child_stdin,
                stdout=self._child_stdout,
                stderr=log,
                cwd=self.code,
                env={
                    **clean,
                    "PYTHONPATH": str(REPOSITORY),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "MPX_EXPERIMENT_ID": "anExp",
                    "MPX_TRIAL_ID": "aTrial",
                    "MPX_SEQUENCE_ID": "3",
                    "MPX_TRIAL_DIR": str(self.root),
                    "MPX_MAX_LINE_LENGTH": str(self.connection.max_line),
                    "MPX_ORPHAN_TIMEOUT": str(self.orphan_timeout),
                },
                start_new_session=True,
            )
        os.close(self._child_stdin)
        os.close(self._child_stdout)
        try:
            self._serve(process, time.monotonic() + PATIENCE)
            return process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._close()

    def _serve(self, process, deadline):
        """Play the managers until every process of the trial has let go of its pipe."""
        while self._is_there(process):
            writing = [self._stdin] if self._unsent else []
            readable, writable, _ = select.select(
                [self._stdout], writing, [], deadline - time.monotonic()
            )
            assert readable or writable, f"the trial hangs: {self.log()}"
            if writable:
                self._write()
            if readable:
                data = os.read(self._stdout, 65536)
                events = self.connection.receive(data) if data else self.connection.end_of_output()
                for event in events:
                    self._unsent += self._on_event(event)
                    if self._is_dead:
                        break
                    self.record()
                if not data:
                    return

    def _write(self):
        try:
            written = os.write(self._stdin, self._unsent[:65536])
        except BrokenPipeError:  # the trial has ended
            written = len(self._unsent)
        self._unsent = self._unsent[written:]

    def _on_event(self, event):
        if isinstance(event, dict):
            self.heard.append(event)
            if event["type"] == "request":
                self._wanted = event.get("count")
            return self.on[event["type"]](event)
        if isinstance(event, bytes):
            self.text += event
            return self.on["text"](event)
        self.errors.append(event)
        return self.connection.violation(event) if self.connection.greeted else b""

    def answer(self):
        """Answer a request."""
        wanted = self._wanted or 1
        now, self.parameters = self.parameters[:wanted], self.parameters[wanted:]
        if now:
            given = [
                Given(10 + n, n, encode(parameters), *self.parents.get(n, ()))
                for n, parameters in enumerate(now, self._phases)
            ]
            self._phases += len(now)
            data = self.connection.parameters(given, self._wanted is not None)
        else:
            data = self.connection.no_more("no more here")
        self._answered = (self.connection.last_seq, data)
        return data

    def judge(self, message):
        """Answer an intermediate result, if it asks for that."""
        if "verdict" in message:
            return self.connection.verdict(self.stops(message["value"]))
        return self.acknowledge() if "ack" in message else b""

    def acknowledge(self):
        return self.connection.ack() if self.connection.greeted else b""

    def answer_when_told(self, number=0):
        """Leave one request, by its number, waiting until the trial writes `answer now`."""
        requests = iter(range(number + 1))
        self.on["request"] = lambda message: (
            b"" if next(requests, None) == number else self.answer()
        )
        self.on["text"] = lambda text: self.answer() if text == b"answer now\n" else b""

    def send_now(self, data):
        assert os.write(self._stdin, data) == len(data)
        return b""

    def record(self):
        """Put all that was heard on record."""
        it = self.connection
        self._record = (
            it.state,
            it.last_seq,
            it.session,
            it.resends,
            [*it.open_phases],
            len(self.heard),
        )

    def die(self, until=lambda: False):
        """Die, with what is not on record; another manager comes as soon as `until` is true."""
        self._is_dead, self._return_when = True, until
        recorded = self._record[-1]
        self.lost += self.heard[recorded:]
        del self.heard[recorded:]
        self._unsent = b""
        self._close()
        return b""

    def adopted(self):
        """Return the conversation as another manager finds it."""
        *record, _ = self._record
        return ManagerConnection.adopted(self.connection.max_line, *record)

    def _is_there(self, process):
        """Wait until there is a manager, or no trial any more."""
        if self._is_dead:
            wait_until(
                lambda: process.poll() is not None or self._return_when(),
                f"the trial's end, or what it does before: {self.log()}",
                PATIENCE,
            )
            if process.poll() is not None:
                return False
            self._come_back()
        return True

    def _come_back(self):
        self._is_dead = False
        self._stdin = os.open(self.root / "stdin", os.O_WRONLY | os.O_NONBLOCK)
        self._stdout = os.open(self.root / "stdout", os.O_RDONLY | os.O_NONBLOCK)
        self.connection = self.adopted()
        self._unsent = self.connection.welcome()
        if self.connection.last_seq:
            self._unsent += self.connection.ack()
            answered, data = self._answered
            self._unsent += data if answered == self.connection.last_seq else b""
            if self.heard[-1]["type"] == "intermediate":
                self._unsent += self.judge(self.heard[-1])
        if self.connection.state is ASKED:
            self._unsent += self.answer()
        self.on_return()

    def _close(self):
        for fd in (self._stdin, self._stdout):
            if fd >= 0:
                os.close(fd)
        self._stdin = self._stdout = -1

    def log(self):
        return (self.root / "trial.log").read_text()

    def is_orphaned(self, times=1):
        """Say whether the trial has noticed so often that its manager is gone."""
        return self.log().count("mpx: the manager is gone; waiting up to") >= times

    def left(self):
        """Return the file that the trial left for another manager."""
        return next(file for file in self.root.glob("unsent.*") if file.name != "unsent.draft")

    def unsent(self):
        """Return what another manager hears of the file that the trial left for it."""
        connection = self.adopted()
        return [
            *connection.receive(self.left().read_bytes()),
            *connection.end_of_output(),
        ]

    def of_phases(self, *kinds):
        """Return what was said of each phase of batches: its index, and the value or the error's type."""
        return [
            (m["phase_index"], m.get("value", m.get("error", {}).get("type")))
            for m in self.heard
            if m["type"] in (kinds or ("final",))
        ]

    def values(self, kind="final"):
        return [message["value"] for message in self.heard if message["type"] == kind]

    def types(self):
        return [message["type"] for message in self.heard]


def interpreter(minor):
    """Return an installed Python 3.`minor`, or skip the test."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found = [shutil.which(f"python3.{minor}"), *pyenv.glob(f"versions/3.{minor}.*/bin/python")]
    check = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for candidate in filter(None, found):
        # A shim of a version manager may stand for an interpreter that is not there.
        if (
            subprocess.run([candidate, "-c", check], capture_output=True, check=False).returncode
            == 0
        ):
            return str(candidate)
    return pytest.skip(f"no Python 3.{minor} here")
