"""Lets the tests of this folder import the files that stand beside them, and the stand-in for CuPy."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "gpu_path")]
