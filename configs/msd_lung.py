"""M2SNet in 3D on lung tumours, task 6 of the Medical Segmentation Decathlon.

Paper: The Medical Segmentation Decathlon (Nature Communications 2022, arXiv 2106.05735).
Data: Task06_Lung/{imagesTr,labelsTr,dataset.json} as downloaded: CT.
Train: python train.py configs/msd_lung.py --fold 1
Not trained here yet: what to expect is unknown.
"""

from configs import Config
from configs.volumes import RECIPE

config = Config(
    **RECIPE,
    datapath="data/Task06_Lung",
    savepath="saved_model/msd_lung",
    mapspath="maps/msd_lung",
    classes=2,
    label_values=(0, 1),
    class_names=("background", "tumour"),
    batch=2,
    epoch=500,
    cache="cache/msd_lung",
)
