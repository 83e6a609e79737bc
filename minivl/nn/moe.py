"""A sparse layer: E experts, each an MLP, and every token asks K of them.   GShard, arXiv 2006.16668."""

from .. import ops
from .layers import Linear
from .module import Module, parameter

FEWEST = 4  # slots of an expert, however few tokens there are


class MoE(Module):
    """x (B, T, C) -> y (B, T, C), and the load balancing loss, one number, to be added to the model's own.

        y_t = sum over the K experts e that the router likes best of g_te W'_e f(W_e x_t)

    E          experts; the router is a linear map to their E logits
    K          2: GShard, gates renormalised; 1: Switch (Fedus et al. 2021, arXiv 2101.03961), the gate a probability
    capacity   an expert takes so many times T / E choices of a sentence of T tokens, in training and in use. What
               comes later is dropped: there y is 0, and the residual stream around this layer goes on alone
    """

    def __init__(self, C, hidden, E, random, K=2, capacity=(1.25, 2.0), activation=ops.relu):
        if not 1 <= K <= E:
            raise ValueError(f"MoE: K is {K}, must be from 1 to the {E} experts")
        self.router = Linear(C, E, random, bias=False)
        self.up = parameter(random, E, C, hidden, std=C**-0.5)
        self.down = parameter(random, E, hidden, C, std=hidden**-0.5)
        self.E, self.K, self.capacity, self.activation = E, K, capacity, activation

    def forward(self, x):
        (B, T, C), E = x.shape, self.E
        #: Every token chooses its experts | g = \mathrm{softmax}(W_r x)
        logits = self.router(x)
        chosen = ops.top_k(logits, self.K)
        routing = ops.expert_slots(chosen, E, self.slots(T))
        #: Each expert gets the tokens that chose it, and answers | E_e(x) = W'_e f(W_e x)
        sent = ops.dispatch(x, routing=routing).reshape(E, -1, C)
        answers = self.activation(sent @ self.up) @ self.down
        #: A token gets the answers to it, weighted | y = \sum_k g_k E_k(x)
        gates = ops.gates(logits, chosen, renormalise=self.K > 1)
        y = ops.combine(answers.reshape(E, B, -1, C), gates, routing=routing)
        return y, ops.load_balance(logits, chosen[..., 0])

    def slots(self, T):
        """S, of one expert for a sentence of T tokens."""
        return max(min(T, int(T * self.capacity[not self.training] / self.E)), FEWEST)
