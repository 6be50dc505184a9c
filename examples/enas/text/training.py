"""How a language model learns from a text, and what it is worth on another."""

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from corpus import columns

COUNT = 32  # texts read side by side
LENGTH = 15  # words after which back-propagation is cut off
LEARNING_RATE = 0.004
CLIP = 1.0  # norm of all gradients


class Training:
    """Reads a text again and again, a minibatch of COUNT x LENGTH words at a time.

    Args:
        model: a LanguageModel. Each minibatch moves only the weights that its cell uses.
        text: words, (n,).
        minibatches: how many it takes the learning rate to come down to 0, step by step; None: it stays.
    """

    def __init__(self, model, text, minibatches=None):
        self._model = model
        self._text = columns(text, COUNT)
        self._place = 0
        self._state = model.start(COUNT)
        self._optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        self._minibatches = minibatches
        self._done = 0

    def read(self, cell, minibatches):
        """Train a cell with the minibatches to come; before the first it knows no text."""
        self._state = self._model.start(COUNT)
        for _ in range(minibatches):
            if self._minibatches:
                for group in self._optimizer.param_groups:
                    group["lr"] = LEARNING_RATE * (1 - self._done / self._minibatches)
            self._read_one(cell)
            self._done += 1

    def _read_one(self, cell):
        if self._place + LENGTH >= len(self._text):
            self._place, self._state = 0, self._model.start(COUNT)
        words = self._text[self._place : self._place + LENGTH + 1]
        self._place += LENGTH
        scores, state = self._model(cell, words[:-1], self._state)
        self._state = state.detach()
        self._optimizer.zero_grad()
        cross_entropy(scores.flatten(0, 1), words[1:].flatten()).backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
        self._optimizer.step()


@torch.no_grad()
def perplexity(model, cell, texts):
    """Return how many words a cell wavers between, on average.

    Args:
        texts: words, (length, count); each column is read from its beginning.
    """
    state, loss = model.start(texts.shape[1]), 0.0
    for start in range(0, len(texts) - 1, LENGTH):
        words = texts[start : start + LENGTH + 1]
        scores, state = model(cell, words[:-1], state)
        loss += cross_entropy(scores.flatten(0, 1), words[1:].flatten(), reduction="sum").item()
    return math.exp(loss / texts[1:].numel())
