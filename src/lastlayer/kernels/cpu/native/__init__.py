"""What Numba compiles: kernels over raw memory, and the functions that they are made of.

Only imported when a kernel has to be compiled. Nothing here is called by Python.
"""
