"""Triton kernels, imported only if ``dispatch.runs_triton`` is True."""
