"""M2SNet on cell nuclei, Data Science Bowl 2018: on the to-do list of the original, so its polyp settings.

Data: stage1_train/<id>/{images,masks} as downloaded; the masks of an image, one per nucleus, are merged. No split is
published: five folds by seed.
Train: python train.py configs/nuclei_dsb2018.py --fold 1
Published scores: none by the authors.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/stage1_train",
    group=".+",  # each image is a folder of its own
    folds=5,
    savepath="saved_model/nuclei_dsb2018",
    mapspath="maps/nuclei_dsb2018",
)
