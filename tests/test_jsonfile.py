"""Whatever lies in a file that should be JSON: a value that the program can use, or one line."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import attempt

from strands_diffusers.errors import ActionError, DomainError, ObservationError
from strands_diffusers.jsonfile import MAX_DEPTH, read_json, read_json_lines

quick = settings(derandomize=True, max_examples=60, deadline=None)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**300), 10**300) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@quick
@given(values)
def test_what_json_holds_comes_back(value):
    assert read_json(json.dumps(value).encode(), "it", ObservationError) == value


@quick
@given(st.binary(max_size=60) | values.map(lambda v: json.dumps(v)[:-1].encode()))
def test_any_bytes_give_a_value_or_one_line_in_the_caller_s_own_error(content):
    value, refusal = attempt(lambda: read_json(content, "notes.json", DomainError), DomainError)

    json.dumps(value, ensure_ascii=False).encode()
    assert refusal is None or (refusal.startswith("notes.json") and "\n" not in refusal)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a":' * (MAX_DEPTH + 2) + b"1" + b"}" * (MAX_DEPTH + 2), "nested too deep"),
        (b"[" + b"9" * 400 + b"]", "an integer of 400 digits"),
        (b"[-" + b"9" * 5000 + b"]", "an integer of 5000 digits"),
        (b'["\\ud83d"]', "half of a character"),
        (b"\xff\xfe[1]", "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_what_nobody_can_use_is_refused(content, words):
    with pytest.raises(ActionError, match=words):
        read_json(content, "chunk.json", ActionError)


def test_a_mark_of_the_encoding_and_whole_pairs_are_fine():
    assert read_json(b'\xef\xbb\xbf["\\ud83d\\ude00"]', "it", ObservationError) == ["\U0001f600"]
    assert math.isnan(read_json(b"[NaN]", "it", ObservationError)[0])


def test_files_that_cannot_be_read_say_why(tmp_path):
    for path, words in [(tmp_path / "none.json", "does not exist"), (tmp_path, "is not a file")]:
        with pytest.raises(ObservationError, match=words):
            read_json(path, str(path), ObservationError)
    (tmp_path / "long.json").write_text("[1, 2, 3]")
    with pytest.raises(ObservationError, match="has 9 bytes, more than the 8"):
        read_json(tmp_path / "long.json", "long.json", ObservationError, max_bytes=8)


def test_lines_end_at_newlines_alone_and_errors_count_them(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"task": "push\u2028pull"}\r\n\n{"task": 1}\n', encoding="utf-8")
    assert read_json_lines(path, "tasks.jsonl", ObservationError) == [{"task": "push\u2028pull"}, {"task": 1}]
    path.write_text('{"task": 1}\n{"task"')
    with pytest.raises(ObservationError, match=r"tasks\.jsonl, line 2 is truncated or not JSON"):
        read_json_lines(path, "tasks.jsonl", ObservationError)
