"""Fetal planes: classes of ultrasound images."""
