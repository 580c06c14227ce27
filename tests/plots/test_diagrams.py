"""The network read from the live module, and drawn: shapes, costs, and who sees the label."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lab7.dataset.conditions import conditions_tensor
from lab7.plots import diagrams, network_parts
from lab7.unet import PLACES, UNet


@pytest.fixture(scope="module")
def small() -> UNet:
    return UNet(n_feature=8, image_size=32).eval()


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.axes[0].texts)


def test_calls_give_the_shapes_of_the_stages_and_leave_the_network_alone(small):
    before = {name: value.clone() for name, value in small.state_dict().items()}
    called = network_parts.calls(small, 3)
    assert called["up1"].inputs == ((3, 16, 8, 8), (3, 16, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in small.state_dict().items())
    assert not any(module._forward_hooks for module in small.modules())


def test_costs_add_up_to_those_of_the_network(small):
    costs = network_parts.costs(small).values()
    assert sum(parameters for parameters, _ in costs) == sum(p.numel() for p in small.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(torch.zeros(1, 3, 32, 32), torch.ones(1, dtype=torch.int64), torch.zeros(1, 24))
    assert sum(flops for _, flops in costs) == counter.get_total_flops()


def test_blocks_that_see_the_label_are_those_after_the_first_place():
    x_t = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    t, one, other = (
        torch.tensor([5, 9]),
        conditions_tensor([["red cube"]] * 2),
        conditions_tensor([["cyan sphere"]] * 2),
    )
    for place in PLACES:
        model = UNet(n_feature=8, image_size=32, condition_at=place).train()
        seen = network_parts.blocks_that_see_the_label(model, x_t, t, one, other)
        first = {"up": "up1", "hidden": "up0", "none": None}.get(place, "down1")
        assert seen == ([] if first is None else list(network_parts.BLOCKS[network_parts.BLOCKS.index(first) :]))
        assert model.training and not any(module._forward_pre_hooks for module in model.modules())


def test_signal_sizes_leave_the_running_averages_alone(small):
    small.train()
    before = small.init_conv[1].running_mean.clone()
    sizes = network_parts.signal_sizes(small, torch.randn(4, 3, 32, 32), torch.tensor([1, 2, 3, 4]), torch.zeros(4, 24))
    small.eval()
    assert tuple(sizes) == network_parts.BLOCKS and all(value > 0 for pair in sizes.values() for value in pair)
    assert torch.equal(small.init_conv[1].running_mean, before)


@pytest.mark.parametrize("features, size", [(8, 32), (48, 32), (256, 64)])
def test_the_whole_is_drawn_with_the_live_shapes(features, size):
    with torch.device("meta"):
        model = UNet(n_feature=features, image_size=size)
    shown = texts(diagrams.unet_figure(model, 7))
    for name, call in network_parts.calls(model, 7).items():
        assert name not in network_parts.BLOCKS or (name in shown and str(call.output) in shown)


def test_a_block_is_drawn_layer_by_layer(small):
    shown = texts(diagrams.block_figure(small, "up1", batch_size=2))
    assert shown.count("BatchNorm2d") == 4 and "ConvTranspose2d" in shown and "32 → 8" in shown
    both = texts(diagrams.block_figure(small, "hidden", "up0", batch_size=2))
    assert "AvgPool2d" in both and "16 → 16" in both


def test_the_condition_is_drawn_where_it_enters(small):
    shown = texts(diagrams.embedding_figure(small, "up1", 5))
    assert "24 → 16" in shown and "1 → 16" in shown and "(5, 16, 8, 8)" in shown
    bare = UNet(n_feature=8, image_size=32, condition_at="none")
    assert "c·x + t" not in texts(diagrams.unet_figure(bare, 1))
