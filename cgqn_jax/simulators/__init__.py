"""Simulators: a seed becomes frames and ground truth (paper, section 4)."""
