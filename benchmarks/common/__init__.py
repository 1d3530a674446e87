"""What the benchmarks share: arms, rounds, intervals, resumable results, load, the machine's description."""
