"""M2SNet on COVID-19 lung infection in CT slices [arXiv 2303.10894].

Data: folders as Inf-Net has them, TrainingSet/LungInfection-Train/Doctor-label/{Imgs,GT} and
TestingSet/LungInfection-Test/{Imgs,GT}; the papers' split has 894 slices to train and 383 to test.
Of those 383, 356 come from volumes that also have training slices: the published scores measure slices between slices
seen in training, not new patients. configs/covid_by_volume.py is the same task on whole volumes.
Train: python train.py configs/covid.py
Score: python test_score.py configs/covid.py prints DSC (meanDic), sensitivity, specificity, Sm, E and MAE.
Published DSC / Sm / MAE: MSNet .779/.846/.007, M2SNet .795/.855/.006.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/COVID-19/TrainingSet/LungInfection-Train/Doctor-label",
    testpath="data/COVID-19/TestingSet",
    testsets=("LungInfection-Test",),
    savepath="saved_model/covid",
    mapspath="maps/covid",
    epoch=200,
    protocol="infnet",
)
