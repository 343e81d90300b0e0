"""Polyps with a transformer: M2SNet on PVTv2-B2, trained as transformers are.

Paper: PVTv2 (arXiv 2106.13797) under M2SNet (arXiv 2303.10894), trained as Polyp-PVT is (arXiv 2108.06932).
Data: the split of PraNet, as for configs/polyp_m2snet.py.
Weights: `python -m weights pvt_v2_b2 vgg16`, pvt_v2_b2 being timm's (weights/README.md).
Command: python train.py configs/polyp_m2snet_pvt.py
Not trained here yet: what to expect is unknown. Methods of 2021-23 gained 6 to 7 points of mDice on ColonDB and ETIS by
the same change of backbone.
"""

from configs import Config

config = Config(
    savepath="saved_model/m2snet_pvt",
    mapspath="maps/m2snet_pvt",
    network="m2snet",
    backbone="pvt_v2_b2",  # its statistics follow: ImageNet's
    weighted_bce=True,  # as the paper, and as the methods that it stands beside
    optimiser="adamw",  # SGD at 0.05 does not train a transformer
    lr=1e-4,
    decay=1e-4,
    schedule="cosine",
    schedule_by="step",
    warmup=2,
    grad_clip=0.5,
    epoch=60,
    ema=0.999,
    val_fraction=0.1,  # model-best is chosen by images of the training set, never by a test set
    vertical_flip=0.5,
    quarter_turns=0.5,
    zoom=0.25,
    colour=0.2,
)
