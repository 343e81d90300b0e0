"""tools.diagram: the front page's picture shows the network that is there."""

import re

import pytest
import torch

import net
from tests.conftest import ROOT
from tools import diagram


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return net.build("msnet")


def test_every_module_of_the_network_is_in_the_picture_once(network):
    names = re.findall(r">(\w+)(?:: [^<]*)?</text>", "\n".join(diagram.drawn(network, "light").splitlines()[2:]))
    modules = [name for name, _ in network.named_children() if name != "resnet"]
    assert [name for name in names if name in modules] == modules
    assert {"x1", "x2", "x3", "x4", "x5"} < set(names)


@pytest.mark.parametrize("theme", diagram.THEMES)
def test_the_front_pages_pictures_are_what_the_tool_draws(network, theme):
    there = (ROOT / "docs" / "pictures" / f"pyramid-{theme}.svg").read_text(encoding="utf-8")
    assert there == diagram.drawn(network, theme), "python -m tools.diagram draws them anew"


def test_a_module_without_a_place_is_refused(network):
    with pytest.raises(ValueError, match="module attention of the network has no place in the picture"):
        diagram._box("attention")
