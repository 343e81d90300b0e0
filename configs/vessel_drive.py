"""M2SNet on retinal vessels, DRIVE: on the to-do list of the original, so its settings at a larger size.

Data: DRIVE/{training,test}/{images,1st_manual,mask} as downloaded; mask/ is the field of view, not the label: loss and
scores count the pixels inside it.
Train: python train.py configs/vessel_drive.py
Published scores: none by the authors.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/DRIVE/training",
    testpath="data/DRIVE",
    testsets=("test",),
    savepath="saved_model/vessel_drive",
    mapspath="maps/vessel_drive",
    field_of_view="mask",
    batch=4,
    size=576,  # thin vessels vanish at 352
    scales=(448, 512, 576),
)
