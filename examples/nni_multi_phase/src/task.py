"""A task whose best architecture is known.

Node k chooses one of the inputs 2k and 2k + 1, and what to do with it; the output is the weighted sum of
the nodes. The data were made in the same way, by the architecture BEST, and then noise was added.
"""

import numpy as np

INPUTS = 2  # of each node
OPERATIONS = [lambda x: x, np.square, np.sign, lambda x: np.sin(3 * x)]
BEST = np.array([0, 1, 1, 0, 0, 3, 1, 2, 1, 1, 0, 0], np.int32)  # input, operation, input, …
NODES = len(BEST) // 2
NOISE = 0.1


def load(points, seed):
    """Return what each node can make of the data, [node, input, operation, point], and the targets.

    All of it has mean 0 and variance 1.
    """
    random = np.random.RandomState(seed)
    data = random.standard_normal((NODES, INPUTS, points))
    features = np.stack([operation(data) for operation in OPERATIONS], axis=2)
    features -= features.mean(axis=-1, keepdims=True)
    features /= features.std(axis=-1, keepdims=True)
    targets = features[np.arange(NODES), BEST[0::2], BEST[1::2]].sum(axis=0)
    targets += NOISE * random.standard_normal(points)
    return features, targets / targets.std()
