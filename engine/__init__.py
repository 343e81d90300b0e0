"""What every run needs and no paper mentions: loading, optimisers, precision, checkpoints, validation, records."""
