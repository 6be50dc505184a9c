"""A controller that learns which operation suits each layer: ENAS's role, in plain Python.

Its base class, its names and its signatures are those of NNI v0.8.
"""

import math
import random

from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner

LAYERS = ["layer_0", "layer_1", "layer_2"]
OPERATIONS = ["skip", "shift", "scale", "square"]
LEARNING_RATE = 2.0


class ENASTuner(MultiPhaseTuner):
    """Draws an operation for each layer, more often those that earned more than the average.

    One policy serves all trials: what the phases of one trial taught, the next trial begins with.

    Args:
        say_hello: printed to the manager's log.
    """

    def __init__(self, say_hello):
        print(say_hello)
        self.policy = {layer: dict.fromkeys(OPERATIONS, 1.0) for layer in LAYERS}
        self.average = 0.0

    def update_search_space(self, data):
        """The layers and the operations are fixed, so the configuration has no search space."""

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return {
            layer: random.choices(list(odds), list(odds.values()))[0]
            for layer, odds in self.policy.items()
        }

    def receive_trial_result(self, parameter_id, parameters, reward, trial_job_id):
        advantage = reward - self.average
        self.average += 0.1 * advantage
        for layer, operation in parameters.items():
            self.policy[layer][operation] *= math.exp(LEARNING_RATE * advantage)
