"""What every run needs and no paper mentions: checkpoints, precision, the record of a run."""
