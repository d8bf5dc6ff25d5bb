import io
import json
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import attempt, one_line

from strands_diffusers.errors import ActionError, ObservationError, RequestError
from strands_diffusers.observations.action_files import read_actions

CHUNK_TD = np.linspace(-1.5, 1.5, 160, dtype=np.float32).reshape(16, 10)


@pytest.mark.parametrize("shape", [(16, 10), (1, 16, 10), (4, 4, 10)])
@pytest.mark.parametrize("suffix", [".json", ".npy", ".npz"])
def test_actions_come_back_exactly_with_chunks_one_after_the_other(shape, suffix, tmp_path):
    path = tmp_path / f"actions{suffix}"
    value = CHUNK_TD.reshape(shape)
    if suffix == ".json":
        path.write_text(json.dumps(value.tolist()))
    elif suffix == ".npy":
        np.save(path, value)
    else:
        np.savez_compressed(path, action=value, frames=np.zeros(3))

    rows_TD = read_actions(path)

    assert rows_TD.dtype == np.float32
    np.testing.assert_array_equal(rows_TD, CHUNK_TD)
    rows_TD += 1  # the caller's own


@pytest.mark.parametrize(
    ("file", "shape"),
    [
        ("cosmos3_nano/cosmos_action_chunk.json", (16, 10)),
        ("cosmos3_nano/rollout_policy_2_action.json", (16, 10)),
        ("nvidia_cosmos/umi.json", (32, 10)),
        ("nvidia_cosmos/av_traj_left.json", (60, 9)),
    ],
)
def test_real_action_files_are_read(file, shape, data):
    rows_TD = read_actions(data / file)

    assert rows_TD.shape == shape
    expected = np.float32(json.loads((data / file).read_text())).reshape(shape)
    np.testing.assert_array_equal(rows_TD, expected)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"action": ...}, {"actions": ..., "fps": 5}, {"id": 3, "result": {"chunk": ...}}, {"action": {"data": ..., "dim": 10}},
        {"actions": ..., "observation": {"state": [[1, 2]]}}, {"action": ..., "timestamps": [0.1, 0.2], "task": "push"},
    ],
)  # fmt: skip
def test_the_one_chunk_in_an_object_is_read(wrapped, tmp_path):
    text = json.dumps(wrapped, default=lambda _: CHUNK_TD.tolist())
    (tmp_path / "reply.json").write_text(text)

    np.testing.assert_array_equal(read_actions(tmp_path / "reply.json"), CHUNK_TD)


def npy(value, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value, **options)
    return stream.getvalue()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


BAD_VALUES = {
    "object.json": (b'{"columns": [], "rows": [1]}', "JSON object that holds 'columns', 'rows', no chunk"),
    "two.json": (b'{"left": [[1]], "right": {"arm": [[2]]}}', "holds 2 chunks of actions .'left', 'right.arm'."),
    "pair.json": (b'{"action": [[1]], "b": {"action": [[2]]}}', "holds 2 chunks of actions .'action', 'b.action'."),
    "ragged.json": (b"[[1, 2], [1, 2, 3]]", "ragged: row 1 has 3 values, the first has 2"),
    "ragged_chunk.json": (b"[[[1, 2], [3, 4]], [[1, 2]]]", "ragged: chunk 1 has 1 rows, chunk 0 has 2"),
    "ragged_row_in_chunk.json": (b"[[[1, 2], [3, 4]], [[1, 2], [3]]]", "chunk 1, row 1 has 1 values"),
    "uneven_depth.json": (b"[[[1, 2]], [1, 2]]", "ragged"),
    "flat.json": (b"[1, 2, 3]", "not a list of rows"),
    "number.json": (b"3", "not a list of rows"),
    "four_deep.json": (b"[[[[1, 2]]]]", "not a number"),
    "empty_list.json": (b"[]", "holds no actions"),
    "empty_rows.json": (b"[[], []]", "holds no actions"),
    "empty_chunk.json": (b"[[[]]]", "holds no actions"),
    "nan.json": (b"[[1, 2], [3, NaN]]", "holds nan in row 1, column 1"),
    "inf.json": (b"[[1, -Infinity]]", "holds -inf in row 0, column 1"),
    "huge.json": (b"[[1, 1e300]]", "holds inf in row 0, column 1"),
    "text.json": (b'[["1", 2]]', "holds '1' in row 0, column 0: not a number"),
    "bool.json": (b"[[true, 2]]", "holds True in row 0, column 0: not a number"),
    "null.json": (b"[[null, 2]]", "holds None"),
    "nan.npy": (npy(np.array([[0, np.nan]], np.float32)), "holds nan in row 0, column 1"),
    "inf.npz": (npz(action=np.array([[np.inf, 0]])), "holds inf"),
    "flat.npy": (npy(np.zeros(5)), r"shape \[5\]"),
    "frames.npy": (npy(np.zeros((2, 4, 4, 3), np.uint8)), r"shape \[2, 4, 4, 3\]"),
    "empty.npy": (npy(np.zeros((0, 10))), "holds no actions"),
    "text.npy": (npy(np.array([["a"]])), "not numbers"),
    "bool.npy": (npy(np.ones((2, 2), bool)), "not numbers"),
    "complex.npy": (npy(np.ones((2, 2), complex)), "not numbers"),
}


