"""Triton kernels, a file each; imported only where ``dispatch.runs_triton`` says that they run."""
