"""Trains the float networks that are adapted later, and keeps them in ``build/adaptation``.

Six small DS-CNNs, each of which has never heard one of the six speakers, and a LeNet-5 that has
seen clothes upright only. Each is trained once, with a fixed seed; what is there is used again.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from benchmarks.adaptation.data import LEARNT_PICTURES, SPEAKERS, Samples, pictures, recordings
from benchmarks.adaptation.networks import DSCNN, LENET, DsCnn, Layer, LeNet5
from benchmarks.common import ROOT

BUILD = ROOT / "build" / "adaptation"
FIRST_LEARNT_TAKE = 5
SPEECH_EPOCHS, PICTURE_EPOCHS = 40, 10


def layers_of(task: str) -> tuple[Layer, ...]:
    """The network for a task (``speaker …`` or ``rotation …``)."""
    return DSCNN if task.startswith("speaker") else LENET


def base_model(task: str, shared: Path) -> Path:
    """The ONNX file of the float network to adapt; trains it if it is not there.

    Args:
        task: ``speaker NAME`` or ``rotation ANGLE``.
        shared: The folder with the data.
    """
    kind, detail = task.split()
    path = BUILD / (f"dscnn_without_{detail}.onnx" if kind == "speaker" else "lenet5.onnx")
    if not path.exists():
        model, example = _speech(detail, shared) if kind == "speaker" else _clothes(shared)
        _export(model, example, path)
    return path


def learnt_samples(task: str, shared: Path) -> Samples:
    """What the network of a task was trained on: the source of calibration samples."""
    kind, detail = task.split()
    if kind == "rotation":
        return pictures(shared, "train")[:LEARNT_PICTURES]
    data = recordings(shared)
    return data.samples[(data.speakers != detail) & (data.takes >= FIRST_LEARNT_TAKE)]


def _speech(speaker: str, shared: Path) -> tuple[nn.Module, torch.Tensor]:
    from sample_models.spoken_digits.train import augment

    samples = learnt_samples(f"speaker {speaker}", shared)
    model = _train(DsCnn, samples, SPEECH_EPOCHS, 1e-2, augment)
    return model, torch.from_numpy(samples.x[:1])


def _clothes(shared: Path) -> tuple[nn.Module, torch.Tensor]:
    samples = learnt_samples("rotation 0", shared)
    return _train(LeNet5, samples, PICTURE_EPOCHS, 3e-3, None), torch.from_numpy(samples.x[:1])


def _train(make: type[nn.Module], samples: Samples, epochs: int, rate: float, augment):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """AdamW with one cycle of the learning rate, batches of 64."""
    from sample_models.common import seed_everything

    generator = seed_everything(0)
    model = make()
    x, y = torch.from_numpy(samples.x), torch.from_numpy(samples.y)
    steps = len(x) // 64
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate / 10, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for step in range(steps):
            index = order[step * 64 : (step + 1) * 64]
            inputs = x[index] if augment is None else augment(x[index], generator)
            loss = functional.cross_entropy(model(inputs), y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def _export(model: nn.Module, example: torch.Tensor, path: Path) -> None:
    from sample_models.common import export_onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {"x": {0: "N"}, "logits": {0: "N"}}
    export_onnx(model, example, path, "x", "logits", axes)


def all_tasks() -> list[str]:
    """The names of all tasks."""
    from benchmarks.adaptation.data import ANGLES

    return [f"speaker {name}" for name in SPEAKERS] + [f"rotation {angle}" for angle in ANGLES]
