"""The floor under one phase: the same four messages over the same pipes, and next to nothing else.

One process, one `selectors` loop, no tuner thread, no state, no checks: a request is answered at once
with constant parameters, a final result is inserted and acknowledged. One WAL commit for each wake-up,
with an fsync where it holds a final, as `durability: power` does it.
"""

import json
import os
import selectors
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

TRIAL = """
import json, os, sys, time
phases, out = int(sys.argv[1]), sys.argv[2]
encode, decode = json.JSONEncoder().encode, json.JSONDecoder().decode
def call(message):
    os.write(1, (encode(message) + "\\n").encode())
    return decode(os.read(0, 65536).decode())
call({"type": "request"})
times = [time.monotonic()]
for i in range(phases):
    call({"type": "final", "value": 0.5})
    call({"type": "request"})
    times.append(time.monotonic())
with open(out, "w") as file:
    json.dump(times, file)
"""


def run(directory: Path, trials: int, phases: int, durable: bool, slower: float) -> None:
    """Serve `trials` processes `phases` phases each; they write their clocks to `directory`.

    An fsync takes `slower` seconds more.
    """
    store = sqlite3.connect(directory / "floor.db", isolation_level=None)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=NORMAL")
    store.execute("CREATE TABLE phases (id INTEGER PRIMARY KEY, trial INTEGER, parameters, value)")
    selector = selectors.DefaultSelector()
    processes = [_start(directory, number, phases) for number in range(trials)]
    for number, process in enumerate(processes):
        selector.register(process.stdout.fileno(), selectors.EVENT_READ, (number, process))
    while selector.get_map():
        _turn(store, selector, durable, slower)
    for process in processes:
        process.wait()


def _start(directory: Path, number: int, phases: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", TRIAL, str(phases), str(directory / f"{number}.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def _turn(
    store: sqlite3.Connection, selector: selectors.BaseSelector, durable: bool, slower: float
) -> None:
    replies, inserts, updates = [], [], []
    for key, _ in selector.select():
        number, process = key.data
        data = os.read(key.fd, 65536)
        if not data:
            selector.unregister(key.fd)
            continue
        message = _decode(data.decode())
        if message["type"] == "request":
            inserts.append((number, '{"x": 0.5}'))
            reply = {"type": "parameters", "parameters": {"x": 0.5}}
        else:
            updates.append((_encode(message["value"]), number))
            reply = {"type": "ack"}
        replies.append((process.stdin.fileno(), _encode(reply)))
    if replies and durable and updates and slower:
        time.sleep(slower)
    if replies:
        _commit(store, inserts, updates, durable and bool(updates))
    for fd, reply in replies:
        os.write(fd, reply.encode() + b"\n")


_rows: dict[int, int] = {}  # trial → its open phase
_encode = json.JSONEncoder().encode
_decode = json.JSONDecoder().decode


def _commit(store: sqlite3.Connection, inserts: list, updates: list, full: bool) -> None:
    store.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
    store.execute("BEGIN IMMEDIATE")
    for number, parameters in inserts:
        cursor = store.execute(
            "INSERT INTO phases (trial, parameters) VALUES (?, ?)", (number, parameters)
        )
        _rows[number] = cursor.lastrowid
    for value, number in updates:
        store.execute("UPDATE phases SET value=? WHERE id=?", (value, _rows[number]))
    store.execute("COMMIT")


if __name__ == "__main__":
    run(
        Path(sys.argv[1]),
        int(sys.argv[2]),
        int(sys.argv[3]),
        sys.argv[4] == "power",
        float(sys.argv[5]),
    )
