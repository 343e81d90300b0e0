"""What the process imports that is to fork those that score, see `workers.start_server`."""

import gc

gc.disable()

import report.scoring  # noqa: E402, F401

gc.freeze()
gc.enable()
