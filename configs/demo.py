"""A network learns to find made-up lesions, on a CPU: minutes on two idle cores, longer where others compute too.

Command: python train.py configs/demo.py
Every epoch is a line, step:<step>/<epoch>/<epochs>. On a busy machine it takes the cores that are idle (threads=-1).
It makes the data, trains from random weights, predicts and scores the held-out part, and writes a panel.
Measured: M_dice above 0.80 (a small, easy set: the figure says that the path works and nothing else).
"""

from configs import Config

config = Config(
    datapath="data/demo/TrainDataset",
    testpath="data/demo/TestDataset",
    testsets=("held-out",),
    savepath="saved_model/demo",
    mapspath="maps/demo",
    backbone_weights="random",
    lossnet_weights="random",
    lossnet_factor=0.0,  # a random VGG-16 teaches nothing and costs a third of the time
    batch=8,
    epoch=12,
    size=96,
    scales=(64, 80, 96),
    workers=2,
    threads=-1,
    before=("-m tools.demo_data data/demo",),
    after=(
        "prediction_rgb.py configs/demo.py --snapshot {savepath}/model-{epoch} --mapspath {mapspath}",
        "test_score.py configs/demo.py --mapspath {mapspath}",
        "-m tools.panels --images data/demo/TestDataset/held-out/images --masks data/demo/TestDataset/held-out/masks "
        "--maps map={mapspath}/held-out --out {mapspath}/panel.png",
    ),
)
