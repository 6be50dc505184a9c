"""A language model whose recurrent cell is put together anew for every text that it reads.

A cell is a list of nodes as the search space describes them: `{"inputs": [i], "operations": [f]}`. Input 0
is the pair of the word's vector x and the last state h; input j + 1 is node j. Of its input s a node makes

    c f(W s) + (1 - c) s,    c = sigmoid(V s),

a highway connection, with matrices W and V of its own for each i; where s is the pair, the last term has h.
The new state is the mean of the nodes that no other one takes as its input.

Source: Pham et al., arXiv 1802.03268, sections 2.2 and 3.1. There only the first node may take the pair.
"""

import math

import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda values: values,
}
SIZE = 64  # of a word's vector and of a state
BOUND = 1.0  # of a state's root mean square: tanh keeps to it, relu and identity know none


class LanguageModel(nn.Module):
    """The weights of all cells of so many nodes; those that a cell does not use stay as they are.

    Args:
        words: the size of the vocabulary.
        nodes: how many a cell has.
    """

    def __init__(self, words, nodes):
        super().__init__()
        self.vectors = nn.Embedding(words, SIZE)  # of the words, as input and as output
        self.bias = nn.Parameter(torch.zeros(words))
        self.of_word = _matrices(nodes)  # V and W of node k, one above the other
        self.of_state = _matrices(nodes)
        self.of_node = nn.ModuleList(_matrices(node) for node in range(nodes))
        nn.init.normal_(self.vectors.weight, std=SIZE**-0.5)

    def start(self, count):
        """Return the state before the first word of so many texts: (count, SIZE)."""
        return self.bias.new_zeros(count, SIZE)

    def forward(self, cell, text, state):
        """Return the scores of each word to come next, (length, count, words), and the last state.

        Args:
            cell: its nodes.
            text: words, (length, count).
            state: what the words before it left, (count, SIZE).
        """
        vectors = self.vectors(text)
        outside = {
            k: functional.linear(vectors, self.of_word[k])
            for k, node in enumerate(cell)
            if node["inputs"] == [0]
        }
        states = []
        for step in range(len(text)):
            state = self._next(cell, {k: each[step] for k, each in outside.items()}, state)
            states.append(state)
        scores = functional.linear(torch.stack(states), self.vectors.weight, self.bias)
        return scores, state

    def _next(self, cell, outside, state):
        nodes, loose = [], set(range(len(cell)))
        for k, node in enumerate(cell):
            (taken,), (operation,) = node["inputs"], node["operations"]
            if taken == 0:
                before = state
                both = outside[k] + functional.linear(state, self.of_state[k])
            else:
                before = nodes[taken - 1]
                both = functional.linear(before, self.of_node[k][taken - 1])
                loose.discard(taken - 1)
            gate, value = both.chunk(2, dim=1)
            value = ACTIVATIONS[operation](value)
            nodes.append(torch.lerp(before, value, torch.sigmoid(gate)))
        new = torch.stack([nodes[k] for k in sorted(loose)]).mean(dim=0)
        bound = BOUND * math.sqrt(SIZE)
        return new * (bound / new.norm(dim=1, keepdim=True).clamp(min=bound))


def given(parameters):
    """Return the cell that the parameters of a phase have.

    Raises:
        SystemExit: they have none, or one of nodes that are not of the kind that is computed here.
    """
    try:
        cell = parameters["cell"]
        nodes = [(node["inputs"], node["operations"]) for node in cell]
    except (KeyError, TypeError):
        raise SystemExit(
            f"parameters {str(parameters)[:200]}: `cell` has to be there, of a search space of type "
            "`cell`, as in config.yml (by hand: in the variable MPX_PARAMETERS)"
        ) from None
    for number, (inputs, operations) in enumerate(nodes):
        if len(inputs) != 1 or inputs[0] > number or operations[0] not in ACTIVATIONS:
            raise SystemExit(
                f"node {cell[number]}: the search space has to say `inputs: 1, inputs_per_node: 1`, and "
                f"of the operations {', '.join(ACTIVATIONS)} (ACTIVATIONS in network.py)"
            )
    return cell


def _matrices(count):
    return nn.ParameterList(
        nn.Parameter(torch.randn(2 * SIZE, SIZE) / math.sqrt(4 * SIZE)) for _ in range(count)
    )
