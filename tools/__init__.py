"""Command-line tools around the three scripts."""
