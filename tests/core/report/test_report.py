from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser

import pytest

from intaglio.bundle_files import write_json
from intaglio.errors import InputError
from intaglio.report.charts import Bar, Span, bar_chart, histogram, span_chart
from intaglio.report.command import convert_command
from intaglio.report.formatting import format_border, format_bytes, format_percent, shorten
from intaglio.report.html import render_report, write_report
from intaglio.settings import parse_assignment
from intaglio.verification.verify import verify_bundle
from tests.core.small_bundle import edit_manifest, some_inputs, write_bundle

HOSTILE = '<script>alert("x")</script>\'"&{{ 7*7 }}'

VOID = {"meta", "br", "rect", "line", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what the tests look at, and fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "small"
    bundle = write_bundle(folder, samples=some_inputs(40))
    return bundle, verify_bundle(bundle)


def test_the_page_shows_the_verdict_every_pair_and_every_layer(verified):
    bundle, report = verified
    page = Page(render_report(bundle.folder, report))
    assert "✓ Verified" in page.text
    assert "40 samples and 67 generated inputs" in page.text
    for pair in report.pairs:
        assert pair.verdict in page.text
    for layer in report.layers:
        assert f"{layer.sqnr_db:.1f}" in page.text
    assert "small.onnx" in page.text
    assert "0" * 64 in page.text


def test_the_page_loads_nothing_and_allows_only_its_own_script(verified):
    bundle, report = verified
    page = Page(render_report(bundle.folder, report))
    for tag, attributes in page.tags:
        assert tag not in ("img", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "action")
            if name == "href":
                assert str(value).startswith("#")
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv")]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_every_link_inside_the_page_has_its_target(verified):
    bundle, report = verified
    page = Page(render_report(bundle.folder, report))
    wanted = {a["href"][1:] for t, a in page.tags if t == "a"}
    assert wanted <= {a.get("id") for _, a in page.tags}
    assert {"pairs", "layers", "ranges", "sizes", "plan", "steps", "again"} <= wanted


def test_plots_are_there(verified):
    bundle, report = verified
    page = Page(render_report(bundle.folder, report))
    labels = [a.get("aria-label") for t, a in page.tags if t == "svg"]
    assert "Signal-to-noise ratio by layer" in labels
    assert "Range of values by tensor" in labels
    histograms = [a for t, a in page.tags if t == "svg" and a["class"] == "svg histogram"]
    assert len(histograms) == len(report.pairs)


def test_the_same_bundle_gives_the_same_bytes(verified):
    bundle, report = verified
    assert render_report(bundle.folder, report) == render_report(bundle.folder, report)
    # And the dataclass shows what verify.json shows.
    assert render_report(bundle.folder, report) == render_report(bundle.folder)


def test_before_verify_the_page_says_so(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    path = write_report(bundle.folder)
    page = Page(path.read_text(encoding="utf-8"))
    assert "Not verified yet" in page.text
    assert "intaglio verify b" in page.text
    assert "#pairs" not in [a.get("href") for _, a in page.tags]
    assert [p.name for p in bundle.folder.iterdir() if p.name.startswith(".")] == []


def test_names_of_a_hostile_model_stay_text(tmp_path):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(4))
    report = verify_bundle(bundle)
    data = json.loads(json.dumps(report.to_dict()))
    data["failures"] = [HOSTILE]
    data["warnings"] = [HOSTILE]
    data["ok"] = False
    for row in (*data["pairs"], *data["layers"]):
        for key, value in row.items():
            if isinstance(value, str) and key not in ("reference", "dtype"):
                row[key] = HOSTILE
    data["accuracy"] = {HOSTILE: {"samples": 1, "mse": 0.5}}
    write_json(bundle.folder / "verify.json", data)
    plan = json.loads((bundle.folder / "plan.json").read_text())
    plan["tensors"][HOSTILE] = plan["tensors"].pop("x")
    write_json(bundle.folder / "plan.json", plan)
    steps = json.loads((bundle.folder / "report.json").read_text())
    steps["steps"][0].update(name=HOSTILE, facts={HOSTILE: HOSTILE}, config={HOSTILE: [HOSTILE]})
    for row in (*steps["steps"][0]["changes"], *steps["steps"][0]["skips"]):
        row.update(dict.fromkeys(row, HOSTILE))
    write_json(bundle.folder / "report.json", steps)

    def rename(manifest):
        manifest["source"]["path"] = HOSTILE
        for artifact in manifest["artifacts"]:
            artifact["inputs"][0]["name"] = HOSTILE

    edit_manifest(bundle, rename)
    html = render_report(bundle.folder)
    page = Page(html)
    assert len(page.scripts) == 1
    assert "<script>alert" not in html
    assert page.text.count("alert(") > 20
    assert "{{ 7*7 }}" in page.text


def test_warnings_are_named(tmp_path):
    bundle = write_bundle(tmp_path / "b", calibration="random")
    steps = json.loads((bundle.folder / "report.json").read_text())
    change = {"kind": "bias-fit", "node": "fc", "before": "1e-9", "after": "1e-7", "why": "bias 3"}
    steps["steps"][0]["changes"] += [change] * 12
    write_json(bundle.folder / "report.json", steps)
    page = Page(render_report(bundle.folder))
    assert "Calibrated on random numbers" in page.text
    assert "Bias repaired at 'fc'" in page.text
    assert "and 2 more biases repaired" in page.text


def test_saturation_is_a_warning(tmp_path):
    bundle = write_bundle(tmp_path / "b", samples=some_inputs(50) * 6)
    report = verify_bundle(bundle)
    page = Page(render_report(bundle.folder, report))
    assert "of the values of 'x' lie outside its range" in page.text


def test_a_failed_verification_is_shown_with_its_reasons(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    report = verify_bundle(bundle, require="exact")
    page = Page((bundle.folder / "report.html").read_text(encoding="utf-8"))
    assert "✗ Failed" in page.text
    assert report.failures[0] in page.text


def test_long_lists_of_changes_are_cut_and_counted(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    steps = json.loads((bundle.folder / "report.json").read_text())
    steps["steps"][0]["changes"] *= 1000
    write_json(bundle.folder / "report.json", steps)
    html = render_report(bundle.folder)
    assert "and 800 more" in html
    assert len(html) < 200_000


@pytest.mark.parametrize("name", ["manifest.json", "report.json", "plan.json"])
def test_damaged_json_is_an_input_error(tmp_path, name):
    bundle = write_bundle(tmp_path / "b")
    for text in ("{", "[]", "{}"):
        (bundle.folder / name).write_text(text)
        with pytest.raises(InputError):
            write_report(bundle.folder)
    assert not (bundle.folder / "report.html").exists()


# The command


def test_the_command_reads_back_as_what_was_set():
    from intaglio.recipe import load_recipe
    from intaglio.settings import apply_settings

    sets = [
        "quantize.plan_tensors.activations=int16",
        'quantize.plan_tensors.sixteen_bit=["a \\"b\\"", "it\'s"]',
        "calibrate.round_weights.enabled=true",
        "bundle.samples=5",
        "profile=litert",
    ]
    recipe = apply_settings(load_recipe("int8"), sets)
    manifest = {
        "source": {"path": "my model.onnx"},
        "recipe": recipe.to_dict(),
        "artifacts": [{"target": "onnx-integer"}, {"target": "source"}],
        "calibration": {"kind": "data", "path": "c.npz", "samples": 3},
    }
    words = shlex.split(convert_command(manifest, "out"))
    assert words[:3] == ["intaglio", "convert", "my model.onnx"]
    assert words[words.index("--calibration") + 1] == "c.npz"
    assert "source" not in words
    found = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    again = apply_settings(load_recipe("int8"), found)
    assert again.to_dict() == recipe.to_dict()
    assert all(parse_assignment(text) for text in found)


def test_random_calibration_is_in_the_command():
    manifest = {
        "source": {"path": "m.onnx"},
        "recipe": {"name": "mine.toml", "step": []},
        "artifacts": [],
        "calibration": {"kind": "random", "path": None, "samples": 64},
    }
    assert "--random-calibration" in convert_command(manifest, "out")


# Charts and numbers


def test_bars_share_one_scale():
    bars = [Bar("a", "", [10.0], "10", ["good"]), Bar("b", "", [5.0], "5", ["poor"])]
    chart = str(bar_chart("t", bars))
    widths = [float(w) for w in re.findall(r'<rect[^>]* width="([\d.]+)"', chart)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=1e-3)


def test_values_beyond_the_representable_range_reach_outside():
    inside = str(span_chart("t", [Span("a", "", (-1.0, 1.0), (-0.5, 0.5), "", "good")]))
    beyond = str(span_chart("t", [Span("a", "", (-1.0, 1.0), (-0.5, 3.0), "", "good")]))
    assert 'class="poor"' not in inside
    assert beyond.count('class="poor"') == 1


def test_histogram_counts_and_labels_its_ends():
    plot = str(histogram([(-8, 2), (0, 97), (1, 1)], 8))
    assert "≤−8 LSB: 2 values (2 %)" in plot
    assert "0 LSB: 97 values (97 %)" in plot
    assert plot.count("<rect") == 3
    assert histogram([], 8) == ""


def test_labels_of_charts_are_escaped():
    bars = [Bar(HOSTILE, HOSTILE, [1.0], HOSTILE, ["good"])]
    for chart in (bar_chart(HOSTILE, bars), span_chart(HOSTILE, [])):
        assert "<script" not in str(chart)


def test_long_names_keep_both_ends():
    short = shorten("/backbone/stage3/block2/conv1/Conv_output_0")
    assert len(short) == 30
    assert short.startswith("/backbone")
    assert short.endswith("Conv_output_0")
    assert shorten("conv1") == "conv1"


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "0 %"), (1, "100 %"), (0.9997, "99.97 %"), (0.0412, "4.12 %"), (1e-7, "< 0.001 %")],
)
def test_percentages(fraction, text):
    assert format_percent(fraction) == text


def test_bytes_and_borders():
    assert format_bytes(640) == "640 B"
    assert format_bytes(1536) == "1.5 KiB"
    assert format_bytes(3 << 20) == "3.0 MiB"
    spec = {"dtype": "int8", "shape": ["N", 3], "scale": 0.5, "zero_point": -1}
    assert format_border(spec) == "int8 N × 3, scale 0.5, zero point -1"
