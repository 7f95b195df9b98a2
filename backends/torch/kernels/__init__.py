"""Kernels of our own for CUDA, each with plain torch as its reference and as what runs elsewhere."""
