"""The table of costs: what is in it is what the network costs."""

import pytest
import torch

import net
from tools import complexity
from tools.complexity import Cost


def test_a_row_is_what_the_network_has_and_does():
    cost = complexity.measured("msnet", "tiny", 2, (64, 96))
    network = net.build("msnet", "tiny", 2)
    assert cost.parameters == sum(p.numel() for p in network.parameters())
    seen = []
    for conv in [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]:
        conv.register_forward_hook(lambda m, x, y: seen.append(y[0].numel() * m.weight[0].numel()))
    network.eval()(torch.zeros(1, 3, 64, 96))
    assert cost.multiply_adds == sum(seen)
    assert cost.speed > 0 and cost.peak > 0


def test_the_table_has_a_line_per_network_plain_or_for_a_readme():
    costs = [Cost("a", 29_740_000, 16_840_000_000, 5.5, 700), Cost("longer", 1_000_000, 10**9, 12.25, 80)]
    plain, readme = complexity.table(costs), complexity.table(costs, markdown=True)
    assert [line.split() for line in plain[1:]] == [
        ["a", "29.74", "16.84", "5.50", "700"],
        ["longer", "1.00", "1.00", "12.25", "80"],
    ]
    assert len({*map(len, readme)}) == 1 and readme[1].replace("-", "") == "|  | : | : | : | : |"
    assert [cell.strip() for cell in readme[2].split("|")[1:-1]] == plain[1].split()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("tiny,", "backbone is ''; expected a name, such as res2net50 or pvt_v2_b2"),
        ("tiny,x", "unknown backbone 'x'; expected res2net50, volume or a network of timm's"),
        ("tiny,restnet50", "unknown backbone 'restnet50'; .*did you mean 'resnet50'"),
    ],
)
def test_every_name_is_checked_before_the_first_is_measured(names, said, monkeypatch):
    monkeypatch.setattr(complexity, "get_context", lambda _: pytest.fail("it measures"))
    with pytest.raises(ValueError, match=f"^{said}[^,]*(, '[^,]*)*$"):
        complexity.main(["--backbone", names])


def test_a_size_that_the_backbone_does_not_take_is_refused():
    with pytest.raises(ValueError, match="at least 64"):
        complexity.measured("msnet", "tiny", 1, (32, 96))
