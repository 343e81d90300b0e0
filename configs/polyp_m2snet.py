"""M2SNet on image polyps [arXiv 2303.10894].

Data: the 1450 + 798 image split of PraNet (900 Kvasir + 550 CVC-ClinicDB to train, five test sets).
Train: python train.py configs/polyp_m2snet.py
Published mDice / mIoU, as reprinted by others: Kvasir .912/.861, ClinicDB .922/.880, ColonDB .758/.685,
ETIS .749/.678; CVC-300 is disputed, .903/.842 or .869/.807 (docs/results.md).
"""

from configs import Config

config = Config(network="m2snet", savepath="saved_model/m2snet", mapspath="maps/m2snet")
