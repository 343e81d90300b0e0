"""M2SNet on breast ultrasound, BUSI, in four folds [arXiv 2303.10894].

Data: Dataset_BUSI_with_GT/{benign,malignant,normal} as downloaded, masks beside their images, several merged; 437
benign and 210 malignant images, no normals. The papers' own four folds are not published: these are dealt by seed, each
with its share of both classes.
Train: for k in 1 2 3 4; do python train.py configs/breast_busi.py --fold $k; done
Predict: python prediction_rgb.py configs/breast_busi.py --fold 1 --snapshot saved_model/breast_busi/fold-1/model-100
Score all folds, mean and std: python test_score.py configs/breast_busi.py
Published Jaccard / specificity / Dice in per cent, mean over folds: MSNet 70.57/98.29/78.18, M2SNet 71.52/98.35/79.21.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/Dataset_BUSI_with_GT",
    include="^(benign|malignant)/",
    stratify="^(benign|malignant)/",
    folds=4,
    savepath="saved_model/breast_busi",
    mapspath="maps/breast_busi",
    epoch=100,
    protocol="binary",  # Jaccard, precision, recall, specificity, Dice at 0.5
    percent=True,
)
