"""The CUDA executor: one text at a time, Triton kernels in captured CUDA graphs."""
