"""A trial as NNI v1's users wrote it: five architectures, one after another, on shared weights.

A layer takes a number and gives one; three of them are to become x → (2x + 1)².
"""

import random

import nni

POINTS = [i / 10 for i in range(-10, 11)]
OPERATIONS = {
    "skip": lambda x, weight: x,
    "shift": lambda x, weight: x + weight,
    "scale": lambda x, weight: x * weight,
    "square": lambda x, weight: x * x,
}
weights = {}  # (layer, operation) → weight, kept from one architecture to the next


def run(architecture, weights, x):
    for layer, operation in architecture.items():
        x = OPERATIONS[operation](x, weights.get((layer, operation), 1.0))
    return x


def error(architecture, weights):
    return sum((run(architecture, weights, x) - (2 * x + 1) ** 2) ** 2 for x in POINTS)


def train(architecture, steps=300):
    """Change the weights of this architecture at random, and keep what lowers the error."""
    global weights
    for _ in range(steps):
        others = dict(weights)
        for key in architecture.items():
            others[key] = weights.get(key, 1.0) + random.gauss(0, 0.1)
        weights = min(weights, others, key=lambda tried: error(architecture, tried))
    return error(architecture, weights)


random.seed(nni.get_sequence_id())
for i in range(5):
    tuner_param = nni.get_next_parameter()  # layer → operation
    if tuner_param is None:  # there are no more
        break
    loss = train(tuner_param)
    nni.report_final_result(1 / (1 + loss))  # 1 at best
    print(f"architecture {i}: {tuner_param}, loss {loss:.3g}")
