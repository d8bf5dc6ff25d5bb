"""The static page of a run or a sweep."""
