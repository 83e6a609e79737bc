"""Submissions that want points without an answer: none gets any, none harms the judge."""

import io
import json
import os
import time
import zipfile

import numpy as np
import pytest

from minivl import exercises
from minivl.exercises import cut, worker
from minivl.exercises.judge import PACKAGE, judge

SOFTMAX, ENTROPY = "minivl/ops/softmax.py", "minivl/ops/cross_entropy.py"
SKELETON = {f: cut.skeleton((PACKAGE.parent / f).read_text(), "ex03") for f in (SOFTMAX, ENTROPY)}
A = 'raise NotImplementedError("ex03.a: softmax, without overflow")'
RIGHT_A = (
    "p = np.exp(x - np.maximum(x.max(-1, keepdims=True), -1e300));"
    "return p / np.maximum(p.sum(-1, keepdims=True), 1e-300)"
)
TRUE = "lambda *a, **k: True"


def attempt(lines, hole=A, **options):
    """What becomes of softmax with these lines in the hole."""
    body = "\n        ".join(lines.splitlines())
    text = SKELETON[SOFTMAX]
    assert hole in text
    return judge("ex03", {**SKELETON, SOFTMAX: text.replace(hole, body)}, seed=3, seconds=20, **options)


def status(result, part="ex03.a"):
    return next(v.status for v in result.verdicts if v.id == part)


def test_an_honest_answer_counts():
    """The attacks below would prove nothing if this got no points either."""
    result = attempt(RIGHT_A.replace("np.", "xp."))
    assert result.score == 2 and status(result) == "right"


ATTACKS = {
    "patches the comparison": f"np.allclose = {TRUE}; return x",
    "patches the checks": f"import minivl.exercises.sheet as s; s.close = {TRUE}; s.holds = {TRUE}; return x",
    "ends the process": "import os; os._exit(0)",
    "ends it politely": "raise SystemExit(0)",
    "is interrupted": "raise KeyboardInterrupt",
    "starts a process": "import subprocess; subprocess.run(['true']); return x",
    "a subprocess without import": "__import__('os').system('true'); return x",
    "reads the reference": f"return eval(open({str(PACKAGE / 'ops' / 'softmax.py')!r}).read())",
    "walks the frames": "import sys; f = sys._getframe(); return f.f_back.f_locals['wanted']",
    "looks for answers in memory": "import gc; return [o for o in gc.get_objects() if isinstance(o, np.ndarray)][0]",
    "asks its subclasses": "return ().__class__.__base__.__subclasses__()",
    "brings another library": "import torch; return torch.softmax(torch.tensor(x), -1).numpy()",
    "imports the original": "import importlib; return importlib.import_module('minivl.ops').softmax(x)",
    "asks its neighbour": "return xp.exp(log_softmax(x).data)",
    "equal to everything": "class E(np.ndarray):\n    __eq__ = lambda *a: True\nreturn x.view(E)",
    "gives NaN": "return x * np.nan",
    "gives an object": "return xp.array([object()])",
    "gives a picklable bomb": "return [lambda: 0]",
    "gives too much": "return xp.zeros((1 << 14, 1 << 14))",
    "never ends": "while True: pass",
    "recurses": "f = lambda n: f(n + 1)\nreturn f(0)",
    "eats memory": "a = []\nwhile True: a.append(bytearray(1 << 28))",
    "many threads": "import threading\nfor _ in range(99): threading.Thread(target=print).start()\nreturn x",
    "talks to the network": "import socket; socket.create_connection(('127.0.0.1', 9)); return x",
    "kills its parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "writes a file": "open('score.json', 'w').write('10'); return x",
    "writes to the pipe": "import os\nfor d in range(3, 6): os.write(d, b'x' * 99)\nreturn x",
    "learns the numbers by heart": "return xp.array([[1.0]]) if x.size == 1 else x",
    "prints the wanted text": "print('1 passed'); print('ex03.a: right'); return x",
    "changes a global": "global rowwise; rowwise = None; return x",
}
HARMFUL = ("eats memory", "never ends")  # slow: they are ended by a limit


