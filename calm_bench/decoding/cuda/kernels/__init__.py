"""Triton kernels for one row: a layer, what happens at an exit, and the measures."""
