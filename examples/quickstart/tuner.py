"""A tuner that chooses each phase of a trial from the result of the one before."""

import mpx


class HillClimb(mpx.MultiPhaseTuner):
    """Keeps a trial's step while it leads down, and halves it when it does not.

    Args:
        step: that of each trial's first phase.
    """

    def __init__(self, step=1.0):
        self.first_step = step
        self.next_step = {}  # trial → step of its next phase
        self.lowest = {}  # trial → its lowest height so far

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {"step": self.next_step.get(trial_job_id, self.first_step)}

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        led_down = value < self.lowest.get(trial_job_id, float("inf"))
        self.next_step[trial_job_id] = parameters["step"] if led_down else parameters["step"] / 2
        self.lowest[trial_job_id] = value  # a trial never climbs
