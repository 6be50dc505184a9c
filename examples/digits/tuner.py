"""A tuner that chooses each phase of a trial from the result of the one before."""

import math
import random

import mpx


class WarmStartTuner(mpx.MultiPhaseTuner):
    """Chooses how a trial trains on from its best weights.

    - After a better result: as before, with the rates a little changed.
    - After none: as before, at half the learning rate.
    - When that leaves its range, and at first: anything in the search space.
    """

    def __init__(self):
        self.next = {}  # trial → parameters of its next phase
        self.best = {}  # trial → its best result so far

    def update_search_space(self, search_space):
        self.space = search_space

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return self.next.get(trial_job_id) or self.draw()

    def receive_trial_result(self, parameter_id, parameters, value, trial_job_id=None):
        if value > self.best.get(trial_job_id, 0):
            self.best[trial_job_id] = value
            self.next[trial_job_id] = self.change(parameters)
        else:
            self.next[trial_job_id] = self.slow_down(parameters)

    def draw(self):
        """Return parameters from anywhere in the search space."""
        return {name: _draw(**spec) for name, spec in self.space.items()}

    def change(self, parameters):
        """Return parameters with other rates nearby."""
        changed = dict(parameters)
        for name in ("learning_rate", "weight_decay"):
            low, high = self.space[name]["_value"]
            changed[name] = min(max(low, parameters[name] * random.choice([0.8, 1.25])), high)
        return changed

    def slow_down(self, parameters):
        """Return parameters with half the learning rate, or new ones where that is too low."""
        rate = parameters["learning_rate"] / 2
        lowest, _ = self.space["learning_rate"]["_value"]
        return {**parameters, "learning_rate": rate} if rate >= lowest else self.draw()


def _draw(_type, _value):
    if _type == "choice":
        return random.choice(_value)
    low, high = _value  # of a loguniform
    return math.exp(random.uniform(math.log(low), math.log(high)))
