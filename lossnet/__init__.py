"""Losses: structure loss and the training-free LossNet of MSNet, others beside them, and how they add up."""

from lossnet.criterion import Criterion, msnet_terms, of_maps
from lossnet.structure import one_vs_rest, structure_loss
from lossnet.terms import TERMS, dice_loss
from lossnet.vgg import LossNet

__all__ = ["TERMS", "Criterion", "LossNet", "dice_loss", "msnet_terms", "of_maps", "one_vs_rest", "structure_loss"]
