"""M2SNet in 3D on the pancreas and its tumours, task 7 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task07_Pancreas/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_pancreas.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task07_Pancreas",
    savepath="saved_model/msd_pancreas",
    mapspath="maps/msd_pancreas",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "pancreas", "tumour"),
    batch=2,
    epoch=500,
    cache="cache/msd_pancreas",
)
