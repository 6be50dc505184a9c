"""Reading logs: their ends, all of them, and what is still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpx.api import logs
from mpx.api.logs import Log, follow, read, tail


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        ("a\nb\nc\n", 2, ["b", "c"]),
        ("a\nb\nc", 2, ["b", "c"]),
        ("a\nb\n", 9, ["a", "b"]),
        ("a\n\n\n", 2, ["", ""]),
        ("a", 1, ["a"]),
        ("", 3, []),
        ("a\nb\n", 0, []),
        ("10 %\r50 %\r100 %\ndone\r\n", 2, ["100 %", "done"]),
        ("\xff\n", 1, ["\xff"]),
    ],
)
def test_tail_returns_the_last_lines(
    tmp_path: Path, content: str, lines: int, expected: list[str]
) -> None:
    log = tmp_path / "trial.log"
    log.write_bytes(content.encode())
    assert list(tail(log, lines)) == expected


def test_tail_of_no_file_is_nothing(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 3) == ()


def test_tail_reads_little_of_a_flood(tmp_path: Path) -> None:
    log = tmp_path / "trial.log"
    log.write_bytes(b"x" * 300_000 + b"\nend\n")
    flood, end = tail(log, 2)
    assert end == "end"
    assert 0 < len(flood) < 70_000


def test_last_lines_are_found_across_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_BLOCK", 4)
    log = tmp_path / "trial.log"
    log.write_text("".join(f"line {n}\n" for n in range(20)))
    for count in range(21):
        found = [line.decode() for line in read(Log(log, None, False), count)]
        assert found == [f"line {n}\n" for n in range(20 - count, 20)]


def test_bytes_that_are_no_text_are_read_as_they_are(tmp_path: Path) -> None:
    log = tmp_path / "trial.log"
    log.write_bytes(b"\xff\x00\nlast")
    assert list(read(Log(log, None, False))) == [b"\xff\x00\n", b"last"]


class Writers:
    """Logs that change between two looks: each step happens before one of them."""

    def __init__(self, directory: Path, steps: list[Callable[[], None]]) -> None:
        self.directory = directory
        self._steps = iter(steps)
        self._left = len(steps)

    def look(self) -> tuple[bool, Iterator[Log]]:
        next(self._steps)()
        self._left -= 1
        paths = sorted(self.directory.glob("*.log"))
        return self._left > 0, (Log(path, None, self._left > 0) for path in paths)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_PATIENCE", 0)


def test_follow_brings_lines_as_they_are_written_and_logs_as_they_begin(tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    writers = Writers(
        tmp_path,
        [
            lambda: _append(a, "a1\na"),
            lambda: _append(a, "2\n"),
            lambda: _append(b, "b1\n"),
            lambda: _append(a, "a3\n"),
            lambda: _append(b, "no newline"),
        ],
    )
    found = [(log.path.name, line) for log, line in follow(writers.look)]
    assert found == [
        ("a.log", b"a1\n"),
        ("a.log", b"a2\n"),
        ("b.log", b"b1\n"),
        ("a.log", b"a3\n"),
        ("b.log", b"no newline"),
    ]


def test_follow_begins_with_the_last_lines_and_shows_later_logs_whole(tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    writers = Writers(
        tmp_path,
        [lambda: _append(a, "1\n2\n3\n"), lambda: _append(b, "1\n2\n3\n"), lambda: None],
    )
    found = [(log.path.name, line) for log, line in follow(writers.look, lines=1)]
    assert found == [("a.log", b"3\n"), *(("b.log", line) for line in (b"1\n", b"2\n", b"3\n"))]


def test_follow_closes_the_log_of_a_trial_that_ended(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("1\n")
    looks = iter([(True, [Log(log, None, False)]), (False, [Log(log, None, False)])])
    assert [line for _, line in follow(lambda: next(looks))] == [b"1\n"]


def _append(path: Path, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)
