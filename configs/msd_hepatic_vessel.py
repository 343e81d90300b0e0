"""M2SNet in 3D on the vessels and tumours of the liver, task 8 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task08_HepaticVessel/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_hepatic_vessel.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task08_HepaticVessel",
    savepath="saved_model/msd_hepatic_vessel",
    mapspath="maps/msd_hepatic_vessel",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "vessel", "tumour"),
    batch=2,
    epoch=500,
    cache="cache/msd_hepatic_vessel",
)
