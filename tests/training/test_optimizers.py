import pytest
import torch

from lab7.config import get_preset, override
from lab7.pipeline import build_model
from lab7.training.optimizers import Muon, make_optimizer, orthogonal
from lab7.utils.files import UserError


@pytest.fixture
def plan():
    return override(
        get_preset("smoke"), ["network=efficient", "optimizer=muon", "learning_rate=1e-3", "muon_learning_rate=0.02"]
    )


def stepped(model, optimizer, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return [weight.detach().clone() for weight in model.parameters()]


def test_every_weight_is_trained_by_exactly_one_part(plan):
    model = build_model(plan)
    optimizer = make_optimizer(plan.train, model)
    held = [id(w) for group in optimizer.param_groups for w in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))
    before = [weight.detach().clone() for weight in model.parameters()]
    after = stepped(model, optimizer, 1)
    assert all(not torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_muons_update_is_orthogonal(plan):
    model = build_model(plan)
    weight = model.matrices()[0]
    before = weight.detach().clone()
    stepped(model, make_optimizer(override(plan, ["weight_decay=0"]).train, model), 1)
    assert weight.ndim == 4  # a kernel, which Muon flattens
    values = torch.linalg.svdvals((before - weight.detach()).flatten(1) / plan.train.muon_learning_rate)
    assert values.min() > 0.6 and values.max() < 1.3  # five iterations bring them near 1, not onto it


def test_groups_keep_their_share_of_the_rate(plan):
    optimizer = make_optimizer(plan.train, build_model(plan))
    assert [group["share"] for group in optimizer.param_groups] == pytest.approx([20.0, 1.0])
    for name in ("adam", "adamw"):
        plain = make_optimizer(override(plan, [f"optimizer={name}"]).train, build_model(plan))
        assert [group["share"] for group in plain.param_groups] == [1.0]


def test_a_stored_state_goes_on_to_the_same_weights(plan, tmp_path):
    whole = build_model(plan)
    expected = stepped(whole, make_optimizer(plan.train, whole), 2)

    first = build_model(plan)
    optimizer = make_optimizer(plan.train, first)
    stepped(first, optimizer, 1)
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")

    state = torch.load(tmp_path / "state.pt", weights_only=True)
    second = build_model(plan, seed=1)
    second.load_state_dict(state["model"])
    again = make_optimizer(plan.train, second)
    again.load_state_dict(state["optimizer"])
    generator = torch.Generator().manual_seed(0)
    for turn in range(2):
        for weight in second.parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
        if turn:
            again.step()
    got = [weight.detach() for weight in second.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def test_muon_refuses_a_network_without_matrices():
    plan = override(get_preset("smoke"), ["optimizer=muon"])
    with pytest.raises(UserError, match="optimizer=muon needs network=efficient"):
        make_optimizer(plan.train, build_model(plan))


def test_a_quadratic_is_descended(plan):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    optimizer = Muon([model[0].weight], [model[0].bias, *model[1].parameters()], plan.train)
    x = torch.randn(64, 8)
    losses = []
    for _ in range(100):
        loss = (model(x) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
def test_a_matrix_becomes_orthogonal_and_keeps_its_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrix)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.linalg.svdvals(found).sub(1).abs().max() < 0.4
    turned = left.T @ found @ right.T  # diagonal if the singular vectors are the same
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()), atol=1e-3, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_our_muon_takes_the_steps_of_pytorchs(precision, monkeypatch, plan):
    monkeypatch.setattr("lab7.training.optimizers.choose_precision", lambda device: precision)
    generator = torch.Generator().manual_seed(0)
    begin = [torch.randn(shape, generator=generator) for shape in ((24, 90), (90, 24))]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in begin] for _ in range(2))
    plan = override(plan, ["weight_decay=0.1"]).train
    optimizers = Muon(ours, [], plan), torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    for _ in range(4):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            its.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, its, first in zip(ours, theirs, begin, strict=True):
        moved = (its - first).norm()
        assert (mine - its).norm() < 0.02 * moved  # what bf16 rounds away
