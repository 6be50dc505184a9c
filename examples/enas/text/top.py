"""Print the configuration that trains the best cells of a search from scratch.

    python3 top.py EXPERIMENT [--top 3] > top.yml

It is retrain.yml with `BatchTuner`, which hands out parameters as they are, and with the search's text. The
best cells are those with the least perplexity among the phases behind the search, which were all judged
in the same weights.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent


def last_set(rows):
    """Return those phases that were judged behind the search.

    Args:
        rows: phases as `mpx export` tells them. Of several searches, one in each trial, the last counts.
    """
    found = [
        row
        for row in rows
        if isinstance(row["value"], dict)
        and row["value"].get("judged")
        and "cell" in row["parameters"]
    ]
    last = max((row["sequence_id"] for row in found), default=None)
    return [row for row in found if row["sequence_id"] == last]


def best_cells(rows, count):
    """Return the best of the cells that were judged, no two alike.

    Args:
        rows: phases as `mpx export` tells them.
        count: how many there are to be at most.
    """
    cells = []
    for row in sorted(last_set(rows), key=lambda row: row["value"]["perplexity"]):
        if row["parameters"]["cell"] not in cells:
            cells.append(row["parameters"]["cell"])
    return cells[:count]


def handed_out(cells):
    """Return the keys of a configuration by which its trials are given these cells, each once."""
    parameters = [{"cell": cell} for cell in cells]
    return {
        "searchSpace": {"cells": {"_type": "choice", "_value": parameters}},
        "tuner": {"builtinTunerName": "BatchTuner"},
        "maxPhaseNum": len(cells),
    }


def retraining(cells, corpus):
    """Return a configuration that trains these cells on a text, as a dict."""
    config = yaml.safe_load((HERE / "retrain.yml").read_text()) | handed_out(cells)
    command = shlex.split(config["trial"]["command"])
    command[command.index("retrain.py") + 1] = corpus
    config["trial"] |= {"command": shlex.join(command), "codeDir": str(HERE)}
    return config


def main():
    """Print it as JSON, which is YAML as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="id or name of a search")
    parser.add_argument("--top", type=int, default=3, help="how many cells")
    arguments = parser.parse_args()
    if arguments.top < 1:
        parser.error(f"--top {arguments.top}: at least 1")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    export = [sys.executable, "-m", "mpx", "export", arguments.experiment, "--format", "jsonl"]
    done = subprocess.run(export, stdout=subprocess.PIPE, text=True)
    if done.returncode:  # it has said why
        raise SystemExit(done.returncode)
    last = last_set(map(json.loads, done.stdout.splitlines()))
    if not last:
        raise SystemExit(
            f"{arguments.experiment}: none of its phases was judged behind the search: it is not a search "
            "by this folder's search.py, or not at its end (`mpx status` tells)"
        )
    wanted = last[0]["value"]["of"]
    if len(last) < wanted:
        print(f"{len(last)} cells were judged, not {wanted}: see `mpx logs`", file=sys.stderr)
    cells = best_cells(last, arguments.top)
    if len(cells) < arguments.top:
        print(f"there are {len(cells)} different cells", file=sys.stderr)
    print(json.dumps(retraining(cells, last[0]["value"]["corpus"]), indent=1))


if __name__ == "__main__":
    main()
