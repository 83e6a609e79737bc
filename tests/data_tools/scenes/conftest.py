"""A pool of drawn shapes, one with cut-outs of eight nouns, and many examples of both, made once."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_tools.scenes import examples
from data_tools.scenes.cutouts import Pool
from minivl.data.shards import ShardWriter

NOUNS = ("dog", "lion", "bee", "sheep", "tree frog", "palm tree", "backpack", "car", "camera")


@pytest.fixture(scope="session")
def cutout_shards(tmp_path_factory):
    """Shards like those of stamps: three pictures of each noun, one of them twice, and things that are no use."""
    folder = tmp_path_factory.mktemp("cutouts")
    random = np.random.default_rng(0)
    with ShardWriter(folder, prefix="toys", about={"licence": "CC0-1.0", "source": "drawn"}) as out:
        for n, noun in enumerate(NOUNS):
            for copy in range(3):
                picture = Image.new("RGBA", (60, 50 + n))
                pen = ImageDraw.Draw(picture)
                pen.ellipse((4 + copy, 3, 50, 44), fill=(*random.integers(0, 256, 3).tolist(), 255))
                pen.rectangle((10, 10 + n, 24, 30), fill=(*random.integers(0, 256, 3).tolist(), 255))
                out.write(f"{n}-{copy}", picture, [f"A {noun}."], {"name": noun})
        out.write("again", picture, ["A camera."], {"name": "camera"})
        out.write("thin", Image.new("RGBA", (60, 6), "red"), ["A dog."], {"name": "dog"})
        out.write("empty", Image.new("RGBA", (60, 60)), ["A dog."], {"name": "dog"})
        out.write("unnamed", Image.new("RGBA", (60, 60), "red"), ["Yum!"], {})
    return folder / "toys"


@pytest.fixture(scope="session")
def shapes():
    return Pool(["shapes"])


@pytest.fixture(scope="session")
def cutouts(cutout_shards):
    return Pool([cutout_shards])


@pytest.fixture(scope="session")
def drawn_examples(shapes):
    """600 examples of drawn shapes: (key, PNG, captions, info)."""
    return [examples.example(shapes, 0, "train", i, side=64) for i in range(600)]


@pytest.fixture(scope="session")
def cutout_examples(cutouts):
    return [examples.example(cutouts, 0, "train", i) for i in range(150)]
