"""Abdominal CT: boxes of organs."""