def damaged_npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, action=CHUNK_TD)
    content = bytearray(stream.getvalue())
    content[200:260] = b"\xaa" * 60
    return bytes(content)


def packed(method: int) -> bytes:
    """An archive of another compression than numpy's own, its data damaged."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("action.npy", npy(np.random.default_rng(0).normal(size=(50, 10))))
    content = bytearray(stream.getvalue())
    content[120:400] = b"\xaa" * 280
    return bytes(content)


BAD_FILES = {
    "lzma.npz": (packed(zipfile.ZIP_LZMA), "truncated or not a numpy file"),
    "bzip2.npz": (packed(zipfile.ZIP_BZIP2), "truncated or not a numpy file"),
    "empty.json": (b"", "is empty"),
    "empty.npz": (b"", "is empty"),
    "cut.json": (b"[[1, 2], [3", "truncated or not JSON"),
    "binary.json": (b"\xff\xfe\x00", "truncated or not JSON"),
    "digits.json": (b"[[1, 1" + b"0" * 400 + b"]]", "an integer of 401 digits"),
    "bottomless.json": (b'{"a":' * 100_000, "nested too deep"),
    "pointer.json": (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
    "abyss.json": (b"[" * 100_000, "nested too deep"),
    "cut.npy": (npy(CHUNK_TD)[:-40], "truncated or not a numpy file"),
    "head.npy": (npy(CHUNK_TD)[:20], "truncated or not a numpy file"),
    "text.npy": (b"these are not numbers", "is not a numpy file"),
    "cut.npz": (npz(action=CHUNK_TD)[:-90], "truncated or not a numpy file"),
    "damaged.npz": (damaged_npz(), "truncated or not a numpy file"),
    "pickled.npy": (npy(np.array([{}], object), allow_pickle=True), "pickled objects, which are never opened"),
    "many.npz": (npz(a=CHUNK_TD, b=CHUNK_TD), "holds a, b; name the array of actions 'action'"),
    "none.npz": (npz(), "holds nothing"),
    "actions.csv": (b"1,2,3", "is not an action file"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_bad_values_are_located(name, tmp_path):
    refused(tmp_path, name, *BAD_VALUES[name], ActionError)


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_with_what_is_accepted(name, tmp_path):
    refused(tmp_path, name, *BAD_FILES[name], ObservationError)


def refused(tmp_path, name: str, content: bytes, words: str, kind: type[RequestError]) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(kind, match=words) as error:
        read_actions(path)

    assert re.search(re.escape(str(path)), one_line(error))


def test_a_pickle_in_a_numpy_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    np.save(tmp_path / "trap.npy", np.array([Trap()], object), allow_pickle=True)

    with pytest.raises(ObservationError, match="never opened"):
        read_actions(tmp_path / "trap.npy")
    assert not (tmp_path / "sprung").exists()


def test_a_numpy_file_that_declares_more_than_it_holds_takes_no_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10)})
    (tmp_path / "liar.npy").write_bytes(header.getvalue())

    with pytest.raises(ObservationError):
        read_actions(tmp_path / "liar.npy")


def test_a_missing_action_file_says_so(tmp_path):
    with pytest.raises(ObservationError, match="does not exist"):
        read_actions(tmp_path / "none.json")


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["action", "a", "b.c"]), inner, max_size=3)
    ),
    max_leaves=12,
)
ROWS = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.lists(st.floats(width=32), min_size=n, max_size=n), min_size=1, max_size=3)
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(ROWS | TREES | ROWS.map(lambda rows: {"note": 1, "reply": {"actions": rows}}))
def test_any_json_is_actions_or_one_line(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "drawn.json"
    path.write_text(json.dumps(value))

    rows_TD, refusal = attempt(lambda: read_actions(path, "it"), RequestError)

    if refusal is None:
        assert rows_TD.dtype == np.float32
        assert rows_TD.ndim == 2
        assert np.isfinite(rows_TD).all()
    else:
        assert refusal.startswith("it ")
        assert "\n" not in refusal


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.sampled_from([npy(CHUNK_TD), npz(action=CHUNK_TD)]),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=5)), max_size=3),
)
def test_any_damage_to_a_numpy_file_is_harmless_or_one_line(tmp_path_factory, content, damage):
    content = bytearray(content)
    for place, noise in damage:
        at = int(place * len(content))
        content[at : at + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "drawn.npz"
    path.write_bytes(content)

    rows_TD, refusal = attempt(lambda: read_actions(path, "it"), RequestError)

    assert np.isfinite(rows_TD).all() if refusal is None else refusal.startswith("it ") and "\n" not in refusal
