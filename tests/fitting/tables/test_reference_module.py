"""TinyLUT's structure in training form: the integer network bit for bit, and its gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from intaglio.fitting.tables import general_rows  # noqa: E402
from intaglio.fitting.tables.adam import Adam  # noqa: E402
from intaglio.fitting.tables.figures import figures  # noqa: E402
from intaglio.fitting.tables.general_rows import depthwise, pointwise  # noqa: E402
from intaglio.fitting.tables.general_rows_library import library  # noqa: E402
from intaglio.fitting.tables.general_rows_torch import Levels  # noqa: E402
from intaglio.fitting.tables.reachable import reachable_layers  # noqa: E402
from intaglio.fitting.tables.reference_module import ReferenceModule  # noqa: E402

needs_library = pytest.mark.skipif(library() is None, reason="no C compiler")


@pytest.fixture(params=["compiled", "torch"])
def form(request, monkeypatch):
    """Both forms of the layers."""
    if request.param == "torch":
        monkeypatch.setattr(general_rows, "compiled", lambda: None)
    elif library() is None:
        pytest.skip("no C compiler")
    return request.param


def module(stages, upscale, seed=0, channels=16):
    torch.manual_seed(seed)
    made = ReferenceModule(channels, stages, upscale)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("_scale"):
                parameter.uniform_(0.4, 1.0)
    return made


@pytest.mark.parametrize(
    ("stages", "upscale", "channels"), [(1, 4, 16), (3, 2, 16), (2, 3, 24), (1, 2, 40)]
)
def test_the_module_is_the_integer_network(form, stages, upscale, channels):
    made = module(stages, upscale, channels=channels)
    network = made.network()
    random = np.random.default_rng(stages)
    for shape in ((9, 13), (8, 8), (1, 1), (2, 5)):
        plane = random.integers(0, 256, shape, np.uint8)
        found = made.image(torch.from_numpy(plane)[None]).numpy()[0]
        assert np.array_equal(found, network.apply(plane)), shape


@needs_library
@pytest.mark.parametrize(("stages", "upscale"), [(1, 4), (3, 3)])
def test_gradients_in_c_are_those_in_torch(monkeypatch, stages, upscale):
    made = module(stages, upscale)
    random = np.random.default_rng(5)
    x = torch.from_numpy(random.integers(0, 256, (2, 7, 9), np.uint8))
    weights = torch.randn(2, upscale**2, 7, 9)

    def gradients():
        made.zero_grad()
        (made.planes(x) * weights).sum().backward()
        return [parameter.grad.clone() for parameter in made.parameters()]

    compiled = gradients()
    monkeypatch.setattr(general_rows, "compiled", lambda: None)
    for found, wanted in zip(compiled, gradients(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def line_tables(weights, levels):
    """Tables T[i, row, o] = weights[i, o] * level, and their slopes."""
    level = torch.arange(levels.low, levels.low + levels.rows, dtype=torch.float32)
    tables = weights[:, None, :] * level[None, :, None]
    return tables, weights[:, None, :].expand_as(tables).contiguous()


def test_a_pointwise_layer_of_lines_is_a_matrix(form):
    """With tables that are lines the layer is linear, and its gradients are known."""
    levels = Levels(-32, 64, -1000, 1000)
    weights = 8.0 * torch.randint(-3, 4, (8, 8)).float()
    alpha = torch.full((8,), 0.5, requires_grad=True)
    tables, slopes = (t.requires_grad_() for t in line_tables(weights, levels))
    f = (2.0 * torch.randint(-10, 11, (3, 5, 8)).float()).requires_grad_()
    y = pointwise(f, tables, slopes.detach(), levels, alpha)
    plain = f.detach() @ weights / 8 + f.detach()
    assert torch.equal(y, plain / 2)
    gradient = torch.randn(3, 5, 8)
    y.backward(gradient)
    torch.testing.assert_close(f.grad, gradient / 2 @ (weights.T / 8 + torch.eye(8)))
    torch.testing.assert_close(alpha.grad, (gradient * plain).sum((0, 1)))
    # A row's gradient is the sum over the places that read it.
    wanted = torch.zeros(8, 64, 8)
    for place in range(15):
        for channel in range(8):
            row = int(f.detach().reshape(15, 8)[place, channel]) + 32
            wanted[channel, row] += gradient.reshape(15, 8)[place] / 2 / 8
    torch.testing.assert_close(tables.grad, wanted)


def test_a_depthwise_layer_of_lines_is_a_convolution(form):
    levels = Levels(-32, 64, -1000, 1000)
    weights = 9.0 * torch.randint(-3, 4, (9, 4)).float()
    level = torch.arange(-32, 32, dtype=torch.float32)
    tables = (weights[:, :, None] * level).contiguous()
    slopes = weights[:, :, None].expand_as(tables).contiguous()
    f = torch.randint(-20, 21, (2, 6, 5, 4)).float().requires_grad_()
    y = depthwise(f, tables, slopes, levels)
    kernel = weights.T.reshape(4, 1, 3, 3) / 9
    other = f.detach().clone().requires_grad_()
    padded = torch.nn.functional.pad(other.permute(0, 3, 1, 2), (2, 0, 2, 0))
    wanted = torch.nn.functional.conv2d(padded, kernel, groups=4).permute(0, 2, 3, 1) + other
    assert torch.equal(y, wanted)
    gradient = torch.randn(y.shape)
    y.backward(gradient)
    wanted.backward(gradient)
    torch.testing.assert_close(f.grad, other.grad)


def test_a_clamp_lets_a_gradient_pull_back_only(form):
    levels = Levels(-32, 64, -32, 31)
    tables = torch.zeros(8, 64, 8)
    tables[:, 63] = 127.0  # the upper end is pushed further up
    f = torch.full((1, 1, 8), 31.0, requires_grad=True)
    for sign, passes in ((1.0, True), (-1.0, False)):
        f.grad = None
        y = pointwise(f, tables, torch.zeros_like(tables), levels)
        assert torch.equal(y, torch.full_like(y, 31.0))
        y.backward(torch.full_like(y, sign))
        assert bool((f.grad != 0).all()) == passes


def test_it_learns_to_copy():
    made = module(1, 2, seed=3)
    adam = Adam(made.parameter_groups(0.6))
    x = torch.from_numpy(np.random.default_rng(0).integers(60, 200, (4, 10, 10), np.uint8))
    wanted = x[:, None].float().expand(-1, 4, -1, -1)
    errors = []
    for _ in range(60):
        error = ((made.planes(x) - wanted) ** 2).mean()
        adam.clear()
        error.backward()
        adam.step()
        made.project()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.2 * errors[0]


def test_scales_stay_in_their_range():
    made = module(2, 2)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name.endswith("_scale"):
                parameter.copy_(torch.linspace(-1, 3, 16))
    made.project()
    for branch in made.network().branches:
        assert (np.diff(branch.stem_scale.astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("stages", [1, 3])
def test_rows_that_cannot_be_read_change_nothing(stages):
    network = module(stages, 2, seed=1).network()
    plane = np.random.default_rng(2).integers(0, 256, (24, 24), np.uint8)
    plane[:8] = np.arange(24) * 11
    wanted = network.apply(plane)
    for branch in network.branches:
        layers = reachable_layers(branch)
        assert len(layers) == 2 + len(branch.stages) + (len(branch.stages) - 1)
        full = [layer.inputs * branch.rows for layer in layers]
        assert sum(layer.rows for layer in layers) < sum(full)
        # The last layer's unreachable rows are spoiled: the result stays.
        spoil(branch, layers[-1].levels)
    assert np.array_equal(network.apply(plane), wanted)


def spoil(branch, levels):
    """Changes the rows at both ends of the last tables, as many as are not read."""
    for table, count, scale in zip(
        branch.up, levels, branch.stages[-1].pointwise_scale, strict=True
    ):
        first = int(scale.min()) - branch.low
        assert count <= int(scale.max()) - int(scale.min()) + 1
        table[:first] = 99
        table[int(scale.max()) - branch.low + 1 :] = 99


def test_figures_are_those_of_the_paper():
    torch.manual_seed(0)
    found = figures(ReferenceModule(16, 1, 4).network())
    storage = found["storage"]
    assert storage["full_rows"] == 44_608
    assert storage["one_branch"] == 167_936
    assert storage["ddm_full"] == pytest.approx(3.765, abs=1e-3)
    assert storage["sms"] > 7
    assert storage["reachable_rows"] <= 44_608
    assert found["lookups"] == 5_248
    deep = figures(ReferenceModule(16, 7, 4).network())["storage"]
    assert deep["one_branch"] == 764 * 1024


def test_adam_is_torchs():
    torch.manual_seed(0)
    mine, other = (torch.nn.Parameter(torch.ones(5, 3)) for _ in range(2))
    rates = ({"params": [mine], "lr": 0.3}, {"params": [other], "lr": 0.3})
    adam = Adam([rates[0]])
    wanted = torch.optim.Adam([rates[1]], betas=(0.9, 0.99))
    for step in range(20):
        gradient = torch.randn(5, 3) * 10.0 ** (step % 4 - 2)
        mine.grad, other.grad = gradient.clone(), gradient.clone()
        wanted.param_groups[0]["lr"] = 0.3 * (step + 1) / 20
        adam.step((step + 1) / 20)
        wanted.step()
        torch.testing.assert_close(mine, other)
    again = Adam([{"params": [torch.nn.Parameter(mine.detach().clone())], "lr": 0.3}])
    again.restore(adam.state())
    assert torch.equal(again.state()["second"][0][0], adam.state()["second"][0][0])
