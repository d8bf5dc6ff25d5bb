from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observing import attempt, one_line

from strands_diffusers.errors import ObservationError
from strands_diffusers.observations.address import split_address

KEYS = ("start", "fps", "actions", "task")


def parts(text, **where):
    found = split_address(text, KEYS, **where)
    return found.path, dict(found.options)


def test_options_follow_the_path():
    assert parts("a/b.mp4") == ("a/b.mp4", {})
    assert parts("a/b.mp4@start:12@fps:5") == ("a/b.mp4", {"start": "12", "fps": "5"})
    assert parts("b.mp4@task:put it: left, @ the end") == ("b.mp4", {"task": "put it: left, @ the end"})
    assert parts("b.mp4@actions:/x/y@z.json@start:1") == ("b.mp4", {"actions": "/x/y@z.json", "start": "1"})


@pytest.mark.parametrize("name", ["robot@start:3.mp4", "a:b.mp4", "@fps:5", "x@y.mp4"])
def test_a_path_that_exists_as_written_wins(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()

    assert parts(name) == (name, {})
    assert parts(f"{name}@start:7") == (name, {"start": "7"})


def test_what_exists_is_looked_up_from_the_given_folder(tmp_path):
    (tmp_path / "a@start:3.mp4").touch()

    assert parts("a@start:3.mp4", cwd=tmp_path) == ("a@start:3.mp4", {})
    assert parts("a@start:3.mp4", cwd=tmp_path.parent) == ("a", {"start": "3.mp4"})


def test_what_is_no_file_has_its_options_after_a_given_place():
    assert parts("push_left@start:3", options_from=0) == ("push_left", {"start": "3"})
    host = "//me@start:80/clip.mp4"
    assert parts(f"{host}@start:3", options_from=14) == (host, {"start": "3"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("b.mp4@begin:3", "@begin: is no option of b.mp4; there are @start:, @fps:, @actions:, @task:"),
        ("b.mp4@strat:3", "Did you mean 'start'"),
        ("b.mp4@start:1@start:2", "given twice"),
        ("b.mp4@start:", "has no value"),
        ("@start:3", "is empty"),
        ("", "is empty"),
    ],
)
def test_a_wrong_option_is_explained(text, words):
    with pytest.raises(ObservationError, match=words) as error:
        split_address(text, KEYS)
    one_line(error)


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "1e3", "9" * 20, "٣٤", "0x1"])
def test_a_frame_index_is_a_whole_number(value):
    with pytest.raises(ObservationError, match=r"not a whole number >= 0\. Type @start:5"):
        split_address(f"b.mp4@start:{value}", KEYS).integer("start", 0)


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "1e9", "fast", "1e999"])
def test_a_rate_is_a_number_above_zero(value):
    with pytest.raises(ObservationError, match="is not a number > 0"):
        split_address(f"b.mp4@fps:{value}", KEYS).positive("fps")


def test_a_path_too_long_for_the_system_is_just_not_there():
    assert parts("x" * 10_000)[0] == "x" * 10_000


def test_paths_become_absolute_and_the_rest_stays():
    address = split_address("./b.mp4@actions:c.json@start:3@task:go up/down", KEYS)

    assert str(address.absolute(Path("/q"), ["actions"])) == "/q/b.mp4@actions:/q/c.json@start:3@task:go up/down"
    assert str(split_address("~/b.mp4", KEYS).absolute(Path("/q"))) == str(Path.home() / "b.mp4")


def test_two_dots_after_a_link_lead_where_the_shell_goes(tmp_path):
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "far").symlink_to(tmp_path / "there" / "deep")
    (tmp_path / "x.png").write_text("of the folder that holds the link")
    (tmp_path / "there" / "x.png").write_text("what the shell reads")

    found = split_address("far/../x.png", KEYS).absolute(tmp_path)

    assert Path(found.path).read_text() == "what the shell reads"
    for text in ("nowhere/../x.png", "x.png/../x.png", "~nobody_of_that_name/x.png"):
        assert not Path(split_address(text, KEYS).absolute(tmp_path).path).exists()
    assert split_address("far/x.png", KEYS).absolute(tmp_path).path == str(tmp_path / "far" / "x.png")


LETTERS = st.text(st.sampled_from("ab@:/.~ 3\0\n\u00fc%${}=,'") | st.characters(), max_size=12)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(LETTERS, st.lists(st.tuples(st.sampled_from([*KEYS, "Start", ""]), LETTERS), max_size=3))
def test_any_text_is_an_address_or_one_line(path, options):
    text = path + "".join(f"@{key}:{value}" for key, value in options)

    def use():
        address = split_address(text, KEYS)
        address.integer("start", 0), address.positive("fps")
        return str(address), address.absolute(Path("/q"), ["actions"])

    found, refusal = attempt(use, ObservationError)

    if refusal is None:
        shown, moved = found
        assert shown == text
        assert moved.path.startswith("/")
    else:
        assert refusal
