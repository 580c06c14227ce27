"""Probes on small fresh networks, where the right answers are known."""

import pytest
import torch

from lab7.ablation import probes
from lab7.schedule import NoiseSchedule
from lab7.unet import UNet

SCHEDULE = NoiseSchedule("linear", 100)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    condition = (torch.rand(6, 24, generator=generator) > 0.9).float()
    condition[:, 0] = 1
    return torch.randn(6, 3, 32, 32, generator=generator), condition


def net(**options):
    torch.manual_seed(0)
    return UNet(8, 32, 100, **options).eval()


def test_a_network_that_answers_nothing_errs_by_the_noises_variance(batch):
    losses = probes.loss_by_level(lambda x_t, t, c: torch.zeros_like(x_t), SCHEDULE, *batch, [1, 50, 100])
    assert losses == pytest.approx([1, 1, 1], abs=0.03)


def test_errors_of_x_0_are_told_apart_and_noise_that_is_left_is_seen():
    x_0 = torch.zeros(4, 3, 32, 32)
    x_0[:, :, 8:16, 8:16] = 2.0

    def leaky(x_t, t, condition):  # right, but for a tenth of the noise
        a, s = SCHEDULE.sqrt_alpha_bar[t[0]], SCHEDULE.sqrt_one_minus_alpha_bar[t[0]]
        return x_0 + 0.1 * (x_t - a * x_0) / s

    rows = probes.errors_of_x_0(leaky, SCHEDULE, x_0, torch.zeros(4, 24), [10, 90], "x_0")
    assert [row["t"] for row in rows] == [10, 90]
    for row in rows:
        assert row["flat"] == pytest.approx(0.1, abs=0.005) and row["leaked"] == pytest.approx(0.1, abs=0.005)
        assert row["objects"] == pytest.approx(0.1, abs=0.01) and row["flat_itself"] == 0
    blind = probes.errors_of_x_0(lambda x_t, t, c: torch.zeros_like(x_t), SCHEDULE, x_0, None, [50], "x_0")[0]
    assert blind["flat"] == blind["leaked"] == 0 and blind["objects"] > 0.5


@pytest.mark.parametrize("what", probes.HIDDEN)
def test_the_hidden_layer_is_replaced_in_a_copy(batch, what):
    model = net()
    changed = probes.with_hidden(model, what)
    t = torch.full((6,), 50)
    outputs = []
    for one in (model, changed):
        one.up0.register_forward_pre_hook(lambda _module, inputs: outputs.append(inputs[0].detach()))
        one(batch[0], t, batch[1])
    kept, given = outputs
    wanted = {"zeros": kept * 0, "mean": kept.mean(0, keepdim=True).expand_as(kept), "another's": kept.roll(1, 0)}
    torch.testing.assert_close(given, wanted[what])
    with pytest.raises(ValueError, match="must be one of zeros"):
        probes.with_hidden(model, "noise")


def test_batch_statistics_are_those_of_training(batch):
    model = net()
    t = torch.full((6,), 50)
    copied = probes.with_batch_statistics(model).eval()
    drawn = copied(batch[0], t, batch[1])
    torch.testing.assert_close(drawn, model.train()(batch[0], t, batch[1]))
    assert model.down1[0][1].running_mean is not None


def test_there_is_no_drift_at_the_level_that_was_seen(batch):
    model = net()
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the plain average of what it has seen
    model.train()
    eps = torch.randn(batch[0].shape, generator=torch.Generator().manual_seed(0))
    from lab7.diffusion import add_noise

    t = torch.full((6,), 50)
    model(add_noise(SCHEDULE, batch[0], t, eps), t, batch[1])
    seen, clean = probes.norm_drift(model, SCHEDULE, *batch, [50, 1])
    # Each norm stands behind others, which in training normalised by the batch and in drawing by what they kept.
    assert seen["shift"] < 0.02 and seen["spread"] == pytest.approx(1, abs=0.02)
    assert clean["shift"] > 2 * seen["shift"]


@pytest.mark.parametrize("embeddings", ["separate", "shared"])
def test_the_places_gradients_add_up_to_the_embeddings(batch, embeddings):
    from lab7 import diffusion

    model = net(embeddings=embeddings)
    seed = torch.Generator().manual_seed(3)
    found = probes.place_gradients(model, SCHEDULE, *batch, seed)
    assert {place: tuple(g.shape) for place, g in found.items()} == {
        "down1": (6, 8),
        "down2": (6, 8),
        "up1": (6, 16),
        "up2": (6, 8),
    }
    loss = diffusion.loss(model, SCHEDULE, *batch, torch.Generator().manual_seed(3))
    loss.backward()
    for name, bank in model.label_embeddings.items():
        places = [place for place, used in model.embedding_of.items() if used == name]
        total = sum(found[place].sum(dim=0) for place in places)  # the last layer's bias is added to every row
        torch.testing.assert_close(bank[2].bias.grad, total, rtol=1e-3, atol=1e-6)


def test_shared_places_make_the_same_of_a_label():
    shared, separate = (probes.label_embeddings(net(embeddings=kind)) for kind in ("shared", "separate"))
    assert shared["down1"].shape == (24, 8) and torch.equal(shared["down1"], shared["up2"])
    assert probes.alike(shared["down1"], shared["up2"]) == pytest.approx(1)
    assert abs(probes.alike(separate["down1"], separate["up2"])) < 0.9
