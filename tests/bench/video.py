"""What a clip costs as it gets longer: tubes through the ViT once, beside every frame through it. To be plotted.

    python tests/bench/video.py > video.csv            --frames 16,32,64,128   --rounds 5

Time is of one clip, forward and backward, the two ways in turns, the median of the rounds; memory the most that NumPy
held at once in a round of its own. Both ways have the same ViT and see the same pixels; tubes see them sparsely.
"""

import argparse
import statistics
import time
import tracemalloc

import numpy as np

from minivl.models.mammut import Config, MaMMUT

SIZES = dict(
    image_size=96, patch=16, image_width=192, image_heads=3, image_layers=4, image_hidden=768, width=192, heads=3
)
TUBES = "8x8x8/16x16x16@0x0x0 12x4x4/6x16x16@4x4x4 4x12x12/16x16x16@0x8x8"  # TubeViT's, a picture of 96 instead of 224


def clip_model(frames):
    return MaMMUT(Config(**SIZES, frames=frames, frame_stride=16, tubes=TUBES), np.random.default_rng(0))


def by_tubes(model, clip):
    return model.look(clip)[1]


def by_frames(model, clip):
    """Every frame is a picture; the memory has the patches of all of them."""
    pictures = clip.transpose(0, 2, 1, 3, 4).reshape(-1, 3, *clip.shape[3:])
    return model.look(np.ascontiguousarray(pictures))[1].reshape(len(clip), -1, model.config.width)


WAYS = {"tubes": by_tubes, "every frame": by_frames}


def step(way, model, clip):
    """Forward and backward; -> how many tokens the decoder would look at."""
    model.zero_grad()
    memory = WAYS[way](model, clip)
    memory.sum().backward()
    return memory.shape[1]


def measure(frames, rounds):
    """{way: (tokens, seconds, peak bytes)} of a clip of so many frames."""
    model = clip_model(frames)
    clip = np.random.default_rng(1).standard_normal((1, 3, frames, 96, 96), dtype=np.float32)
    seconds, told = {way: [] for way in WAYS}, {}
    for n in range(rounds + 1):  # the first is to warm up
        for way in WAYS:
            started = time.perf_counter()
            tokens = step(way, model, clip)
            seconds[way] += [time.perf_counter() - started] if n else []
            told[way] = tokens
    for way in WAYS:
        model.zero_grad()
        tracemalloc.start()
        step(way, model, clip)
        told[way] = told[way], statistics.median(seconds[way]), tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return told


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", default="16,32,64,128", help="lengths of clips (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: %(default)s)")
    options = parser.parse_args(arguments)
    print("frames,way,tokens,seconds,megabytes")
    for frames in map(int, options.frames.split(",")):
        for way, (tokens, seconds, peak) in measure(frames, options.rounds).items():
            print(f"{frames},{way},{tokens},{seconds:.4f},{peak / 2**20:.1f}", flush=True)


if __name__ == "__main__":
    main()
