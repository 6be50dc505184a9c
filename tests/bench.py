"""One trial in real processes on real named pipes, with a manager that the test scripts."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from mpx.protocol import ManagerConnection
from mpx.wire import encode

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 30  # seconds until a trial that hangs is ended


class Bench:
    """One trial's directory, and the manager's side of it.

    It hands out `parameters`, then no more, and acknowledges results. A test that wants it otherwise
    puts a function of the message in `on`; what that returns is sent.

    Attributes:
        heard: the messages, in order.
        text: what the trial wrote to its pipe beside them.
        errors: what was wrong with its lines.
    """

    def __init__(self, root, parameters=({"n": 0}, {"n": 1}), max_line=64 * 1024 * 1024):
        self.root = root / "the trial's directory"
        self.root.mkdir()
        self.code = root / "code"
        self.code.mkdir()
        self.parameters = list(parameters)
        self.connection = ManagerConnection(max_line)
        self.heard = []
        self.errors = []
        self.text = b""
        self.on = {
            "hello": lambda message: self.connection.welcome(),
            "request": lambda message: self.answer(),
            "intermediate": lambda message: b"",
            "final": lambda message: self.acknowledge(),
            "failed": lambda message: self.acknowledge(),
            "text": lambda text: b"",
        }
        self._phases = 0
        self._unsent = b""
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
                # As the keeper does, the outer shell stays, and keeps the pipes open.
                ["sh", "-c", 'bash -c "$1"; exit $?', "sh", command],
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
                },
                start_new_session=True,
            )
        os.close(self._child_stdin)
        os.close(self._child_stdout)
        try:
            self._serve(time.monotonic() + PATIENCE)
            return process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self.hang_up()
            self.go_deaf()

    def _serve(self, deadline):
        """Play the manager until every process of the trial has let go of its pipe."""
        while self._stdout >= 0:
            writing = [self._stdin] if self._unsent and self._stdin >= 0 else []
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
            return self.on[event["type"]](event)
        if isinstance(event, bytes):
            self.text += event
            return self.on["text"](event)
        self.errors.append(event)
        return self.connection.violation(event) if self.connection.greeted else b""

    def answer(self):
        """Answer a request."""
        if not self.parameters:
            return self.connection.no_more("no more here")
        self._phases += 1
        number = self._phases - 1
        return self.connection.parameters(number, number, encode(self.parameters.pop(0)))

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

    def hang_up(self):
        """Let the trial read end-of-file."""
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1
        return b""

    def go_deaf(self):
        """Let the trial's writes fail."""
        if self._stdout >= 0:
            os.close(self._stdout)
            self._stdout = -1
        return b""

    def log(self):
        return (self.root / "trial.log").read_text()

    def values(self, kind="final"):
        return [message["value"] for message in self.heard if message["type"] == kind]

    def types(self):
        return [message["type"] for message in self.heard]
