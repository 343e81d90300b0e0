"""M2SNet on skin lesions, ISIC 2018 task 1: on the to-do list of the original, so its polyp settings.

Data: into data/ISIC2018/train: ISIC2018_Task1-2_Training_Input and ISIC2018_Task1_Training_GroundTruth; into
data/ISIC2018/test: ISIC2018_Task1-2_Test_Input and ISIC2018_Task1_Test_GroundTruth, as downloaded.
Train: python train.py configs/skin_isic2018.py
Published scores: none by the authors.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/ISIC2018/train",
    testpath="data/ISIC2018",
    testsets=("test",),
    savepath="saved_model/skin_isic2018",
    mapspath="maps/skin_isic2018",
)
