"""The crew's own bookkeeping, on workers that do their jobs at once: which worker gets a job, and which slot a new one."""

import pytest
from strands_diffusers_launchers.crew import Crew
from strands_diffusers_launchers.messages import Ended, Gone, Job, Started, Sweep


class Bench:
    """A backend of this process; workers of the slots in `dies` are gone as soon as they began a job."""

    def __init__(self):
        self.started, self.dies = [], set()

    def start(self, slot):
        self.started.append(slot)
        return Hand(slot, self)

    def wait(self, workers, timeout):
        for worker in workers:
            yield worker, Started(str(worker.folder), 0.0)
            yield worker, Gone("fell over") if worker.slot in self.dies else Ended("done", value=worker.job.number)

    def close(self):
        pass


class Hand:
    def __init__(self, slot, bench):
        self.slot, self.bench = slot, bench

    def give(self, job):
        self.job = job

    def end(self):
        self.bench.started.remove(self.slot)


@pytest.fixture
def crew(tmp_path):
    Hand.folder = tmp_path / "job"
    crew = Crew(Bench(), 3, Sweep(b"", tmp_path), 1.0)
    yield crew
    crew.close()


def do(crew, *numbers):
    return [ended.status for _, ended in crew.run([Job(n, ()) for n in numbers])]


def test_warm_workers_get_the_next_jobs_and_no_new_one_starts(crew):
    assert do(crew, *range(9)) == ["done"] * 9
    assert do(crew, *range(9, 12)) == ["done"] * 3
    assert crew._backend.started == [0, 1, 2]


def test_a_dead_worker_is_replaced_in_its_own_slot(crew):
    do(crew, 0, 1, 2)
    crew._backend.dies = {1}

    statuses = do(crew, 3, 4, 5)
    crew._backend.dies = set()
    do(crew, 6, 7, 8)

    assert sorted(statuses) == ["done", "done", "failed"]
    assert crew._backend.started == [0, 1, 2, 1]


def test_a_crew_that_is_made_smaller_goes_on_with_workers_that_are_warm(crew):
    do(crew, 0, 1, 2)
    crew.size = 1

    assert do(crew, 3, 4) == ["done", "done"]
    assert crew._backend.started == [0, 1, 2]
