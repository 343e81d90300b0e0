"""M2SNet on polyps in video [arXiv 2303.10894].

Data: as PNS-Net distributes it, VPS-TrainSet/<set>/Train/<clip>/{Frame,GT} and
VPS-TestSet/<set>/{Frame,GT}/<clip>; CVC-300 and CVC-612, 60 % of the clips of each, mixed for training.
Train: python train.py configs/video_polyp.py
Maps keep their clips: maps/video_polyp/<set>/<clip>/*.png.
Published mDice / mIoU on CVC-300-TV: MSNet .837/.755, M2SNet .876/.805.
"""

from configs import Config

config = Config(
    network="m2snet",
    datapath="data/VPS-TrainSet",
    include="^CVC-",
    testpath="data/VPS-TestSet",
    testsets=("CVC-ColonDB-300", "CVC-ClinicDB-612-Valid", "CVC-ClinicDB-612-Test"),
    savepath="saved_model/video_polyp",
    mapspath="maps/video_polyp",
    by_group=True,  # scores of each clip too
)
