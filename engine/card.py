"""The card of a run: what its checkpoints are, for whoever is handed them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from files import write_file

# what a reader asks for first; config.json has every field
SHOWN = (
    *("network", "backbone", "backbone_weights", "start", "size", "classes", "label_values", "class_names"),
    *("epoch", "batch", "lr", "optimiser", "schedule", "lossnet_factor", "weighted_bce", "seed", "spacing", "inputs"),
)


def write_card(folder: Path, checkpoint: str, score: str) -> None:
    """model_card.md beside the checkpoints: data, settings, validation score, licences, versions, how to load them.

    What it says is from config.json and split.json there. score: such as "M_dice 0.91"; "" without a validation.
    """
    record, split = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "split.json"))
    named = {"train": "train on", "validation": "choose by", "test": "test on"}
    parts = {words: len(split.get(name, ())) for name, words in named.items()}
    write_file(folder / "model_card.md", "\n".join(_lines(folder, record, parts, checkpoint, score)) + "\n")


def _lines(folder: Path, record: Mapping[str, Any], parts: Mapping[str, int], checkpoint: str, score: str) -> list[str]:
    cfg = record["config"]
    settings = [f"| {name} | {_cell(cfg[name])} |" for name in SHOWN if cfg.get(name)]
    images = ", ".join(f"{count} to {what}" for what, count in parts.items() if count)
    versions = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    held_out = f"Validation, on images held out of the training set: **{score}**, of `model-best`." if score else ""
    volumes = len(cfg["size"]) == 3 if isinstance(cfg["size"], (list, tuple)) else False
    load = [
        "```python",
        "from engine.inference import load",
        "",
        f'predictor = load("{folder.as_posix()}/{checkpoint}")  # config.json beside it says the rest',
        "map = predictor(image)  # (H, W, 3) uint8 RGB -> [0, 1]",
        "```",
    ]
    return [
        f"# {cfg['network']} on {cfg['backbone']}, trained on {_cell(cfg['datapath'])}",
        "",
        f"Data: {_cell(cfg['datapath'])}, images: {images}; `split.json` names each.",
        held_out or "Not validated: nothing here says how good it is.",
        f"Scores on a test set: `python prediction_rgb.py {folder.as_posix()}`, then `python test_score.py "
        f"{folder.as_posix()}`. It is no medical device.",
        "",
        "| setting | |",
        "|---|---|",
        *settings,
        "",
        f"Python {record['python']}, {versions}; code {record['git']}; {record['device']}; begun {record['date']}.",
        "`config.json` has every setting, `packages.txt` every version, `log.csv` every loss.",
        "",
        *(["Of volumes: `python prediction_rgb.py --snapshot FILE --images DIR --out DIR`."] if volumes else load),
        "",
        "**Licence.** The code is MIT. Weights that began from ImageNet's, or another checkpoint, carry its terms "
        "(Res2Net's forbid commercial use), and those of the data: name them here before you hand this on.",
    ]


def _cell(value: Any) -> str:
    """A value in a table of Markdown."""
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|")
