"""MSNet in 3D on the hippocampus without a GPU: a small network, 0.7 million weights, that halves the volume at once.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: as configs/msd_hippocampus.py.
Train: python train.py configs/msd_hippocampus_cpu.py --fold 1
Measured (2026-11-26): fold 1, 128 volumes to train and 32 held out: Dice .877 anterior, .866 posterior, mean .871, NSD
at 1 mm .936 and .941; 33 minutes on two cores that others were using too.
"""

from configs import Config
from configs.volumes import RECIPE

SMALL = {
    "size": (40, 56, 40),  # all of most volumes
    "network": "msnet",
    "widths": (16, 16, 32, 64, 64),
    "width": 16,
    "strides": ("2", "1", "2", "2", "1"),
    "optimiser": "adamw",
    "lr": 3e-3,
    "momen": 0.9,
    "decay": 1e-3,
    "schedule": "cosine",
    "warmup": 2,
    "mirror": (0,),  # the other axes have sides with names: anterior, posterior
    "rotate": 15.0,
    "zoom": 0.2,
    "blur": 0.0,
    "low_resolution": 0.0,
    "gamma": 0.3,
    "test_flip": True,
}

config = Config(
    **(RECIPE | SMALL),
    datapath="data/Task04_Hippocampus",
    savepath="saved_model/msd_hippocampus_cpu",
    mapspath="maps/msd_hippocampus_cpu",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "anterior", "posterior"),
    batch=4,
    epoch=24,
    cache="cache/msd_hippocampus_cpu",
)
