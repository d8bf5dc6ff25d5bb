"""The day's own machinery: what is run, what is kept, what is counted. The parts themselves are run by the dry run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import plan, summary, wheels
from .__main__ import Day
from .parts import nano, profile, tests

Make = Callable[..., Day]
PART = plan.Part("tests", 20, "")


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A day on a card, whose parts are one line of Python each."""

    def make(line: str, minutes: float = 1.0) -> Day:
        command = [sys.executable, "-c", f"import json, pathlib, sys, time; out = pathlib.Path(sys.argv[1]); {line}"]
        monkeypatch.setattr(plan, "child", lambda part, folder, seconds, dry_run: [*command, str(folder)])
        made = Day(tmp_path, time.monotonic() + minutes * 60, dry_run=False)
        made._identify({"device": "A card"})
        return made

    return make


def results(folder: Path) -> dict[str, Any]:
    [run] = plan.read(folder).values()
    return dict(run["parts"])


def test_a_part_that_is_done_for_this_device_and_code_is_not_run_again(
    day: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    day("(out / 'result.json').write_text(json.dumps({'line': 'first'}))").run(PART)
    day("(out / 'result.json').write_text(json.dumps({'line': 'again'}))").run(PART)
    assert results(tmp_path)["tests"]["line"] == "first"
    assert "done before" in capsys.readouterr().out

    other = day("(out / 'result.json').write_text(json.dumps({'line': 'other card'}))")
    other._identify({"device": "Another card"})
    other.run(PART)
    assert [run["parts"]["tests"]["line"] for run in plan.read(tmp_path).values()] == ["first", "other card"]


def test_a_part_that_is_cut_off_keeps_what_it_had_and_goes_on_from_there(day: Make, tmp_path: Path) -> None:
    day("(out / 'result.json').write_text(json.dumps({'tests': {'a': 'PASSED'}})); time.sleep(60)").run(
        plan.Part("tests", 1.5, "")
    )
    assert results(tmp_path)["tests"]["status"] == "cut off"

    day("old = json.loads((out / 'result.json').read_text()); old['tests']['b'] = 'PASSED'; "
        "(out / 'result.json').write_text(json.dumps(old))").run(PART)  # fmt: skip
    found = results(tmp_path)["tests"]
    assert (found["status"], found["tests"]) == ("done", {"a": "PASSED", "b": "PASSED"})


def test_a_part_that_breaks_says_its_last_line_and_the_next_one_runs(day: Make, tmp_path: Path) -> None:
    broken = day("sys.exit('CUDA out of memory')")
    broken.run(PART)
    assert results(tmp_path)["tests"]["line"] == "exit status 1: CUDA out of memory"
    assert "CUDA out of memory" in (tmp_path / "summary.md").read_text()


def test_a_part_whose_packages_are_missing_is_skipped_with_their_names(day: Make, tmp_path: Path) -> None:
    made = day("sys.exit('ran')")
    made.missing = ["diffusers", "wandb"]
    made.run(next(part for part in plan.PARTS if part.name == "nano"))
    assert results(tmp_path)["nano"] == {"status": "skipped", "line": "not installed here: diffusers, wandb"}


def test_no_part_begins_when_the_time_is_spent(day: Make, tmp_path: Path) -> None:
    day("sys.exit('ran')", minutes=0.1).run(PART)
    assert results(tmp_path)["tests"]["line"] == "no time left"


def kernels(*spans: tuple[str, float, float]) -> list[profile.Kernel]:
    return [profile.Kernel(*span) for span in spans]


def test_a_step_is_divided_into_work_and_waiting() -> None:
    step = kernels(
        ("sm90_xmma_gemm_bf16", 100, 400), ("flash_fwd_kernel", 350, 600), ("vectorized_elementwise", 900, 1000)
    )
    found = profile.measure(step, floor_us=450)
    assert (found["step_ms"], found["busy_ms"], found["gaps_ms"]) == pytest.approx((0.9, 0.6, 0.3))
    assert found["share_of_matrix_rate"] == pytest.approx(0.5)
    assert found["kinds_ms"] == pytest.approx({"matrices": 0.3, "attention": 0.25, "elementwise": 0.1})
    assert profile.gaps(step) == [(300, "vectorized_elementwise")]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matrices"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>", "matrices"),
        ("void pytorch_flash::flash_fwd_kernel<...>", "attention"),
        ("triton_poi_fused_add_mul_silu_3", "compiled"),
        ("Memcpy DtoH (Device -> Pageable)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4>", "elementwise"),
        ("aten::addmm", "matrices"),
    ],
)
def test_a_kernel_is_known_by_its_name(name: str, kind: str) -> None:
    assert profile.kind(name) == kind


def turn(case: str, engine: str, seconds: float) -> dict[str, Any]:
    return {"case": case, "frame_size": [480, 832], "engines": {engine: {"repeats": [{"wall_s": seconds}]}}}


def test_aims_stand_beside_what_was_measured() -> None:
    result = {"results": [turn(nano.POLICY, "exact", 1.2), turn(nano.POLICY, "fp8", 1.0)], "eight": {"faster": 3.5}}
    found = {aim["name"]: (aim["measured"], aim["reached"]) for aim in nano.aims(result)}
    assert found[f"{nano.POLICY}, exact"] == (1.2, True)
    assert found[f"{nano.POLICY}, fp8"] == (1.0, False)
    assert found[f"{nano.FORWARD}, exact"] == (None, None)
    assert found[nano.EIGHT] == (3.5, True)


def test_the_summary_says_what_a_part_that_was_not_run_would_show() -> None:
    page = summary.markdown({"A card | 1": {"commit": "abc", "time": "now", "parts": {}}})
    assert all(f"| {part.name} | not run |  | would show: {part.shows} |" in page for part in plan.PARTS)


def test_verdicts_are_read_from_pytest_s_lines() -> None:
    line = "tests/gpu/test_engine_on_cuda.py::test_exact_stays[policy bf16] PASSED   [ 12%]"
    assert tests.VERDICT.match(line)[2] == "PASSED"  # type: ignore[index]
    assert tests._line({"a::one": "PASSED", "a::two": "FAILED"}) == "1 failed, 1 passed: two"


def test_batches_of_wheels_stay_below_their_limit_and_hold_all() -> None:
    sizes = {"a": 30, "b": 20, "c": 5, "d": 9}
    assert wheels.batches(sizes, 34) == [["a"], ["b", "d", "c"]]


def test_what_a_machine_lacks_is_found_through_needs_of_needs() -> None:
    found = wheels.lacking(["hydra-core"], {"packaging", "pyyaml"}, "3.12")
    assert found == ["antlr4-python3-runtime", "hydra-core", "omegaconf"]
    assert wheels.name_of("Antlr4_python3.runtime==4.9.3") == "antlr4-python3-runtime"


def test_results_do_not_change_what_is_measured_and_code_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ROOT", tmp_path)
    module, result = tmp_path / "strands_diffusers/engine.py", tmp_path / "experiments/gpu_day/results/results.json"
    for path in (module, result):
        path.parent.mkdir(parents=True)
    module.write_text("a = 1")
    before = plan.code()
    result.write_text("{}")
    assert plan.code() == before
    module.write_text("a = 2")
    assert plan.code() != before
