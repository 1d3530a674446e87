"""ResNet-50 and its training by hand, in plain torch: what our own loop must not be slower than."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_COUNTS = (3, 4, 6, 3)
_EXPANSION = 4
NUM_FEATURES = 2048


class _Bottleneck(nn.Module):
    def __init__(self, into: int, inner: int, stride: int) -> None:
        super().__init__()
        out = inner * _EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(into, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if (into, stride) != (out, 1):
            self.downsample = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return functional.relu(y, inplace=True)


def resnet50(num_classes: int) -> nn.Sequential:
    """[B, 3, H, W] -> [B, num_classes]"""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    into = 64
    for stage, count in enumerate(_COUNTS):
        inner = 64 * 2**stage
        for place in range(count):
            layers.append(_Bottleneck(into, inner, 2 if stage and not place else 1))
            into = inner * _EXPANSION
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(into, num_classes))


class PlainTraining:
    """Learns weights and biases of the norms and the head, statistics frozen: what ``affine`` amounts to.

    Pictures are ready tensors: nothing is decoded, cropped or varied on the way.
    """

    def __init__(self, num_classes: int, *, bfloat16: bool) -> None:
        self.net = resnet50(num_classes).to(memory_format=torch.channels_last).requires_grad_(False).eval()  # type: ignore[call-overload]
        norms = [module for module in self.net.modules() if isinstance(module, nn.BatchNorm2d)]
        self.learned = [parameter for module in (*norms, self.net[-1]) for parameter in module.parameters()]
        for parameter in self.learned:
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.learned, 1e-3, fused=True)
        self.bfloat16 = bfloat16

    def epoch(self, inputs: Tensor, labels: Tensor, batch_size: int) -> None:
        for x, y in zip(torch.split(inputs, batch_size), torch.split(labels, batch_size), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                logits = self.net(x)
            loss = functional.cross_entropy(logits.float(), y)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            self.optimizer.step()
