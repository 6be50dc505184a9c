"""ENAS's controller as a tuner of NNI v0.8: its imports, its signatures and its habits.

It reads flags from the command line and opens a log file in the working directory, both when it is
imported, and a phase's parameters are hundreds of architectures.
"""

import logging

from nni.multi_phase.multi_phase_tuner import MultiPhaseTuner
from src.controller import Controller
from src.flags import FLAGS

logger = logging.getLogger("nni_controller_ptb")
logger.setLevel(logging.INFO)
logger.addHandler(logging.FileHandler("nni_controller.log"))


class ENASTuner(MultiPhaseTuner):
    """Serves all trials from one controller: what the phases of one teach it, the others' use.

    Args:
        say_hello: written to the log.
    """

    def __init__(self, say_hello):
        logger.info(say_hello)
        self.controller = Controller(FLAGS)

    def generate_parameters(self, parameter_id, trial_job_id=None):
        return self.controller.sample(FLAGS.architectures)

    def receive_trial_result(self, parameter_id, parameters, reward, trial_job_id):
        mean = self.controller.train(parameters, reward)
        logger.info("phase %s of trial %s: mean reward %.3f", parameter_id, trial_job_id, mean)

    def update_search_space(self, data):
        """There is none in the configuration: the controller's flags say what it chooses from."""
