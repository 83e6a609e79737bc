"""The process in which a student's code runs. It is given names and arrays, gives arrays back, and knows no answers.

Started by judge.py as  python -I -S worker.py TREE EXERCISE SITE...  with TREE a copy of minivl that holds the
student's functions. What wanted answers look like, the score and the other students' work are in the judge, which
never imports any of this. Before the first line of the student's runs, the process gives up files, other processes,
the network, and memory and time beyond what is set. It is a fence against accidents and easy tricks, not a prison: for
submissions that nobody knows anything about, run `minivl grade` in a container as well.
"""

import contextlib
import io
import json
import os
import struct
import sys

_DENIED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "pty.",
    "ctypes.", "shutil.", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.chown",
    "os.truncate", "os.putenv", "os.unsetenv", "os.listdir", "os.scandir", "os.chdir", "sys.settrace", "sys.setprofile",
    "sys.addaudithook", "gc.", "webbrowser.", "urllib.", "ftplib.", "http.", "smtplib.", "sqlite3.", "mmap.", "signal.",
    "resource.", "pickle.", "code.__new__", "function.__new__", "winreg.", "fcntl.",
)  # fmt: skip
SECONDS, MEGABYTES = 30, 3000


def limit():
    """Time, memory, files, processes: as far as the system lets a process bind itself."""
    try:
        import resource
    except ImportError:  # Windows: the judge's clock alone
        return
    for name, most in (("CPU", SECONDS), ("AS", MEGABYTES << 20), ("FSIZE", 0), ("CORE", 0), ("NPROC", 0)):
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            _, hard = resource.getrlimit(kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (most, most))


def leave_the_network():
    """Linux: an own, empty network, where the system allows it to a process without rights."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)  # CLONE_NEWUSER, CLONE_NEWNET


def lock(readable, allowed=()):
    """From here on: no file but what `readable` folders hold, read only; no process, no network. Nothing undoes it."""
    readable = tuple(os.path.realpath(folder) + os.sep for folder in readable)
    elsewhere = os.sep + "minivl" + os.sep
    tree = readable[0]
    denied = tuple(name for name in _DENIED if name not in allowed)

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments[0], arguments[1], arguments[2]
            if isinstance(path, int):
                fine = "descriptors" in allowed
            else:
                real = os.path.realpath(os.fsdecode(path))
                written = (mode and any(c in str(mode) for c in "wax+")) or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
                fine = not written and real.startswith(readable) and (elsewhere not in real or real.startswith(tree))
            if not fine:
                raise PermissionError(f"an exercise may not open {path!r}")
        elif event.startswith(denied):
            raise PermissionError(f"an exercise may not use {event}")

    sys.addaudithook(hook)


def main(tree, exercise, *site):
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # what a student prints is no answer
        os.dup2(nothing, descriptor)
    sys.dont_write_bytecode = True
    sys.path[:0] = [tree]
    sys.path += site
    import encodings.idna  # noqa: F401  what Python would otherwise load when it is too late
    import traceback  # noqa: F401

    import numpy as np
    import numpy.random  # noqa: F401

    from minivl.exercises.sheet import sheet_of

    sheet = sheet_of(exercise)
    sheet.load()
    sheet.prepare()
    leave_the_network()
    limit()
    lock([tree, os.path.dirname(os.__file__), *site], sheet.allowed)
    send(answers, {"ready": True}, [])
    while (message := receive(questions)) is not None:
        header, arrays = message
        try:
            result = sheet.scenarios[header["call"]](*arrays, **header["options"])
            single = not isinstance(result, tuple)
            results = [np.asarray(part) for part in ((result,) if single else result)]
            send(answers, {"single": single}, results)
        except NotImplementedError as error:
            send(answers, {"error": "not attempted", "text": str(error)[:300]}, [])
        except (KeyboardInterrupt, SystemExit) as error:
            send(answers, {"error": "failed", "text": f"it ended with {type(error).__name__}"}, [])
        except BaseException as error:  # also RecursionError, MemoryError: all are answers of a kind
            send(answers, {"error": "failed", "text": f"{type(error).__name__}: {str(error)[:500]}"}, [])


# ---- messages: a length, a header of JSON, arrays in NumPy's own format ----------------------------------------------


def send(file, header, arrays):
    import numpy as np

    blobs = []
    for array in arrays:
        blob = io.BytesIO()
        np.save(blob, np.asarray(array), allow_pickle=False)
        blobs.append(blob.getvalue())
    text = json.dumps({**header, "sizes": [len(blob) for blob in blobs]}).encode()
    file.write(struct.pack(">I", len(text)) + text + b"".join(blobs))
    file.flush()


def receive(file, most=1 << 26):
    """(header, arrays), or None at the end. ValueError: it is no such message, or larger than `most` bytes."""
    import numpy as np

    start = file.read(4)
    if not start:
        return None
    length = struct.unpack(">I", start)[0] if len(start) == 4 else most + 1
    if length > 1 << 16:
        raise ValueError("the answer has no header")
    header = json.loads(file.read(length))
    sizes = header.get("sizes", []) if isinstance(header, dict) else None
    if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes) or sum(sizes) > most:
        raise ValueError("the answer is too large, or says nothing of its size")
    arrays = []
    for n in sizes:
        blob = io.BytesIO(file.read(n))
        shape, _, dtype = _about(blob)
        if dtype.hasobject or np.prod(shape, dtype=float) * dtype.itemsize > most:
            raise ValueError("the answer is no array of numbers")
        blob.seek(0)
        arrays.append(np.load(blob, allow_pickle=False))
    return header, arrays


def _about(blob):
    from numpy.lib import format

    version = format.read_magic(blob)
    return (format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0)(blob)


if __name__ == "__main__":
    main(*sys.argv[1:])
