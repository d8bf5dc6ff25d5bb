"""The bookkeeping of workers, on workers that do their jobs at once: which worker gets a job, and which slot a new one."""

import pytest
from strands_diffusers_launchers.messages import Ended, Gone, Job, Started, Sweep
from strands_diffusers_launchers.workers import Workers


class JobRunner:
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
    def __init__(self, slot, runner):
        self.slot, self.runner = slot, runner

    def give(self, job):
        self.job = job

    def end(self):
        self.runner.started.remove(self.slot)


@pytest.fixture
def workers(tmp_path):
    Hand.folder = tmp_path / "job"
    workers = Workers(JobRunner(), 3, Sweep(b"", tmp_path), 1.0)
    yield workers
    workers.close()


def do(workers, *numbers):
    return [ended.status for _, ended in workers.run([Job(n, ()) for n in numbers])]


def test_warm_workers_get_the_next_jobs_and_no_new_one_starts(workers):
    assert do(workers, *range(9)) == ["done"] * 9
    assert do(workers, *range(9, 12)) == ["done"] * 3
    assert workers._backend.started == [0, 1, 2]


def test_a_dead_worker_is_replaced_in_its_own_slot(workers):
    do(workers, 0, 1, 2)
    workers._backend.dies = {1}

    statuses = do(workers, 3, 4, 5)
    workers._backend.dies = set()
    do(workers, 6, 7, 8)

    assert sorted(statuses) == ["done", "done", "failed"]
    assert workers._backend.started == [0, 1, 2, 1]


def test_a_set_of_workers_that_is_made_smaller_goes_on_with_workers_that_are_warm(workers):
    do(workers, 0, 1, 2)
    workers.size = 1

    assert do(workers, 3, 4) == ["done", "done"]
    assert workers._backend.started == [0, 1, 2]
