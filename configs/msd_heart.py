"""M2SNet in 3D on the left atrium, task 2 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task02_Heart/{imagesTr,labelsTr,dataset.json} as downloaded: MR.
Train: python train.py configs/msd_heart.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task02_Heart",
    savepath="saved_model/msd_heart",
    mapspath="maps/msd_heart",
    classes=2,
    label_values=(0, 1),
    class_names=("background", "left_atrium"),
    batch=2,
    epoch=500,
    cache="cache/msd_heart",
)
