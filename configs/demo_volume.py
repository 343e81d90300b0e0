"""A network learns to find made-up organs and nodes in volumes, on a CPU.

Command: python train.py configs/demo_volume.py
It makes the data, plans, trains from random weights, predicts and scores the volumes of fold 1, and draws them.
Measured (2026-11-26): mean Dice .847 (organ .895, node .799) of the six held-out volumes in 2 minutes 42 seconds, all
of it together, on two cores that another training used too; on one thread .824 in 2:52 (2026-11-27), for adding up in
another order ends elsewhere. 60 epochs reached .877 in 3 minutes 19.
"""

from configs import Config
from configs.volumes import RECIPE

SMALL = {
    "network": "msnet",
    "widths": (8, 16, 16, 32, 32),
    "width": 16,
    "strides": ("2", "1", "2", "2", "1"),
    "optimiser": "adamw",
    "lr": 3e-3,
    "momen": 0.9,
    "decay": 1e-4,
    "rotate": 0.0,
    "zoom": 0.0,
    "test_flip": False,
}

config = Config(
    **(RECIPE | SMALL),
    datapath="data/demo_volume",
    savepath="saved_model/demo_volume",
    mapspath="maps/demo_volume",
    classes=3,
    label_values=(0, 1, 2),
    class_names=("background", "organ", "node"),
    batch=4,
    epoch=45,
    workers=2,
    before=("-m tools.demo_volumes data/demo_volume",),
    after=(
        "prediction_rgb.py configs/demo_volume.py --snapshot {savepath}/fold-1/model-{epoch}",
        "test_score.py --gt data/demo_volume/labelsTr --pred msnet={mapspath}/fold-1 --protocol volume "
        "--classes 3 --label_values 0,1,2 --class_names background,organ,node",
        "-m tools.panels --images data/demo_volume/imagesTr --masks data/demo_volume/labelsTr "
        "--maps map={mapspath}/fold-1 --label_values 0,1,2 --out {mapspath}/panel.png",
    ),
)
