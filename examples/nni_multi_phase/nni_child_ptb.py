"""ENAS's child as a trial of NNI v0.8: each phase, it trains on the architectures that the controller
drew, and reports the reward of every one."""

import nni
import numpy as np
from src.child import Child
from src.flags import FLAGS
from src.task import BEST


def train():
    child = Child(FLAGS.child_lr, FLAGS.batch_size, seed=int(nni.get_sequence_id()))
    epoch = 0
    while True:
        if epoch >= FLAGS.num_epochs:
            break
        params = nni.get_next_parameter()
        architectures = np.array([arc["__ndarray__"] for arc in params])
        for architecture in architectures:
            child.train(architecture)
        rewards = [child.reward(architecture) for architecture in architectures]
        nni.report_final_result(rewards)
        mean, best = np.mean(rewards), (architectures == BEST).all(axis=1).mean()
        print(f"epoch {epoch}: mean reward {mean:.3f}, {best:.0%} are the best there is")
        epoch += 1


if __name__ == "__main__":
    train()
