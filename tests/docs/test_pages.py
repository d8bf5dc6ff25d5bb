"""The pages say what the code says: the manifest's fields, links that lead somewhere, one word per thing."""

import dataclasses
import re
import tomllib

import pytest
import yaml
from doc_blocks import PAGES, ROOT

from strands_diffusers import records

MANIFEST = (ROOT / "docs" / "manifest.md").read_text()
OTHER_WORDS = r"\b(films?|filmed|dreams?|dreamt|imagin\w+|futures?)\b"
"""What the glossary calls a video or a rollout."""


def rows(after):
    """First and second cell of the table that follows a line of the page."""
    table = re.search(r"^\|(?:.|\n(?!\n))*", MANIFEST.split(after, 1)[1], re.MULTILINE)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (\S+?) \|", table, re.MULTILINE))


@pytest.mark.parametrize(
    ("after", "cls", "more"),
    [("## Fields", records.Record, {"schema_version"}), ("An entry of `samples`:", records.SampleRecord, set())],
)
def test_the_page_of_the_manifest_lists_every_field_with_its_kind(after, cls, more):
    kinds = {"str": "str", "int": "int", "float": "float", "Mapping": "object", "Metrics": "object", "Any": "any"}
    kinds |= {"tuple": "list", "Sequence": "list", "ActionSpace": "object"}
    fields = {f.name: kinds[re.match(r"\w+", str(f.type))[0]] for f in dataclasses.fields(cls) if f.name != "directory"}
    listed = {name: kind.partition("[")[0] for name, kind in rows(after).items() if name not in more}

    assert listed == fields
    assert f"The schema version is {records.SCHEMA_VERSION}." in MANIFEST


@pytest.mark.parametrize("page", [p for p in PAGES if p.parent == ROOT], ids=lambda page: page.name)
def test_links_of_the_pages_outside_of_the_site_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s:]+)(#[^)\s]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (page.parent / target).read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings]
            assert anchor[1:] in slugs, f"{target}{anchor}"


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "config.md"], ids=lambda page: page.name)
def test_pages_use_the_words_of_the_glossary(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)

    assert re.findall(OTHER_WORDS, text, re.IGNORECASE) == []


def test_every_page_has_its_place_in_the_navigation():
    read = yaml.safe_load((ROOT / ".mkdocs.yml").read_text())

    def pages(node):
        if isinstance(node, str):
            return [node]
        return [page for child in (node if isinstance(node, list) else node.values()) for page in pages(child)]

    assert sorted(pages(read["nav"])) == sorted(p.name for p in (ROOT / "docs").glob("*.md"))


ROOM = re.compile(r"^\| `(\w+)` \| (.*) \|$", re.MULTILINE)


def test_the_floor_plan_shows_every_room_and_only_modules_that_are_there():
    plan = (ROOT / "docs" / "architecture.md").read_text().split("## Floor plan")[1].split("##")[0]
    package = ROOT / "strands_diffusers"
    rooms = {p.name for p in package.iterdir() if p.is_dir() and p.name[0] not in "_." and p.name != "conf"}

    listed = dict(ROOM.findall(plan))
    assert set(listed) == rooms
    for room, text in listed.items():
        for path in re.findall(r"`([\w/]+(?:\.py|/))`", text):
            assert (package / room / path).exists(), f"{room}/{path}"
    for module in re.findall(r"`(\w+\.py)`", plan.split("Single modules")[1]):
        assert (package / module).exists(), module


def test_every_path_on_the_architecture_page_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text()

    starts = [ROOT, ROOT / "strands_diffusers", *(p for p in (ROOT / "strands_diffusers").iterdir() if p.is_dir())]
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?)`", page):
        assert any((start / path).exists() for start in starts), path


def test_the_import_rules_are_those_that_are_checked():
    page = (ROOT / "docs" / "architecture.md").read_text().split("## Import rules")[1]
    [contract, *_] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

    assert page.split("```text\n")[1].split("\n```")[0].splitlines() == contract["layers"]
