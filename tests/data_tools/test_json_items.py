"""JSON of any size, item by item: equal to json.load wherever the window on the text happens to be cut."""

import json

import numpy as np
import pytest

from data_tools.readers import json_items
from data_tools.readers.json_items import grouped, items
from minivl.data.shards import DataError


def some_json(random, depth=0):
    kind = random.integers(7 if depth < 3 else 5)
    if kind == 0:
        return int(random.integers(-(10**6), 10**6))
    if kind == 1:
        return float(random.normal() * 10.0 ** random.integers(-9, 9))
    if kind == 2:
        return [None, True, False][random.integers(3)]
    if kind in (3, 4):
        return "".join(random.choice(list('abc "\\/\n\té犬😀{}[],:'), random.integers(0, 12)))
    if kind == 5:
        return [some_json(random, depth + 1) for _ in range(random.integers(0, 4))]
    return {f"k{n}": some_json(random, depth + 1) for n in range(random.integers(0, 4))}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
def test_items_are_those_of_json_load_however_the_file_is_cut(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "_CHUNK", chunk)
    random = np.random.default_rng(chunk)
    for turn in range(25):
        whole = {f"part{n}": some_json(random) for n in range(random.integers(0, 4))}
        whole |= {"wanted": [some_json(random) for _ in range(random.integers(0, 6))], "other": [1, [2], {"a": 3}]}
        names = random.permutation(list(whole)).tolist()
        whole = {name: whole[name] for name in names}
        indent = [None, 2][turn % 2]
        path = tmp_path / "file.json"
        path.write_text(json.dumps(whole, indent=indent, ensure_ascii=bool(turn % 3)), encoding="utf-8")
        assert [item for _, item in items(path, "wanted")] == whole["wanted"]
        both = {name: [item for n, item in items(path, "wanted", "other") if n == name] for name in ("wanted", "other")}
        assert both == {"wanted": whole["wanted"], "other": whole["other"]}
        path.write_text(json.dumps(whole["wanted"], indent=indent), encoding="utf-8-sig")
        assert list(items(path)) == [("", item) for item in whole["wanted"]]


def test_numbers_at_the_end_of_a_window_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "_CHUNK", 4)
    (tmp_path / "file.json").write_text("[123456789, -0.5e-3,12]")
    assert list(items(tmp_path / "file.json")) == [("", 123456789), ("", -0.5e-3), ("", 12)]


def test_items_before_a_break_are_given(tmp_path):
    (tmp_path / "file.json").write_text('{"a": [1, 2, {"b": 3}, oh')
    found = []
    with pytest.raises(DataError, match="file.json: cannot be read about character 23"):
        found.extend(item for _, item in items(tmp_path / "file.json", "a"))
    assert found == [1, 2, {"b": 3}]


@pytest.mark.parametrize(
    "text",
    ["{", "[1 2]", '{"a" 1}', '{"a": [1,]}', '{"a": 1,}', "[1]]", "{a: 1}", "nul", "", "7", '{"a": [1], "b"'],
)
def test_what_is_no_json_is_a_data_error(text, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(DataError, match="cannot be read"):
        list(items(tmp_path / "file.json", "a"))


def test_an_item_larger_than_the_most_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_items, "_LARGEST", 100)
    monkeypatch.setattr(json_items, "_CHUNK", 10)
    (tmp_path / "file.json").write_text(json.dumps([1, "x" * 500]))
    with pytest.raises(DataError, match="an item of more than 100 characters"):
        list(items(tmp_path / "file.json"))


def test_items_are_grouped_by_a_field(tmp_path):
    (tmp_path / "file.json").write_text(
        json.dumps({"s": [{"v": "a", "n": 1}, {"v": "b"}, 3, {"v": "a", "n": 2}, {"v": [1]}]})
    )
    assert grouped(tmp_path / "file.json", "s", "v") == {
        "a": [{"v": "a", "n": 1}, {"v": "a", "n": 2}],
        "b": [{"v": "b"}],
    }
