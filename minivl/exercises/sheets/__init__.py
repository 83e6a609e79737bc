"""The exercises, one a file: a docstring with title and goal, FILES that hold the marked parts, scenarios, checks."""