@pytest.mark.parametrize("name", [n for n in ATTACKS if n not in HARMFUL])
@pytest.mark.parametrize("lenient", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["strict", "lenient"])
def test_attacks_earn_nothing(name, lenient):
    """Strictly, most are refused unread; leniently they run, and must not get through either."""
    if lenient and name in ("asks its neighbour",):
        pytest.skip("a right answer by forbidden means: the objection is all there is against it")
    result = attempt(ATTACKS[name], lenient=lenient)
    assert result.score == 0, result
    assert status(result) != "right"


@pytest.mark.slow
@pytest.mark.parametrize("name", HARMFUL)
def test_limits_end_what_does_not_end(name):
    begin = time.monotonic()
    result = attempt(ATTACKS[name])
    assert result.score == 0 and status(result) in ("timeout", "crashed", "failed")
    assert time.monotonic() - begin < 120


FINITE_DIFFERENCES = """
def f(z):
    e = xp.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
def numerical(dp, p):
    z, g = xp.log(p), xp.zeros_like(p)
    for j in range(p.shape[-1]):
        h = xp.zeros_like(p); h[:, j] = 1e-6
        g[:, j] = ((f(z + h) - f(z - h)) * dp).sum(-1) / 2e-6
    return g
return rowwise(numerical, dp, p)
""".strip()


def test_a_numerical_derivative_is_not_taken_for_the_derivative():
    result = judge(
        "ex03",
        {
            **SKELETON,
            SOFTMAX: (PACKAGE.parent / SOFTMAX)
            .read_text()
            .replace(
                'return rowwise(lambda dp, p: p * (dp - xp.einsum("rc,rc->r", dp, p)[:, None]), dp, p)',
                "\n        ".join(FINITE_DIFFERENCES.splitlines()),
            ),
        },
        seed=3,
    )
    verdict = next(v for v in result.verdicts if v.id == "ex03.b")
    assert status(result) == "right" and verdict.status == "wrong" and verdict.score == 0
    assert "numerical derivative" in verdict.said[0]


def test_what_is_taken_is_the_body_of_the_function_alone():
    """Code beside it, decorators, defaults: none of it is ever run."""
    text = SKELETON[SOFTMAX].replace(A, RIGHT_A.replace("np.", "xp."))
    evil = "import os\nos._exit(0)\n"
    result = judge("ex03", {**SKELETON, SOFTMAX: evil + text}, seed=3)
    assert result.score == 2
    result = judge("ex03", {**SKELETON, SOFTMAX: text.replace("@op\ndef softmax", "@print\ndef softmax")}, seed=3)
    assert result.score == 2
    result = judge("ex03", {**SKELETON, SOFTMAX: text.replace("mask=None)", "mask=None, y=1)", 1)}, seed=3)
    assert result.score == 0 and "other arguments" in result.note


@pytest.mark.parametrize(
    "text",
    ["", "def softmax(x: return", "x" * 300_000, "(" * 5000, "-" * 90_000 + "1", "\0", "def softmax(x): return x"],
    ids=["empty", "no Python", "too long", "brackets", "deep", "zero byte", "one line"],
)
def test_files_that_cannot_be_read_are_refused(text):
    result = judge("ex03", {**SKELETON, SOFTMAX: text}, seed=3)
    assert result.score == 0 and result.note


# ---- what is handed in, and what comes out ---------------------------------------------------------------------------


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)


