"""M2SNet on COVID-19 lung infection in CT slices, whole volumes held out: five folds over both halves of the data.

Data: as for configs/covid.py; training and test slices are pooled and dealt anew, no volume in two folds. The volume is
a name without its last number, volume_012 of volume_012_034; `python -m tools.check_data data/COVID-19 --group REGEX`
says how many there are: if that is not the number of CT volumes you have, give --group what their names need.
Train: for k in 1 2 3 4 5; do python train.py configs/covid_by_volume.py --fold $k; done
Score: python test_score.py configs/covid_by_volume.py, after predicting each fold; the split is in fold-k/split.json.
Published scores: none on such a split; expect them to be lower than those of configs/covid.py.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/COVID-19",
    include="(Doctor-label|LungInfection-Test)/",  # and not the pseudo labels that lie beside them
    folds=5,
    group=r"([^/]+?)[-_ ]*\d+$",
    savepath="saved_model/covid_by_volume",
    mapspath="maps/covid_by_volume",
    epoch=200,
    protocol="infnet",
)
