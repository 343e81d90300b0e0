"""M2SNet in 3D on the spleen, task 9 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task09_Spleen/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_spleen.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task09_Spleen",
    savepath="saved_model/msd_spleen",
    mapspath="maps/msd_spleen",
    classes=2,
    label_values=(0, 1),
    class_names=("background", "spleen"),
    batch=2,
    epoch=500,
    cache="cache/msd_spleen",
)
