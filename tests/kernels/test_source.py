"""The text of a kernel: found, included, with every line where it was."""

import subprocess
import sys

import pytest

from minivl import kernels
from minivl.kernels import cpu, source


def written(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.cu{'h' if name.startswith('h') else ''}").write_text(text)
    return folder / "kernel.cu"


def test_includes_are_put_in_once_and_lines_keep_their_numbers(tmp_path):
    path = written(
        tmp_path,
        kernel='#include "h1.cuh"\n#include "h2.cuh"\nint third;\n',
        h1='#pragma once\n#include "h2.cuh"\nint of_h1;',
        h2="#pragma once\nint of_h2;\n",
    )
    text = source.read(path, "float32")
    assert text.count("int of_h1;") == text.count("int of_h2;") == 1
    place, places = ["", 0], {}
    for line in text.splitlines():
        if line.startswith("#line"):
            place = [line.split()[2].strip('"'), int(line.split()[1])]
            continue
        places[line] = tuple(place)
        place[1] += 1
    assert places["int of_h1;"] == ("h1.cuh", 3)
    assert places["int of_h2;"] == ("h2.cuh", 2)
    assert places["int third;"] == ("kernel.cu", 3)


def test_the_text_depends_on_dtype_and_defines(tmp_path):
    path = written(tmp_path, kernel="int x;\n")
    assert "#define MINIVL_T double\n#define MINIVL_A double\n" in source.read(path, "float64")
    assert "#define MINIVL_T __nv_bfloat16\n#define MINIVL_A float\n" in source.read(path, "bfloat16")
    assert "#define TILE 64\n" in source.read(path, "float32", {"TILE": 64}.items())


def test_the_head_of_a_file_says_what_it_is_compiled_for(tmp_path):
    path = written(tmp_path, kernel="// dtypes: float64 bfloat16\n// archs: sm_90a\n// defines: N=1, N=2 M=a\n")
    assert source.dtypes(path) == ["float64", "bfloat16"] and source.archs(path) == ["sm_90a"]
    assert source.variants(path) == [{"N": "1"}, {"N": "2", "M": "a"}]
    path = written(tmp_path, kernel="// about dtypes: none\n")
    assert source.dtypes(path) == ["float32", "float64", "bfloat16"] and source.variants(path) == [{}]
    assert source.archs(path) == ["sm_80", "sm_90"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n#include <cuda_bf16.h>\n", "kernel.cu:2 includes <cuda_bf16.h>: kernels include only files of ours"),
        ('#include "nowhere.cuh"\n', 'kernel.cu:1 includes "nowhere.cuh", which is neither beside it nor in'),
        ("// dtypes: float32 half\n", "kernel.cu: its line `// dtypes:` names half, must be of"),
        ("// dtypes: float64\n", "kernel.cu: dtype is 'float32', must be one of float64"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        source.read(written(tmp_path, kernel=text), "float32")


def test_a_kernel_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(
        FileNotFoundError, match="kernel 'nothing': there is no file .*nothing.cu; shipped are .*ladder/"
    ):
        kernels.load("nothing")


def test_a_file_without_kernels_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="kernel.cu: has no kernel"):
        kernels.load(written(tmp_path, kernel="int x;\n"))


def test_comments_become_blanks_and_strings_stay():
    text = 'a // b\nc /* d\ne */ f "// g" \'"\''
    assert source.without_comments(text) == 'a     \nc     \n     f "// g" \'"\''


@pytest.mark.parametrize(
    ("cuda", "cpp"),
    [
        ("__shared__ float a;", "SHARED_ARRAY(a, 1, , float);"),
        ("__shared__ float a[4], b[2][3];", "SHARED_ARRAY(a, 1, [4], float); SHARED_ARRAY(b, 1, [2][3], float);"),
        ("__shared__ unsigned char a[4];", "SHARED_ARRAY(a, 1, [4], unsigned char);"),
        ("__shared__ __align__(16) T a[f(4, 5)];", "SHARED_ARRAY(a, 16, [f(4, 5)], T);"),
        ("alignas(128) __shared__ T a[4];", "SHARED_ARRAY(a, 128, [4], T);"),
        ("__shared__ Pack<T, 4> a[N];", "SHARED_ARRAY(a, 1, [N], Pack<T, 4>);"),
        ("__shared__\nfloat a[4];", "\nSHARED_ARRAY(a, 1, [4], float);"),
        ("extern __shared__ float a[];", "float* a = (float*)cpu::dynamic_shared();"),
        (
            "extern __shared__ __align__(16) unsigned char a[];",
            "unsigned char* a = (unsigned char*)cpu::dynamic_shared();",
        ),
    ],
)
def test_shared_memory_as_cpp(cuda, cpp):
    cuda, cpp = f"{{ {cuda} }}", f"{{ {cpp} }}"
    text = cpu.as_cpp(cuda, {}).split('"cuda.h"\n')[1].split("\n#line")[0]
    assert text.split() == cpp.split() and text.count("\n") == cuda.count("\n")


def test_dynamic_shared_memory_outside_of_a_kernel_is_an_error():
    with pytest.raises(ValueError, match=r"extern __shared__ float a\[\]: must be inside of the kernel or function"):
        cpu.as_cpp("{ } extern __shared__ float a[]; { }", {})


def test_a_fresh_install_brings_every_file(tmp_path):
    """pip's own way of choosing files, without pip: a wheel from setuptools, unpacked."""
    pytest.importorskip("setuptools")
    root = source.PACKAGE.parent
    words = ["-c", "from setuptools import setup; setup()", "--quiet", "egg_info", "--egg-base", tmp_path]
    words += ["build_py", "--build-lib", tmp_path / "built"]
    done = subprocess.run([sys.executable, *map(str, words)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "built" / "minivl"
    for pattern in ("kernels/cpu/*", "kernels/include/*", "ops/*.cu*", "ladder/*.cu*"):
        ours = sorted(path.name for path in source.PACKAGE.glob(pattern))
        assert ours and sorted(path.name for path in built.glob(pattern)) == ours
