"""A small part of the fuzzing in the default suite, all of it as `slow`, and proof that it would find something."""

import json
import re
import time

import fuzz
import mutations
import numpy as np
import pytest

from minivl.data.shards import DataError


def ran(command, *arguments):
    code, out, err = command(*arguments, program=(fuzz.__file__,))
    assert code == 0, out + err
    found = [re.fullmatch(r"(.+): (\d+) cases, 0 failed, \d+ s", line) for line in out.splitlines()[:-1]]
    assert all(found) and re.fullmatch(r"0 failed; at most \d\.\d\d GB of memory", out.splitlines()[-1])
    return {match[1]: int(match[2]) for match in found}


def test_some_damaged_files_through_every_reader(command):
    assert set(ran(command, "--count", 200)) == set(fuzz.TARGETS)


@pytest.mark.slow
def test_ten_thousand_damaged_files_through_every_reader():
    """In this process: a run of its own would be cut off by the fixture's time limit."""
    numbers = fuzz.shares(10_000)
    assert sum(numbers.values()) >= 10_000
    failed = {name: fuzz.run(name, range(count), seed=0) for name, count in numbers.items()}
    assert not any(failed.values()), {name: some[:3] for name, some in failed.items() if some}


def test_a_case_is_made_of_its_seed_and_number_alone():
    content = bytes(range(256)) * 4
    made = [mutations.mutated(content, np.random.default_rng([0, 1, n]), "a.json") for n in range(50)]
    assert made == [mutations.mutated(content, np.random.default_rng([0, 1, n]), "a.json") for n in range(50)]
    assert len(set(made)) > 45 and all(one != content for one in made[:10])


def test_damage_leaves_some_of_the_json_whole():
    """Half of the damaged JSON can still be parsed, so that the readers behind the parser are reached."""
    content = json.dumps({"images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(9)]}).encode()
    parsed = 0
    for n in range(400):
        try:
            json.loads(mutations.mutated(content, np.random.default_rng(n), "a.json"))
            parsed += 1
        except (ValueError, RecursionError):
            pass
    assert parsed > 200


def test_a_mistake_in_a_reader_is_found_with_its_number(monkeypatch):
    def careless(path, *names):
        """Whatever json raises, and a KeyError where a name is missing."""
        return json.loads(path.read_text(encoding="utf-8"))[names[0]]

    monkeypatch.setattr(fuzz, "items", careless)
    failed = fuzz.run("json", range(60), 0)
    assert failed and not isinstance(failed[0][1], DataError)
    [again] = fuzz.run("json", [failed[0][0]], 0)
    assert again[0] == failed[0][0] and type(again[1]) is type(failed[0][1])


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setitem(fuzz.TARGETS, "json", lambda folder: lambda random: time.sleep(30))
    [(number, error)] = fuzz.run("json", [7], 0)
    assert number == 7 and isinstance(error, fuzz.Hang)
