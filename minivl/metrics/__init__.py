"""How good is it: one file for each kind of task."""

from minivl.metrics.retrieval import nearest_neighbour, retrieval_scores

__all__ = ["nearest_neighbour", "retrieval_scores"]
