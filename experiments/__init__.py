"""What a person runs: typed configs and presets, the `tandem` command, Ray jobs, tracking, reports and benchmarks."""
