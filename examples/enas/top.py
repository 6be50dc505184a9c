"""Print the configuration that trains the best architectures of a search from scratch.

    python3 top.py EXPERIMENT [--top 3] > top.yml

It is retrain.yml with `BatchTuner`, which hands out architectures as they are, and with the images of the
search. The best are those with the highest accuracy in the last set of the search's phases, which were
judged in the same, final weights.
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
    """Return those phases that were judged in the final weights.

    Args:
        rows: phases as `mpx export` tells them. Of several searches, one in each trial, the last counts.
    """
    found = [
        row
        for row in rows
        if isinstance(row["value"], dict)
        and "judged" in row["value"]
        and "network" in row["parameters"]
    ]
    last = max((row["sequence_id"] for row in found), default=None)
    return [row for row in found if row["sequence_id"] == last]


def judged(rows):
    """Return accuracy and architecture of each phase of the last set, as `mpx export` tells them."""
    return [(row["value"]["default"], row["parameters"]["network"]) for row in last_set(rows)]


def best(found, n):
    """Return the `n` best architectures, each once.

    Args:
        found: accuracies and architectures.
    """
    ranked = sorted(found, key=lambda pair: -pair[0])
    different = {json.dumps(architecture): architecture for _, architecture in ranked}
    return list(different.values())[:n]


def retraining(architectures, source):
    """Return a configuration that trains these architectures, as a dict.

    Args:
        source: the images, as in data.py.
    """
    config = yaml.safe_load((HERE / "retrain.yml").read_text())
    options = [{"network": architecture} for architecture in architectures]
    config["searchSpace"] = {"architectures": {"_type": "choice", "_value": options}}
    config["tuner"] = {"builtinTunerName": "BatchTuner"}
    config["maxPhaseNum"] = len(options)
    command = shlex.split(config["trial"]["command"])
    command[command.index("retrain.py") + 1] = str(source)
    config["trial"] |= {"command": shlex.join(command), "codeDir": str(HERE)}
    return config


def main():
    """Print it, as JSON, which is YAML as well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="id or name of a search")
    parser.add_argument("--top", type=int, default=3, help="architectures")
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
            f"{arguments.experiment}: none of its phases was judged in final weights: it is not a search "
            "by this folder's search.py, or not at its end (`mpx status` tells)"
        )
    wanted = last[0]["value"]["of"]
    if len(last) < wanted:
        print(f"{len(last)} phases were judged, not {wanted}: see `mpx logs`", file=sys.stderr)
    architectures = best(judged(last), arguments.top)
    if len(architectures) < arguments.top:
        print(f"there are {len(architectures)} different architectures", file=sys.stderr)
    print(json.dumps(retraining(architectures, last[0]["value"]["source"]), indent=1))


if __name__ == "__main__":
    main()
