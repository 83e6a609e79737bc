"""The tests marked `gpu`, on the stand-in: what fails once a GPU is at hand is then no slip of the tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from minivl import kernels

HERE = Path(__file__).parent
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from stand_in_cupy import instead_of_cupy
import pytest
with instead_of_cupy():
    sys.exit(pytest.main(["-q", "-m", "gpu", "-p", "no:cacheprovider", sys.argv[2]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
def test_every_test_for_a_gpu_passes_on_the_stand_in():
    command = [sys.executable, "-c", RUN, str(HERE), str(HERE.parent)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent.parent)
    assert done.returncode == 0, done.stdout[-4000:]
