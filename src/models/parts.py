"""The blocks that both networks are built from."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution that keeps the size (divided by its stride); edges padded by zeros or by reflection."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, padding: str = "zeros", bias: bool = False
    ) -> None:
        self.reflected = kernel // 2 if padding == "reflect" else 0
        # Subsample first: on AVX2, oneDNN's strided 1x1 convolution writes outside its buffer.
        self.every = stride if kernel == 1 else 1
        edge = 0 if self.reflected else kernel // 2
        super().__init__(inputs, outputs, kernel, stride // self.every, padding=edge, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.every > 1:
            x = x[..., :: self.every, :: self.every]
        if self.reflected:
            x = reflect(reflect(x, self.reflected, 2), self.reflected, 3)
        return super().forward(x)


def reflect(x: Tensor, width: int, dim: int) -> Tensor:
    """Reflection padding from slices: unlike F.pad's, its gradient is deterministic on a GPU.

    A side too short to reflect repeats its edge.
    """
    size = x.shape[dim]
    if size > width:
        before = x.narrow(dim, 1, width).flip(dim)
        after = x.narrow(dim, size - 1 - width, width).flip(dim)
    else:
        before = torch.cat([x.narrow(dim, 0, 1)] * width, dim)
        after = torch.cat([x.narrow(dim, size - 1, 1)] * width, dim)
    return torch.cat([before, x, after], dim)


class ConvNorm(nn.Sequential):
    """Convolution and BatchNorm. Without the learned shift of the norm, the convolution brings its own."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, padding: str, affine: bool
    ) -> None:
        super().__init__(
            Conv(inputs, outputs, kernel, stride, padding=padding, bias=not affine),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class DoubleConv(nn.Sequential):
    """Twice: 3x3 convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, padding: str, affine: bool) -> None:
        super().__init__(
            ConvNorm(inputs, outputs, padding=padding, affine=affine),
            nn.ReLU(inplace=True),
            ConvNorm(outputs, outputs, padding=padding, affine=affine),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    """Twice the height and width: by a transposed convolution, or by interpolation.

    Where interpolation must change the number of channels, a 1x1 convolution does so first, at a quarter of the cost.
    """

    def __init__(self, inputs: int, outputs: int, mode: str) -> None:
        super().__init__()
        if mode == "transposed":
            self.channels: nn.Module = nn.Identity()
            self.enlarge: Callable[[Tensor], Tensor] = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        else:
            self.channels = Conv(inputs, outputs, 1, bias=True) if inputs != outputs else nn.Identity()
            self.enlarge = {"bilinear": bilinear_x2, "nearest": nearest_x2}[mode]

    def forward(self, x: Tensor) -> Tensor:
        return self.enlarge(self.channels(x))


def nearest_x2(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def bilinear_x2(x: Tensor) -> Tensor:
    """What F.interpolate(mode="bilinear") gives, from slices: its gradient is deterministic and fast on a GPU."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return _linear_x2(_linear_x2(x.permute(0, 2, 3, 1), 1), 2).permute(0, 3, 1, 2)
    return _linear_x2(_linear_x2(x, 2), 3)


def _linear_x2(x: Tensor, dim: int) -> Tensor:
    size = x.shape[dim]
    before = torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, 0, size - 1)], dim)
    after = torch.cat([x.narrow(dim, 1, size - 1), x.narrow(dim, size - 1, 1)], dim)
    return torch.stack([torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)], dim + 1).flatten(dim, dim + 1)


class AttentionGate(nn.Module):
    """Additive attention (arXiv 1804.03999): the decoder's features decide which places of a skip connection pass."""

    def __init__(self, gate: int, skip: int, *, affine: bool) -> None:
        super().__init__()
        inner = max(skip // 2, 1)
        self.of_gate = ConvNorm(gate, inner, 1, padding="zeros", affine=affine)
        self.of_skip = ConvNorm(skip, inner, 1, padding="zeros", affine=affine)
        self.weight = ConvNorm(inner, 1, 1, padding="zeros", affine=affine)

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.weight(F.relu(self.of_gate(gate) + self.of_skip(skip))))


class Decode(nn.Module):
    """One step of a decoder: enlarge, join the skip connection (where there is one), convolve twice."""

    def __init__(
        self,
        inputs: int,
        enlarged: int,
        skip: int,
        outputs: int,
        *,
        upsample: str,
        padding: str,
        dropout: float,
        attention: bool,
        affine: bool,
    ) -> None:
        super().__init__()
        self.channels = outputs
        self.up = Up(inputs, enlarged, upsample)
        self.gate = AttentionGate(enlarged, skip, affine=affine) if attention and skip else None
        self.convs = DoubleConv(enlarged + skip, outputs, padding=padding, affine=affine)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.up(x)
        if skip is not None:
            x = torch.cat([skip if self.gate is None else self.gate(x, skip), x], 1)
        return self.dropout(self.convs(x))


class EncoderDecoder(nn.Module):
    """Logits of the size of the input, from the decoder's last step."""

    decoder: nn.ModuleList
    head: Conv

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.decoded(image)[-1])[..., : image.shape[-2], : image.shape[-1]]

    def decoded(self, image: Tensor) -> list[Tensor]:
        """What each step of the decoder gives, the coarsest first, for the image padded as the encoder needs it."""
        raise NotImplementedError


def padded_to(multiple: int, x: Tensor) -> Tensor:
    """Zeros on the right and below, so that both sides divide by `multiple`."""
    height, width = x.shape[-2:]
    down, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, down)) if down or right else x


def initialise(network: nn.Module) -> None:
    """He's normal initialisation (arXiv 1502.01852) of every convolution; biases begin at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
