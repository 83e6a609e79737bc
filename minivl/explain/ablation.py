"""Heads that matter: what the loss becomes when one head of one attention brings nothing home.

Attention shows where a head looks, not whether anybody uses what it saw. Silencing it does.
"""

import numpy as np

from ..tensor import no_grad, watched_by


class _Silence:
    """Takes out the answers of one head of the n-th attention of a pass, before anybody reads them."""

    def __init__(self, n, head):
        self.n, self.head, self.met = n, head, -1

    def starts(self, op):
        """Nothing to do before an op."""

    def ran(self, arguments, options, out):
        if out.op == "attention":
            self.met += 1
            if self.met == self.n:
                out.data[:, self.head] = 0  # under no_grad nothing is derived from it, and nobody has read it yet

    def derived(self, tensor, source, grad):
        """Nothing is derived."""


def silenced(model, batch, n, head):
    """The loss of a batch while head `head` of the n-th attention is silent."""
    with no_grad(), watched_by(_Silence(n, head)):
        return model(batch)["loss"].item()


def ablate(model, batch, heads):
    """[array of each head's change of the loss] for the attentions of a pass, that have `heads` heads each."""
    with no_grad():
        whole = model(batch)["loss"].item()
    #: Silence one head, and look at the loss | \Delta L_h = L(O_h = 0) - L
    return [np.array([silenced(model, batch, n, h) - whole for h in range(H)]) for n, H in enumerate(heads)]
