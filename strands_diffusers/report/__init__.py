"""The page of a run or a sweep: one `index.html` beside the jobs, which needs no server and no network."""

from strands_diffusers.report.page import write_report

__all__ = ["write_report"]
