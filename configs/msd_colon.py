"""M2SNet in 3D on colon cancer, task 10 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task10_Colon/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_colon.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task10_Colon",
    savepath="saved_model/msd_colon",
    mapspath="maps/msd_colon",
    classes=2,
    label_values=(0, 1),
    class_names=("background", "cancer"),
    batch=2,
    epoch=500,
    cache="cache/msd_colon",
)
