"""M2SNet in 3D on the zones of the prostate, task 5 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task05_Prostate/{imagesTr,labelsTr,dataset.json} as downloaded: two MR sequences, the last axis of a file.
Train: python train.py configs/msd_prostate.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task05_Prostate",
    savepath="saved_model/msd_prostate",
    mapspath="maps/msd_prostate",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "peripheral", "transition"),
    batch=2,
    epoch=500,
    cache="cache/msd_prostate",
)
