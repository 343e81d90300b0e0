"""M2SNet in 3D on the liver and its tumours, task 3 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task03_Liver/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_liver.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task03_Liver",
    savepath="saved_model/msd_liver",
    mapspath="maps/msd_liver",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "liver", "tumour"),
    batch=2,
    epoch=500,
    cache="cache/msd_liver",
)
