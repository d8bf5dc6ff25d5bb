"""The embodiment table: what is read from diffusers, what is ours, and that neither torch nor diffusers is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from strands_diffusers import domains
from strands_diffusers.actions import builtin_statistics, load_statistics
from strands_diffusers.errors import DomainError, MissingPackageError

SHORT = {
    "pusht": "pusht",
    "bridge": "bridge_orig_lerobot",
    "droid": "droid_lerobot",
    "av": "av",
    "umi": "umi",
    "fractal": "fractal",
    "camera_pose": "camera_pose",
    "hand_pose": "hand_pose",
    "galbot": "galbot",
    "agibot": "agibotworld",
    "agibot_gear_gripper": "agibot_gear_gripper",
    "agibot_gear_gripper_ext": "agibot_gear_gripper_ext",
    "robomind_franka": "robomind-franka",
    "robomind_franka_dual": "robomind-franka-dual",
    "robomind_ur": "robomind-ur",
    "libero": "libero",
    "no_action": "no_action",
}


@pytest.fixture
def written(tmp_path: Path):
    """Write a pipeline file with the two tables, as a future diffusers might have them."""

    def write(ids: str, widths: str) -> Path:
        path = tmp_path / "pipeline.py"
        path.write_text(f"import torch\n_EMBODIMENT_TO_DOMAIN_ID = {ids}\n_EMBODIMENT_TO_RAW_ACTION_DIM = {widths}\n")
        return path

    return write


@pytest.mark.parametrize(("short", "name"), SHORT.items())
def test_a_domain_is_found_by_either_of_its_names(short: str, name: str) -> None:
    assert domains.get(short) is domains.get(name)
    assert (domains.get(short).short, domains.short_name(name), domains.get(name).name) == (short, short, name)


def test_every_domain_of_diffusers_is_listed_in_the_order_of_ids() -> None:
    listed = domains.all_domains()

    assert {domain.name for domain in listed} >= set(SHORT.values())
    assert [domain.id for domain in listed] == sorted(domain.id for domain in listed)
    assert len({domain.short for domain in listed}) == len(listed)


@pytest.mark.slow
@pytest.mark.contract
def test_ids_and_widths_are_those_that_diffusers_uses() -> None:
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as pipeline

    listed = domains.all_domains()

    assert {domain.name: domain.id for domain in listed} == pipeline._EMBODIMENT_TO_DOMAIN_ID
    widths = {domain.name: domain.width for domain in listed if domain.width is not None}
    assert widths == pipeline._EMBODIMENT_TO_RAW_ACTION_DIM
    views = {domain.view_point for domain in listed if domain.view_point}
    assert views <= set(pipeline._ACTION_VIEWPOINT_TEMPLATES)


@pytest.mark.parametrize("domain", domains.all_domains(), ids=lambda domain: domain.short)
def test_columns_are_as_many_as_the_width_and_each_has_a_name_of_its_own(domain: domains.Domain) -> None:
    assert len(domain.columns) == (domain.width or 0)
    assert len({column.name for column in domain.columns}) == len(domain.columns)
    for pose in domain.poses:
        kinds = [column.kind for column in domain.columns[pose.start : pose.start + 9]]
        assert kinds == ["translation"] * 3 + ["rot6d"] * 6
        assert {column.group for column in domain.columns[pose.start : pose.start + 9]} == {pose.name}
    in_poses = {index for pose in domain.poses for index in range(pose.start, pose.start + 9)}
    assert in_poses == {i for i, c in enumerate(domain.columns) if c.kind in ("translation", "rot6d")}


def test_the_layouts_of_the_domains_with_several_bodies() -> None:
    poses = {short: [(p.name, p.start) for p in domains.get(short).poses] for short in SHORT}

    assert poses["hand_pose"] == [("camera", 0), ("right_wrist", 9), ("left_wrist", 33)]
    assert poses["agibot"] == [("head", 0), ("right_arm", 9), ("left_arm", 19)]
    assert poses["robomind_franka_dual"] == [("left_arm", 0), ("right_arm", 10)]
    assert poses["bridge"] == [("arm", 0)]
    assert poses["galbot"] == poses["pusht"] == poses["libero"] == []


def test_a_layout_that_nobody_published_stays_generic() -> None:
    galbot = domains.get("galbot")

    assert [galbot.columns[0].name, galbot.columns[29].name] == ["action_0", "action_29"]
    assert {column.kind for column in galbot.columns} == {"unknown"}
    assert (galbot.view_point, galbot.statistics) == (None, None)


def test_a_domain_without_a_width_has_no_columns_and_no_rate() -> None:
    for short in ("libero", "no_action"):
        domain = domains.get(short)
        assert (domain.width, domain.columns, domain.fps, domain.chunk_size) == (None, (), None, None)


def test_umi_measures_its_gripper_in_metres_and_pusht_its_target_in_pixels() -> None:
    assert domains.get("umi").columns[9].unit == "m"
    assert domains.get("bridge").columns[9].unit == ""
    assert [column.unit for column in domains.get("pusht").columns] == ["px", "px"]


def test_a_typo_is_answered_with_the_nearest_name_and_the_list() -> None:
    with pytest.raises(DomainError, match=r"no domain 'brigde'\. Did you mean 'bridge'\? Domains: no_action, av,"):
        domains.get("brigde")


@pytest.mark.parametrize("domain", [d for d in domains.all_domains() if d.statistics], ids=lambda domain: domain.short)
def test_the_statistics_that_a_domain_names_serve_it(domain: domains.Domain) -> None:
    assert domain.statistics in builtin_statistics()
    assert load_statistics(domain.statistics, domain.name).q01.shape == (domain.width,)


def test_every_built_in_statistics_file_is_used() -> None:
    assert {domain.statistics for domain in domains.all_domains()} - {None} == set(builtin_statistics())


def test_a_domain_of_a_newer_diffusers_appears_with_generic_columns(written) -> None:
    path = written("{'new-arm': 21, 'av': 1}", "{'new-arm': 3, 'av': 9}")

    av, new = domains.read_domains(path)

    assert (av.short, new.short, new.name, new.id, new.width) == ("av", "new_arm", "new-arm", 21, 3)
    assert [column.name for column in new.columns] == ["action_0", "action_1", "action_2"]
    assert (new.poses, new.statistics, new.fps) == ((), None, None)


def test_a_width_that_diffusers_changed_takes_the_layout_and_the_statistics_away(written) -> None:
    [umi] = domains.read_domains(written("{'umi': 6}", "{'umi': 20}"))

    assert (umi.width, len(umi.columns), umi.columns[0].name) == (20, 20, "action_0")
    assert (umi.poses, umi.statistics) == ((), None)


def test_a_diffusers_without_the_tables_is_named_with_the_pip_line(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.py"
    path.write_text("_EMBODIMENT_TO_DOMAIN_ID = {'av': 1}\n")

    with pytest.raises(MissingPackageError, match=r"no _EMBODIMENT_TO_RAW_ACTION_DIM.*pip install 'diffusers"):
        domains.read_domains(path)


def test_listing_the_domains_imports_neither_torch_nor_diffusers_nor_numpy() -> None:
    code = (
        "import sys; from strands_diffusers import domains; domains.all_domains();"
        "print({'torch', 'diffusers', 'numpy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == ("set()", "")
