"""M2SNet on retinal layers in OCT, GOALS: RNFL, GCIPL, choroid and the background [arXiv 2303.10894].

Data: GOALS/Train/{Image,Layer_Masks} as downloaded, 100 labelled slices of 1100 x 800; the challenge keeps the labels
of its other sets. Which slices the authors held out is not published: these are five folds.
Train: for k in 1 2 3 4 5; do python train.py configs/oct_goals.py --fold $k; done
Predict: python prediction_rgb.py configs/oct_goals.py --fold 1 --snapshot saved_model/oct_goals/fold-1/model-100
Label images in the data set's grey values are in maps/oct_goals/fold-1/label, grey maps in a folder per class.
Score all folds, each layer and their mean: python test_score.py configs/oct_goals.py
The authors squeeze every image into a square; --size 256,352 --scales 256,288,320,352 keeps the ratio of 1100 x 800.
Published scores: none that can be compared, for want of the split.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/GOALS/Train",
    folds=5,
    savepath="saved_model/oct_goals",
    mapspath="maps/oct_goals",
    epoch=100,
    classes=4,
    label_values=(0, 80, 160, 255),
    class_names=("RNFL", "GCIPL", "choroid", "background"),
    background=255,
    protocol="layers",
    val_protocol="layers",  # what validation, if asked for, chooses by; MED, the edge distance in pixels, is the other
    val_score="Dice",
)
