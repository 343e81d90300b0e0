"""MSNet on image polyps [MICCAI 2021, arXiv 2108.05082].

Data: the 1450 + 798 image split of PraNet (900 Kvasir + 550 CVC-ClinicDB to train, five test sets).
Train: python train.py configs/polyp_msnet.py
Published mDice / mIoU: Kvasir .907/.862, ClinicDB .921/.879, ColonDB .755/.678, ETIS .719/.664, CVC-300 .869/.807.
"""

from configs import Config

config = Config(network="msnet", savepath="saved_model/msnet", mapspath="maps/msnet")
