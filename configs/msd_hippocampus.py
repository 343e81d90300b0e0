"""M2SNet in 3D on the hippocampus, task 4 of the Medical Segmentation Decathlon: on the original's to-do list.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task04_Hippocampus/{imagesTr,labelsTr,dataset.json} as downloaded: MR, 1 mm, some 36 x 50 x 35 voxels.
Train: python train.py configs/msd_hippocampus.py --fold 1
Measured (2026-11-27): fold 1, 128 volumes to train and 32 held out: Dice .886 anterior, .875 posterior, mean .881, NSD
at 1 mm .940; four minutes on an H200.
Published: Dice of five folds .889 (SegResNet), .881 (DiNTS), .737 (SwinUNETR), mean of both parts, MONAI Auto3DSeg.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task04_Hippocampus",
    savepath="saved_model/msd_hippocampus",
    mapspath="maps/msd_hippocampus",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "anterior", "posterior"),
    batch=9,
    epoch=300,
    cache="cache/msd_hippocampus",
)
