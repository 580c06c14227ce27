import pytest
import torch
import torch.nn.functional as F

from lab7.config import get_preset
from lab7.efficient_unet import HEAD, Attention, EfficientUNet, _spots, sinusoids
from lab7.pipeline import build_model
from lab7.utils.files import UserError


def small(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"image_size": 32, "widths": (32, 64), "blocks": (1, 1), "embedding": 32}
    return EfficientUNet(**{**sizes, **options})


def woken(model):
    """The model with its zeros filled, so that every part has a say."""
    with torch.no_grad():
        for weight in model.parameters():
            if not weight.any():
                weight.normal_(std=0.05)
    return model


def inputs(size=32, count=2):
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(count, 3, size, size, generator=generator)
    return x_t, torch.tensor([3, 900][:count]), torch.eye(24)[:count]


def test_the_laptop_preset_fits_its_budget():
    model = build_model(get_preset("laptop"))
    parameters = sum(weight.numel() for weight in model.parameters())
    assert 2 * parameters < 16_000_000  # bytes of its float16 file


@pytest.mark.parametrize(
    ("widths", "blocks", "patch", "tokens"),
    [((32,), (1,), 4, True), ((32, 64), (2, 1), 2, False), ((32, 32, 64), (1, 1, 1), 4, True)],
)
def test_every_shape_runs_and_learns_in_every_parameter(widths, blocks, patch, tokens):
    model = woken(small(widths=widths, blocks=blocks, patch=patch, tokens=tokens))
    x_t, t, condition = inputs()
    out = model(x_t, t, condition)
    assert out.shape == x_t.shape
    out.square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_fresh_network_answers_zero():
    assert not small()(*inputs()).any()


@pytest.mark.parametrize(
    ("place", "tokens", "levels"),
    [
        ("up_down", True, {"down0", "down1", "up0", "up1"}),
        ("up", True, {"up0", "up1"}),
        ("down", False, {"down0", "down1"}),
        ("hidden", True, {"down1", "up1"}),
        ("none", True, set()),
    ],
)
def test_the_label_enters_the_named_levels_only(place, tokens, levels):
    model = woken(small(condition_at=place, tokens=tokens)).eval()
    x_t, t, condition = inputs()
    embeddings = {}

    def record(name):
        return lambda _module, given, _out: embeddings.setdefault(name, []).append(given[1].detach())

    for way in ("down", "up"):
        for depth, level in enumerate(getattr(model, way)):
            level.register_forward_hook(record(f"{way}{depth}"))
            has_tokens = len(level.attentions) > 0 and level.attentions[0].token_kv is not None
            assert has_tokens == (tokens and depth == 1 and f"{way}1" in levels)
    first, other = (model(x_t, t, labels) for labels in (condition, condition.roll(1, 0)))
    assert {name for name, (a, b) in embeddings.items() if not torch.equal(a, b)} == levels
    assert torch.equal(first, other) == (place == "none")
    model.train()(x_t, t, condition).square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_shared_modulation_is_one_and_learns():
    model = woken(small(embeddings="shared"))
    assert model.up[0].blocks[0].modulation is model.down[0].blocks[0].modulation
    assert len(list(model.parameters())) < len(list(small().parameters()))


def test_a_product_begins_away_from_zero():
    """With c = 0 and no 1 a block would give nothing back, and nothing would pull c away from 0."""
    model = small(scale_by="product")
    assert all(level.blocks[0].modulation.weight.any() for level in (*model.down, *model.up))
    block = model.down[0].blocks[0]
    with torch.no_grad():
        block.modulation.weight.zero_(), block.modulation.bias.zero_(), block.conv2.weight.normal_()
    x = torch.randn(2, 32, 8, 8)
    torch.testing.assert_close(block(x, torch.randn(2, 32)), x)


def test_each_picture_depends_on_its_own_inputs_alone():
    model = woken(small()).eval()
    x_t, t, condition = inputs()
    both = model(x_t, t, condition)
    for row in range(2):
        alone = model(x_t[row : row + 1], t[row : row + 1], condition[row : row + 1])
        torch.testing.assert_close(alone, both[row : row + 1], rtol=1e-4, atol=1e-5)
    for other in ((x_t.flip(0), t, condition), (x_t, t.flip(0), condition), (x_t, t, condition.flip(0))):
        assert not torch.allclose(model(*other), both, atol=1e-3)


