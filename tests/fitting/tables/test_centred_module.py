"""The training form of the centred network computes the integer network, pixel for pixel."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from intaglio.errors import RecipeError  # noqa: E402
from intaglio.fitting.tables.centred_module import CentredModule, shift_pattern  # noqa: E402


def half_up(value, shift):
    return (value + (1 << shift >> 1)) >> shift


def read_sums(f, taps, tables, tap_shift):
    """f [C, h, w], taps [C, 3, 3], tables [C, 16, O] -> [h, w, O]."""
    height, width = f.shape[1:]
    padded = np.pad(f, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((height, width, tables.shape[2]), np.int64)
    for c in range(f.shape[0]):
        window = np.lib.stride_tricks.sliding_window_view(padded[c], (3, 3))
        sums = (window * taps[c].astype(np.int64)).sum((2, 3))
        total += tables[c].astype(np.int64)[np.clip(half_up(sums, tap_shift), -8, 7) + 8]
    return total


def run_integers(net, x):
    """The network of the export on one plane, with 64-bit integers."""
    channels, r, s = net["channels"], net["upscale"], net["stride"]
    kernel = net["stem_weights"].shape[1]
    height, width = x.shape
    rows, columns = -(-height // s), -(-width // s)
    before = (kernel - s) // 2
    acc = np.zeros((net["stem_weights"].shape[0], rows, columns), np.int64)
    for i in range(rows):
        for j in range(columns):
            at_i = np.clip(np.arange(kernel) + s * i - before, 0, height - 1)
            at_j = np.clip(np.arange(kernel) + s * j - before, 0, width - 1)
            window = x[at_i][:, at_j].astype(np.int64) - 128
            acc[:, i, j] = (net["stem_weights"] * window).sum((1, 2)) + net["stem_bias"]
    f = np.clip(half_up(acc[:channels], net["stem_shift"]), -128, 127)
    for number, table in enumerate(net["table_of"]):
        sums = read_sums(f, net["taps"][number], net["tables"][table], net["tap_shift"])
        f = np.clip(f + half_up(sums.transpose(2, 0, 1), net["shift"]), -128, 127)
    u = read_sums(f, net["head_taps"], net["head_tables"], net["tap_shift"])
    change = half_up((u << net["head_shift"]) + acc[channels:].transpose(1, 2, 0), net["out_shift"])
    out = np.zeros((rows * r, columns * r), np.int64)
    for i in range(rows):
        for j in range(columns):
            for o in range(r * r):
                dy, dx = divmod(o, r)
                at = min(s * i + dy * s // r, height - 1), min(s * j + dx * s // r, width - 1)
                out[r * i + dy, r * j + dx] = int(x[at]) + change[i, j, o]
    return np.clip(out, 0, 255)[: height * r // s, : width * r // s]


def disturbed(seed, **options):
    """A network whose values look trained: every part at work, some entries clamped."""
    torch.manual_seed(seed)
    net = CentredModule(**options)
    with torch.no_grad():
        for name, value in net.named_parameters():
            size = {"stem_bias": 900.0, "taps": 12.0}.get(name, 15.0)
            value += torch.randn_like(value) * size
    net.project()
    return net


OPTIONS = [
    {"channels": 24, "table_of": (0, 1, 2, 3), "upscale": 4},
    {"channels": 16, "table_of": (0, 0, 1), "upscale": 3, "taps": "shift"},
    {"channels": 8, "table_of": (), "upscale": 2, "stem_kernel": 5},
    {"channels": 16, "table_of": (0, 1), "upscale": 2, "stride": 2, "stem_kernel": 4},
    {"channels": 32, "table_of": (0,), "upscale": 2, "stride": 2, "stem_kernel": 6, "shift": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [(21, 18), (1, 2), (8, 33)])
def test_the_module_equals_the_integer_network(options, size):
    net = disturbed(3, **options)
    exported = net.export()
    x = np.random.default_rng(4).integers(0, 256, (2, *size), dtype=np.uint8)
    x[1] = np.arange(size[1], dtype=np.uint8)[None] * 7  # smooth
    got = net.image(torch.from_numpy(x)).numpy()
    expected = np.stack([run_integers(exported, plane) for plane in x])
    assert got.dtype == np.uint8
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_parameter_gets_a_gradient(options):
    net = disturbed(0, **options)
    x = torch.randint(0, 256, (2, 16, 16), dtype=torch.uint8)
    out = net(x)
    cells = 16 // options.get("stride", 1)
    assert out.shape == (2, cells, cells, options["upscale"] ** 2)
    (out - 100.0).square().mean().backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        assert float(value.grad.abs().max()) > 0, name
    groups = net.parameter_groups(0.1, taps=2.0)
    listed = [value for group in groups for value in group["params"]]
    assert {id(v) for v in listed} == {id(v) for v in net.parameters()}


def test_a_few_steps_reduce_the_error():
    torch.manual_seed(0)
    net = CentredModule(16, (0, 1), 2)
    optimiser = torch.optim.Adam(net.parameter_groups(0.3), betas=(0.9, 0.99))
    x = torch.randint(0, 256, (2, 24, 24), dtype=torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(x[:, None].float(), 3, 1, 1)
    errors = []
    for _ in range(30):
        error = (net.planes(x) - blurred).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        net.project()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.6 * errors[0]


def test_exported_taps_keep_to_sixteen_bits():
    net = disturbed(1, channels=16, table_of=(0,), upscale=2)
    with torch.no_grad():
        net.taps += torch.randn_like(net.taps) * 200
    net.project()
    exported = net.export()
    sums = np.abs(exported["taps"].astype(int)).sum((2, 3))
    assert sums.max() <= 255
    assert sums.max() > 240
    assert np.abs(exported["head_taps"].astype(int)).sum((1, 2)).max() <= 255


def test_the_shift_pattern_reads_the_centre_with_half_the_channels():
    taps = shift_pattern(24, 64.0)
    assert torch.equal(taps.sum((1, 2)), torch.full((24,), 64.0))
    assert int((taps[:, 1, 1] > 0).sum()) == 8
    neighbours = (taps > 0).sum(0)
    assert int(neighbours.min()) >= 1


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 12},
        {"channels": 72},
        {"stem_kernel": 4},
        {"table_of": (0, 2)},
    ],
)
def test_numbers_that_fit_no_network_are_refused(options):
    with pytest.raises(RecipeError):
        CentredModule(**options)


@pytest.mark.parametrize("options", OPTIONS)
def test_without_a_compiler_module_and_gradients_are_the_same(options, monkeypatch):
    net = disturbed(3, **options)
    make = torch.Generator().manual_seed(2)
    x = torch.randint(0, 256, (2, 19, 14), dtype=torch.uint8, generator=make)
    weight = torch.randn(net.planes(x).shape, generator=make)

    def run():
        net.zero_grad()
        out = net.planes(x)
        (out * weight).sum().backward()
        return out.detach(), {name: value.grad for name, value in net.named_parameters()}

    fast, fast_gradients = run()
    for place in ("operators", "ends", "table_parameters"):
        monkeypatch.setattr(f"intaglio.fitting.tables.{place}.kernel", lambda: None)
    slow, slow_gradients = run()
    assert torch.equal(fast, slow)
    for name, value in slow_gradients.items():
        size = float(value.abs().max())
        assert size > 0
        torch.testing.assert_close(fast_gradients[name], value, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_margin_leaves_out_the_border(options):
    net = disturbed(3, **options)
    x = torch.randint(0, 256, (2, 12, 14), dtype=torch.uint8)
    assert torch.equal(net.planes(x, 2), net.planes(x)[:, :, 2:-2, 2:-2])
