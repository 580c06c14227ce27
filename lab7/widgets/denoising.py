"""Walk through the denoising of one picture, from noise to the end."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from lab7.dataset.conditions import conditions_tensor
from lab7.pipeline import Pipeline
from lab7.samplers import guided_denoiser
from lab7.widgets.display import Control, connect, stepper, strip

BRIGHTEST = 0.5  # the difference, in units of [-1, 1], that is shown as white

State = tuple[int, int, Tensor, Tensor]
"""What a sampler hands to its callback: step, t, x_t (1, 3, S, S), predicted x_0 (1, 3, S, S)."""


@torch.inference_mode()
def both_predictions(pipeline: Pipeline, names: Sequence[str], x_t: Tensor, t: int) -> Tensor:
    """The predicted x_0 of x_t (1, 3, S, S) with the condition and without: pictures (2, 3, 64, 64)."""
    condition = conditions_tensor([names]).to(x_t.device)  # (1, 24)
    both = torch.cat([condition, torch.zeros_like(condition)])
    target = pipeline.preset.diffusion.target
    x_0, _ = guided_denoiser(pipeline.model, pipeline.schedule, both, target=target)(torch.cat([x_t, x_t]), t)
    return pipeline.to_pixels(x_0)


def denoising_walk(pipeline: Pipeline, names: Sequence[str], states: Sequence[State]) -> Control:
    """Move through the recorded states of a sampler that drew the named objects. Shown are x_t, the predicted x_0 with
    the condition and without it, and how far these two differ."""
    slider, row = stepper([f"t = {t}" for _, t, _, _ in states], "time")
    control, asked = Control([row]), ", ".join(names)
    predict = functools.cache(lambda k: both_predictions(pipeline, names, states[k][2], states[k][1]))

    def update() -> None:
        _, t, x_t, _ = states[slider.index]
        with_condition, without = predict(slider.index)
        difference = (with_condition - without).abs().mean(dim=0)  # (64, 64)
        shown = ((difference / BRIGHTEST).clamp(max=1) * 2 - 1).expand(3, -1, -1)
        pictures = [pipeline.to_pixels(x_t)[0], with_condition, without, shown]
        captions = [f"x_t, t = {t}", "predicted x_0", "without the condition", "difference of the two"]
        alt = f"Denoising of {asked} at t = {t}: {', '.join(captions)}"
        control.draw(
            strip(pictures, captions),
            alt,
            f"the condition changes the prediction by {difference.mean():.3f} on average",
        )

    connect(update, [slider])
    return control
