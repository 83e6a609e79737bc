"""MaMMUT beside CoCa of the same size: parameters, and the time of a training step, in turns.

    python tests/bench/mammut_and_coca.py

Both have the same ViT, width and number of decoder blocks that look at the picture; a MaMMUT of two blocks and one
cross block has nearly as many numbers as a CoCa of one unimodal and one multimodal layer with its poolers. MaMMUT runs
its decoder twice; CoCa runs each half once, and pools.
"""

import statistics
import time

import numpy as np

from minivl.models import coca, mammut
from minivl.optim import AdamW

ROUNDS, B, T = 30, 48, 12


def models():
    random = np.random.default_rng(0)
    sizes = dict(width=64, layers=2, cross_layers=1)
    alone = {"contrast": dict(caption_weight=0.0), "captions": dict(contrastive_weight=0.0)}
    found = {"MaMMUT": mammut.MaMMUT(mammut.Config.tiny(**sizes), random)}
    for name, weight in alone.items():
        found[f"MaMMUT: {name} alone"] = mammut.MaMMUT(mammut.Config.tiny(**sizes, **weight), random)
    config = coca.Config.tiny(width=64, unimodal_layers=1, multimodal_layers=1)
    return {**found, "CoCa": coca.CoCa(config, random)}


def main(rounds=ROUNDS):
    random = np.random.default_rng(1)
    batch = {
        "image": random.standard_normal((B, 3, 32, 32), dtype=np.float32),
        "text": random.integers(3, 300, (B, T)),
        "lengths": np.full(B, T),
    }
    made, seconds = models(), {name: [] for name in models()}
    optimizers = {name: AdamW(model.parameters(), lr=1e-4) for name, model in made.items()}
    for n in range(rounds + 1):  # the first is to warm up
        for name, model in made.items():
            started = time.perf_counter()
            model.zero_grad()
            model(batch)["loss"].backward()
            optimizers[name].step()
            seconds[name] += [time.perf_counter() - started] if n else []
    whole = statistics.median(seconds["MaMMUT"])
    print("model,parameters,milliseconds,beside MaMMUT")
    for name, model in made.items():
        median = statistics.median(seconds[name])
        print(f"{name},{model.num_parameters()},{1e3 * median:.1f},{median / whole:.3f}")


if __name__ == "__main__":
    main()
