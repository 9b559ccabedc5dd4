"""Models that benchmarks train: real layers at sizes that two cores can run, as chains of blocks that any contender can cut."""
