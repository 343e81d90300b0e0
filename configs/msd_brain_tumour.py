"""M2SNet in 3D on gliomas, task 1 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task01_BrainTumour/{imagesTr,labelsTr,dataset.json} as downloaded: four MR sequences, the last axis of a file.
Train: python train.py configs/msd_brain_tumour.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task01_BrainTumour",
    savepath="saved_model/msd_brain_tumour",
    mapspath="maps/msd_brain_tumour",
    classes=4,
    label_values=(0, 1, 2, 3),
    class_names=("background", "edema", "non_enhancing", "enhancing"),
    batch=2,
    epoch=500,
    cache="cache/msd_brain_tumour",
)
