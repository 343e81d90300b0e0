"""What experiments on volumes share: nnU-Net's recipe [Nature Methods 2021], for `Config(**RECIPE, ...)`.

Spacing, patch, strides and intensities are planned from the data (plan.txt beside the run); each is a field too.
A network of volumes is ours: nothing published is a 3D MSNet or M2SNet. Of the Decathlon (configs/msd_*) the labels of
the test volumes are not public: the five folds of its training sets are trained, predicted and scored.
"""

from typing import Any

RECIPE: dict[str, Any] = {
    # the network
    "size": (0, 0, 0),
    "network": "m2snet",
    "backbone": "volume",
    "backbone_weights": "random",  # there are none to begin from
    # Dice and cross-entropy; LossNet is of images
    "lossnet_factor": 0.0,
    "structure_factor": 0.0,
    "dice_factor": 1.0,
    "cross_entropy_factor": 1.0,
    # SGD, poly
    "lr": 0.01,
    "momen": 0.99,
    "decay": 3e-5,
    "schedule": "poly",
    "schedule_by": "step",
    "grad_clip": 12.0,
    # what a volume may look like as well
    "rotate": 30.0,
    "zoom": 0.4,
    "noise": 0.1,
    "blur": 0.2,
    "colour": 0.25,
    "low_resolution": 0.25,
    "gamma": 0.5,
    # prediction and scores
    "test_flip": True,
    "protocol": "volume",
    "val_protocol": "volume",
    "val_score": "Dice",
    "folds": 5,
}
