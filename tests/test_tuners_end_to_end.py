"""A built-in tuner in a whole experiment: a resume goes on as if nothing had been."""

from __future__ import annotations

import json

from tests.test_tuners_contract import NESTED

TRIAL = """
    import mpx

    for phase in mpx.phases(on_error="continue"):
        with phase:
            if phase.parameter_id % 7 == 3:
                raise ValueError("one of those")
            value = phase.parameters["rate"]
            phase.report_final({"default": value, "more": 1} if phase.parameter_id % 2 else value)
"""


def test_a_resumed_tuner_chooses_as_if_it_had_never_stopped(lab):
    def config(file, phases):
        tuner = {"builtinTunerName": "TPE", "classArgs": {"optimize_mode": "minimize"}}
        keys = {"tuner": tuner, "searchSpace": NESTED, "seed": 5, "maxTrialNum": 3}
        return lab.config(TRIAL, file, maxPhaseNum=phases, **keys)

    whole = lab.finish(config("whole.yml", 40))
    parts = lab.finish(config("parts.yml", 25))
    assert [row["status"] for row in lab.phases(parts)].count("FAILED") == 4
    lab.mpx("resume", parts, "--max-phases", "40", "--foreground")

    def told(experiment):
        keys = ("parameter_id", "parameters", "status", "value")
        return [[row[key] for key in keys] for row in lab.phases(experiment)]

    assert told(parts) == told(whole)
    assert len(told(whole)) == 40
    status = json.loads(lab.mpx("status", parts, "--json"))
    assert status["warning"] is None
    assert status["optimize_mode"] == "minimize"
