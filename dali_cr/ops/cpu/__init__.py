"""Compiled loops on the CPU that several operations share, or that are too long for the module of one."""