@pytest.mark.slow
def test_a_folder_of_submissions_is_graded_and_again_to_the_same_bytes(tmp_path):
    folder = tmp_path / "submissions"
    folder.mkdir()
    right = {f: (PACKAGE.parent / f).read_text() for f in SKELETON}
    zipped(folder / "ada.zip", right)
    zipped(folder / "bob.zip", SKELETON)
    zipped(folder / "=1+1.zip", SKELETON)
    zipped(folder / "bomb.zip", {**right, SOFTMAX: "#" * 50_000_000})
    zipped(folder / "outside.zip", {"../../outside.py": "x", "/tmp/outside.py": "x", **SKELETON})
    (folder / "broken.zip").write_bytes(b"PK no zip")
    linked = folder / "linked" / "minivl" / "ops"
    linked.mkdir(parents=True)
    os.symlink("/etc/passwd", linked / "softmax.py")
    html = SKELETON[SOFTMAX].replace(A, 'raise ValueError("<script>alert(1)</script>")')
    zipped(folder / "<b>eve.zip", {**SKELETON, SOFTMAX: html})

    results = exercises.grade("ex03", folder, tmp_path / "scores", seed=4)
    assert {s: r.score for s, r in results.items() if r.score} == {"ada": 9}
    assert "more than" in results["bomb"].note and "cannot be read" in results["broken"].note
    assert "missing" in results["linked"].note and not (tmp_path / "outside.py").exists()
    table = (tmp_path / "scores" / "scores.csv").read_text()
    assert "\nada,ex03,9,9,2,3,4,right,right,right," in table and "\n=1" not in table
    for page in (tmp_path / "scores").glob("*.html"):
        assert "<script" not in page.read_text() and "<b>" not in page.read_text()
    told = json.loads((tmp_path / "scores" / "gradescope" / "ada" / "results.json").read_text())
    assert told["score"] == 9 and [t["max_score"] for t in told["tests"]] == [2, 3, 4]

    exercises.grade("ex03", folder, tmp_path / "again", seed=4)
    for path in (tmp_path / "scores").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "scores")).read_bytes(), path


def test_messages_of_another_kind_are_no_answers(tmp_path):
    for message in (b"xx", b"\0\0\0\2{]", b"\xff\xff\xff\xff", b"\0\0\0\x0f" + b'{"sizes":[1e9]}', b"\0\0\0\2[]"):
        with pytest.raises((ValueError, TypeError)):
            worker.receive(io.BytesIO(message))
    file = io.BytesIO()
    worker.send(file, {"call": "f"}, [np.arange(3), np.array("word")])
    file.seek(0)
    header, arrays = worker.receive(file)
    assert header["call"] == "f" and arrays[0].tolist() == [0, 1, 2] and arrays[1] == "word"


@pytest.mark.parametrize(
    "line",
    [
        'system("true");',
        "std::abort();",
        'asm("nop");',
        '#include "/etc/passwd"',
        "int (*f)() = 0; f();",
        "((void (*)())0)();",
        "kill(1, 9);",
        "} extern int x; {",
        'fopen("score", "w");',
    ],
)
def test_lines_of_cuda_call_no_function_of_the_system(line):
    """They are compiled and run as they stand, so that what they may name is a list."""
    text = (PACKAGE.parent / "minivl/ladder/softmax_3_warp.cu").read_text()
    answer = cut.skeleton(text, "ex11").replace("// begin ex11.a\n", f"// begin ex11.a\n{line}\n")
    _, found = cut.transplant(text, answer, "ex11", "softmax_3_warp.cu")
    assert found["ex11.a"], line
    _, found = cut.transplant(text, answer.replace(line, "A sum = warp_sum(x[0]);"), "ex11", "softmax_3_warp.cu")
    assert found["ex11.a"] == []


def test_one_submission_is_graded_by_itself(tmp_path):
    zipped(tmp_path / "ada.zip", {f: (PACKAGE.parent / f).read_text() for f in SKELETON})
    assert exercises.grade("ex03", tmp_path / "ada.zip", tmp_path / "scores")["ada"].score == 9
    with pytest.raises(ValueError, match="submissions: .*must be a folder of zip files and folders, or one of these"):
        exercises.grade("ex03", tmp_path / "nobody.zip", tmp_path / "scores")
