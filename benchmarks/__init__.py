"""The numbers that the documentation states, measured on this machine: python -m benchmarks."""
