"""Built-in tuners in whole experiments, beyond what `mpx.testing` has them do."""

from __future__ import annotations

from tests.lab import wait_until
from tests.test_tuners_contract import NESTED

WEIGHTS = """
    import json, os, random, time
    from pathlib import Path
    import mpx

    mine, age = Path(os.environ["MPX_OUTPUT_DIR"], "weights.json"), 0
    for phase in mpx.phases():
        with phase:
            if phase.checkpoint:
                age = json.loads(Path(phase.checkpoint).read_text())
            elif phase.parent is None:
                age = 0
            age += 1  # weights that know how many phases have trained them
            mine.write_text(json.dumps(age))
            if phase.index == 1 and mpx.get_sequence_id() == 0:
                os._exit(3)
            if phase.index == 3:
                Path(f"in_fourth_{os.getpid()}").touch()
            while phase.index == 3 and not Path("resumed").exists():
                time.sleep(0.01)
            phase.save_checkpoint(mine)
            phase.report_final({"default": random.random(), "age": age})
"""


def test_weights_of_a_population_survive_a_death_a_stop_and_a_resume(lab):
    tuner = {"builtinTunerName": "PBT", "classArgs": {"population_size": 2}}
    limits = {"maxTrialNum": 99, "trialConcurrency": 2, "maxPhasesPerTrial": 5}
    experiment = lab.create(lab.config(WEIGHTS, tuner=tuner, searchSpace=NESTED, **limits))

    def waiting():
        return list(lab.root.glob("in_fourth_*"))

    wait_until(lambda: len(waiting()) == 2, "both members in their fourth phase")
    lab.mpx("stop", experiment)
    lab.write("resumed", "")
    lab.mpx("resume", experiment, "--foreground")

    rows = lab.phases(experiment)
    lost = [row["phase_index"] for row in rows if row["status"] == "LOST"]
    assert sorted(lost) == [1, 3, 3]  # one died, then both were stopped
    assert [row["parent"] for row in rows].count(None) == 2  # nobody began a second time
    ended = {row["parameter_id"]: row for row in rows if row["status"] == "SUCCEEDED"}
    assert len(ended) == 1 + 3 + 3 + 5 + 5
    copied = 0
    for row in ended.values():
        parent = ended.get(row["parent"])
        assert row["value"]["age"] == 1 + (parent["value"]["age"] if parent else 0)
        copied += parent is not None and parent["trial_id"] != row["trial_id"]
    assert copied >= 3  # one took over from the dead, two went on after the stop
    status = lab.status(experiment)
    assert (status["status"], status["warning"]) == ("DONE", None)
