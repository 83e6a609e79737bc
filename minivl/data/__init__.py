"""Data: drawn scenes or WebDataset shards, pictures as arrays, and batches of both that can be resumed at any step."""

from minivl.data.batches import Batches, eval_batches
from minivl.data.image import Preprocess, contact_sheet, heat
from minivl.data.mix import Mix, by_kind, open_mix
from minivl.data.shards import DataError, Example, Problems, read_shards, shard_paths
from minivl.data.sources import ScenesSource, ShardSource, open_source

__all__ = [
    "Batches",
    "DataError",
    "Example",
    "Mix",
    "Preprocess",
    "Problems",
    "ScenesSource",
    "ShardSource",
    "by_kind",
    "contact_sheet",
    "eval_batches",
    "heat",
    "open_mix",
    "open_source",
    "read_shards",
    "shard_paths",
]
