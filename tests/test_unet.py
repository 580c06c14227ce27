import pytest
import torch

from lab7.plots import network_parts
from lab7.unet import OPTIONS, PLACES, UNet
from lab7.utils.files import UserError


def inputs(size=32, count=2):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(count, 3, size, size, generator=generator)
    return x_t, torch.tensor([3, 900][:count]), torch.eye(24)[:count]


def test_shapes_of_the_report_at_256_features():
    with torch.device("meta"):
        model = UNet(256)
    called = network_parts.calls(model, 32)
    assert {name: called[name].output for name in network_parts.BLOCKS} == {
        "init_conv": (32, 256, 64, 64),
        "down1": (32, 256, 32, 32),
        "down2": (32, 512, 16, 16),
        "hidden": (32, 512, 2, 2),
        "up0": (32, 512, 16, 16),
        "up1": (32, 256, 32, 32),
        "up2": (32, 256, 64, 64),
        "out": (32, 3, 64, 64),
    }
    assert model.training


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("embeddings", OPTIONS["embeddings"])
def test_every_option_runs_and_learns_in_every_parameter(place, embeddings):
    model = UNet(8, 32, condition_at=place, embeddings=embeddings)
    x_t, t, condition = inputs()
    out = model(x_t, t, condition)
    assert out.shape == x_t.shape
    out.square().mean().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert silent == []


@pytest.mark.parametrize("norm", OPTIONS["norm"])
@pytest.mark.parametrize("modulation", OPTIONS["modulation"])
def test_every_modulation_and_norm_runs_and_learns(modulation, norm):
    model = UNet(8, 32, modulation=modulation, norm=norm)
    x_t, t, condition = inputs()
    model(x_t, t, condition).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    kinds = {type(layer).__name__ for layer in model.init_conv}
    assert ("GroupNorm" in kinds) == (norm == "group") and ("BatchNorm2d" in kinds) == (norm == "batch")


def test_modulations_are_what_they_say():
    x_t, t, condition = inputs(8)
    x = x_t.repeat(1, 3, 1, 1)[:, :8]
    time = t[:, None] / 1000
    results = {}
    for modulation in OPTIONS["modulation"]:
        torch.manual_seed(0)
        model = UNet(8, 32, modulation=modulation)
        results[modulation] = model.inject("down1", x, condition, time)
        c, e = model.embed("down1", condition, time)
    torch.testing.assert_close(results["product"], c * x + e)
    torch.testing.assert_close(results["one_plus"], (1 + c) * x + e)
    parts = x.view(2, 8, 1, -1)
    normed = (
        (parts - parts.mean(-1, keepdim=True)) / (parts.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    ).view_as(x)
    torch.testing.assert_close(results["adaptive"], (1 + c) * normed + e)


@pytest.mark.parametrize("place", PLACES)
def test_the_condition_matters_exactly_where_it_should(place):
    torch.manual_seed(0)
    model = UNet(8, 32, condition_at=place).eval()
    x_t, t, condition = inputs()
    changed = (model(x_t, t, condition) - model(x_t, t, condition.roll(1, 0))).abs().max() > 1e-6
    assert changed == (place != "none")
    assert (model(x_t, t, condition) - model(x_t, t.roll(1), condition)).abs().max() > 1e-6


def test_condition_enters_before_the_named_blocks_only():
    x_t, t, condition = inputs()
    for place, blocks in PLACES.items():
        if place in ("none", "hidden"):
            continue
        model = UNet(8, 32, condition_at=place).eval()
        seen = {}
        for name in ("down1", "down2", "up1", "up2"):
            getattr(model, name).register_forward_pre_hook(
                lambda _m, args, name=name, seen=seen: seen.setdefault(name, []).append(args[0])
            )
        model(x_t, t, condition)
        model(x_t, t, condition.roll(1, 0))
        first = next(name for name in ("down1", "down2", "up1", "up2") if not torch.equal(*seen[name]))
        assert first == blocks[0]


def test_shared_embeddings_are_one_object_for_equal_widths():
    separate, shared = UNet(8, 32), UNet(8, 32, embeddings="shared")
    assert len(separate.label_embeddings) == len(separate.time_embeddings) == 4
    assert shared.embedding_of["down1"] == shared.embedding_of["down2"] == shared.embedding_of["up2"]
    assert shared.embedding_of["up1"] != shared.embedding_of["up2"]
    assert len(shared.label_embeddings) == len(shared.time_embeddings) == 2


def test_equation_one_is_product_plus_time():
    model = UNet(8, 32)
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    condition, time = torch.eye(24)[:2], torch.tensor([[0.1], [0.7]])
    c = model.label_embeddings["up1"](condition)
    e = model.time_embeddings["up1"](time)
    expected = c[:, :, None, None] * x + e[:, :, None, None]
    torch.testing.assert_close(model.inject("up1", x, condition, time), expected)


def test_initialisation_by_hand_differs_from_the_default_and_keeps_the_signals_size():
    torch.manual_seed(0)
    by_hand = UNet(64, 32, init="report")
    weight = by_hand.down1[0][0].weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert all(not p.any() for name, p in by_hand.named_parameters() if name.endswith("down1.0.0.bias"))
    torch.manual_seed(0)
    assert not torch.equal(UNet(64, 32, init="default").down1[0][0].weight, weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 48}, "image_size must divide by 32"),
        ({"n_feature": 12}, "n_feature must divide by 8"),
        ({"condition_at": "left"}, "condition_at must be one of up, down, up_down, hidden, none"),
        ({"embeddings": "half"}, "embeddings must be one of separate, shared"),
        ({"init": "zero"}, "init must be one of report, default"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        UNet(**{"n_feature": 8} | options)


def test_any_size_that_divides_by_32():
    for size in (32, 64):
        assert UNet(8, size)(*inputs(size, 1)).shape == (1, 3, size, size)
