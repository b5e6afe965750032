"""How many digits every function gets right, against arithmetic of 256 bits: python -m benchmarks.accuracy."""
