"""Checks of the doctor: packages, the GPU, and this machine."""