def test_tokens_of_absent_objects_are_not_seen():
    model = woken(small()).eval()
    x_t, t, condition = inputs()
    before = model(x_t, t, condition)
    with torch.no_grad():
        model.tokens[5] += 1.0  # neither picture asks for class 5
    assert torch.equal(model(x_t, t, condition), before)
    with torch.no_grad():
        model.tokens[1] += 1.0  # the second picture does for class 1
    after = model(x_t, t, condition)
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])


def test_an_empty_condition_is_answered():
    assert torch.isfinite(woken(small())(inputs()[0], inputs()[1], torch.zeros(2, 24))).all()


def test_attention_agrees_with_pytorchs_own():
    torch.manual_seed(0)
    attention = woken(Attention(2 * HEAD, 16))
    x, tokens, condition = torch.randn(2, 2 * HEAD, 4, 4), torch.randn(25, 16), torch.eye(24)[:2]
    shown = torch.cat([torch.ones(2, 16), condition, torch.ones(2, 1)], dim=1).bool()[:, None, None]
    places = attention.norm(x).flatten(2).transpose(1, 2)

    def split(y, parts):
        return y.view(len(y), -1, parts, 2, HEAD).permute(2, 0, 3, 1, 4)

    query, key, value = split(attention.qkv(places), 3)
    more_keys, more_values = split(attention.token_kv(tokens).expand(2, -1, -1), 2)
    mixed = F.scaled_dot_product_attention(
        query, torch.cat([key, more_keys], 2), torch.cat([value, more_values], 2), attn_mask=shown
    )
    expected = x + attention.out(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).view_as(x)
    mask = torch.zeros(shown.shape).masked_fill(~shown, -torch.inf)
    torch.testing.assert_close(attention(x, tokens, mask), expected)


def test_sinusoids_agree_with_diffusers():
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0, 1, 17, 500, 1000])
    expected = get_timestep_embedding(t, 128, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoids(t / 1000), expected, rtol=1e-4, atol=1e-4)


def test_inner_matrices_are_those_between_stem_and_head():
    model = small()
    names = {id(weight): name for name, weight in model.named_parameters()}
    chosen = {names[id(weight)] for weight in model.matrices()}
    assert "down.0.blocks.0.conv1.weight" in chosen and "up.1.attentions.0.token_kv.weight" in chosen
    assert not [name for name in chosen if name.split(".")[0] in ("stem", "head", "time", "label", "tokens")]
    assert not [name for name in chosen if "modulation" in name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 36}, "image_size must be a multiple of 8"),
        ({"widths": (32, 64), "blocks": (1,)}, "widths names 2 levels, but blocks 1"),
        ({"widths": (32, 40)}, "widths must be multiples of 32, but one is 40"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        small(**options)


def test_a_spot_is_highest_at_the_position():
    condition = torch.zeros(2, 72)
    condition[:, [0, 5]] = 1
    condition[0, [24, 48]] = torch.tensor([0.2, 0.3])  # x and y of class 0, in the first picture; class 5 is anywhere
    spots = _spots(condition, 24, 16)
    assert spots.shape == (2, 24, 16, 16) and not spots[1].any() and not spots[0, 1:].any()
    assert divmod(int(spots[0, 0].argmax()), 16) == (4, 3), "row, column"  # (4.5 / 16, 3.5 / 16) is nearest
    assert not _spots(condition[:, :24], 24, 16).any()


def test_a_position_changes_the_answer_for_its_picture_alone():
    model = woken(small(positions=True))
    x_t, t, condition = inputs()
    places = torch.zeros(2, 48)
    places[0, [0, 24]] = torch.tensor([0.2, 0.3])  # of class 0, in the first picture
    with torch.no_grad():
        anywhere = model(x_t, t, condition)
        assert torch.allclose(anywhere, model(x_t, t, torch.cat([condition, 0 * places], dim=1)), atol=1e-6)
        change = (model(x_t, t, torch.cat([condition, places], dim=1)) - anywhere).abs()
    assert change[0].max() > 1e-3 and change[1].max() < 1e-5


def test_spots_enter_only_where_the_label_does():
    assert [name for name, _ in small(positions=True).named_parameters() if "spots" in name]
    assert not [name for name, _ in small().named_parameters() if "spots" in name]
    assert not [name for name, _ in small(positions=True, condition_at="none").named_parameters() if "spots" in name]
