"""The figures of Headway, measured: `python -m benchmarks`."""
