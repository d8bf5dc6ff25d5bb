"""The day a GPU is there: everything that only CUDA can answer, in one command. See README.md."""
