"""Data: drawn scenes or WebDataset shards, pictures as arrays, and batches of both that can be resumed at any step."""

from minivl.data.batches import Batches, eval_batches
from minivl.data.image import Preprocess, contact_sheet, heat
from minivl.data.shards import DataError, Example, Problems, read_shards, shard_paths
from minivl.data.sources import ScenesSource, ShardSource, open_source

__all__ = [
    "Batches",
    "DataError",
    "Example",
    "Preprocess",
    "Problems",
    "ScenesSource",
    "ShardSource",
    "contact_sheet",
    "eval_batches",
    "heat",
    "open_source",
    "read_shards",
    "shard_paths",
]
