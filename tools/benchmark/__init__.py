"""Measurements: every part beside a plain reference, in one run."""
