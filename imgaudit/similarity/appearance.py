"""Appearance: what an image looks like, in numbers that no model had a part in."""

import math

import torch


def describe_image(image: torch.Tensor, *, complexity: float, width: int, height: int) -> dict[str, float]:
    """Describe how a framed image looks in fourteen numbers.

    image:  (3, H, W) float32 in [-1, 1]
    width, height:  of the file, for its aspect ratio: framing depends on it
    """
    red, green, blue = image.double()
    grey = image.double().mean(dim=0)
    down, right = grey.diff(dim=0).abs(), grey.diff(dim=1).abs()
    saturation = image.max(dim=0).values - image.min(dim=0).values
    spectrum = torch.fft.fftshift(torch.fft.fft2(grey - grey.mean()).abs().square())
    rows, columns = (torch.linspace(-1, 1, side).abs() for side in grey.shape)
    high = torch.maximum(rows[:, None], columns[None, :]) > 0.5
    border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    numbers = {
        "red": red.mean(), "green": green.mean(), "blue": blue.mean(),
        "contrast": grey.std(), "contrast_between_channels": (red - blue).std(), "saturation": saturation.mean(),
        "edges": (down.mean() + right.mean()) / 2, "vertical_over_horizontal": down.mean() - right.mean(),
        "high_frequencies": spectrum[high].sum() / spectrum.sum().clamp(min=1e-12),
        "white": (image.min(dim=0).values > 0.95).double().mean(),
        "black": (image.max(dim=0).values < -0.95).double().mean(),
        "border": border.mean(),
    }  # fmt: skip
    return {name: float(value) for name, value in numbers.items()} | {
        "complexity": complexity,
        "aspect": math.log(width / height),
    }
