"""Built-in sources of observations: files, samples, finished runs."""
