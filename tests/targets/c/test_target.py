"""Target ``c`` as a user meets it: converted, built with the emitted Makefile, verified, run."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.errors import InputError, RecipeError, ToolError
from intaglio.targets.c.compiler import require_compiler
from intaglio.targets.c.variants import lineage

SAMPLES = Path(__file__).parents[3] / "sample_models"


def convert(out, **options):
    return intaglio.convert(
        SAMPLES / "digits" / "digits.onnx",
        targets=["onnx-integer", "c"],
        calibration=SAMPLES / "digits" / "calibration.npz",
        out=out,
        **options,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return convert(tmp_path_factory.mktemp("c") / "digits")


@pytest.fixture
def copy(bundle, tmp_path):
    shutil.copytree(bundle.folder, tmp_path / "bundle")
    return intaglio.load(tmp_path / "bundle")


def test_files_are_named_by_the_model(bundle):
    assert {path.name for path in (bundle.folder / "c").iterdir()} == {
        "CMakeLists.txt", "Makefile", "README.md", "digits.c", "digits.h", "digits.json",
        "digits_weights.c",
    }  # fmt: skip
    artifact = bundle.artifact("c")
    assert artifact.path == "c/digits.c"
    assert [spec.shape for spec in artifact.inputs] == [(1, 8, 8, 1)]
    assert artifact.inputs[0].layout == "NHWC"


def test_every_variant_here_verifies_outputs_and_inner_tensors(bundle):
    report = intaglio.verify(bundle)
    assert report.ok, report.failures
    exact = {p.artifact for p in report.pairs if p.reference == "onnx-integer"}
    assert "c@portable" in exact
    assert {inner.artifact for inner in report.inner} == exact
    assert all(inner.tensors >= 4 and inner.different == 0 for inner in report.inner)


def test_a_wrong_layer_is_named(tmp_path, monkeypatch):
    """An emitter that gets one weight of the second convolution wrong."""
    from intaglio.targets.c import target

    right = target.write_sources

    def wrong(network, variants, memory):
        written = right(network, variants, memory)
        name = "digits_weights.c"
        pattern = r"(?<=digits__relu2_)(\w*\[\d+\] = \{\n\s*)(-?\d+)"
        text, count = re.subn(
            pattern, lambda m: f"{m[1]}{(int(m[2]) + 60) % 100}", written.files[name]
        )
        assert count
        return dataclasses.replace(written, files={**written.files, name: text})

    monkeypatch.setattr(target, "write_sources", wrong)
    report = intaglio.verify(convert(tmp_path / "b"))
    assert not report.ok
    assert any(
        "differs from onnx-integer inside: first in 'relu2.out'" in f for f in report.failures
    )


def test_the_makefile_builds_what_the_readme_shows(bundle, tmp_path):
    shutil.copytree(bundle.folder / "c", tmp_path / "c")
    folder = tmp_path / "c"
    subprocess.run(["make", "-s", "CFLAGS=-O1"], cwd=folder, check=True)
    readme = (folder / "README.md").read_text()
    [example] = re.findall(r"```c\n(.*?)```", readme, re.DOTALL)
    include, _, rest = example.partition("\n\n")
    declarations, _, statement = rest.partition("\n\n")
    (tmp_path / "main.c").write_text(
        f"#include <stdio.h>\n{include}\n{declarations}\nint main(void)\n{{\n{statement}\n"
        'for (int i = 0; i < 10; i++) { printf("%d ", output[i]); }\nreturn code;\n}\n'
    )
    subprocess.run(
        [*require_compiler(), "-std=c99", "-Ic", "main.c", "c/libdigits.a", "-o", "main"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    zeros = np.zeros((1, 8, 8, 1), np.int8)
    found = bundle.session("c", runtime="portable").run({"image": zeros})
    assert list(map(int, done.stdout.split())) == found["logits"].reshape(-1).tolist()


def test_cmake_builds_it_too(bundle, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake (Debian: cmake)")
    source = bundle.folder / "c"
    subprocess.run(["cmake", "-S", source, "-B", tmp_path], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True, capture_output=True)
    assert (tmp_path / "libdigits.a").exists()


def test_the_readme_and_the_report_state_the_plan(bundle):
    data = json.loads((bundle.folder / "c" / "digits.json").read_text())
    readme = (bundle.folder / "c" / "README.md").read_text()
    html = (bundle.folder / "report.html").read_text()
    for variant in data["variants"].values():
        assert f"{variant['arena_bytes']:,}" in readme
        assert variant["arena_bytes"] >= variant["bound_bytes"]
    assert "The arena over time" in html
    assert all(buffer["name"] in html for buffer in data["variants"]["portable"]["buffers"])


def test_fewer_variants_make_smaller_files(bundle, tmp_path):
    small = convert(tmp_path / "small", sets=["c.variants=dsp,mve"])
    data = json.loads((small.folder / "c" / "digits.json").read_text())
    assert set(data["variants"]) == {"mve", "dsp", "portable"}
    text = (small.folder / "c" / "digits.c").read_text()
    assert "immintrin" not in text
    assert len(text) < (bundle.folder / "c" / "digits.c").stat().st_size
    assert intaglio.verify(small).ok


def test_a_prefix_names_everything(tmp_path):
    named = convert(tmp_path / "b", sets=["c.prefix=reader"])
    assert named.artifact("c").path == "c/reader.c"
    header = (named.folder / "c" / "reader.h").read_text()
    assert "READER_ARENA_BYTES" in header
    assert "digits" not in header


@pytest.mark.parametrize(
    ("option", "word"),
    [("c.prefix=a-b", "a_b"), ("c.variants=sse9", "sse9"), ("c.variant=dsp", "variant")],
)
def test_bad_options_say_what_would_do(tmp_path, option, word):
    with pytest.raises(RecipeError, match=word):
        convert(tmp_path / "b", sets=[option])
    assert not (tmp_path / "b").exists()


def test_without_a_compiler_it_says_so(copy, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(ToolError, match="no C compiler"):
        copy.session("c")


def test_what_the_compiler_says_is_passed_on(copy):
    path = copy.folder / "c" / "digits.c"
    path.write_text(path.read_text() + "\nthis is not C\n")
    with pytest.raises(ToolError, match=r"not C|unknown type name"):
        copy.session("c")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"layers": 3}'])
def test_a_damaged_report_is_refused(copy, text):
    (copy.folder / "c" / "digits.json").write_text(text)
    with pytest.raises(InputError, match=r"digits\.json"):
        copy.session("c")


def test_a_missing_file_is_refused(copy):
    (copy.folder / "c" / "digits.c").unlink()
    with pytest.raises(InputError, match="missing"):
        copy.session("c")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 8, 8), np.int8),
        np.zeros((1, 1, 8, 8), np.int8),
        np.zeros((1, 8, 8, 1), np.int16),
        np.zeros((2, 8, 8, 1), np.int8),
    ],
)
def test_inputs_that_do_not_fit_never_reach_the_code(bundle, array):
    with pytest.raises(InputError):
        bundle.session("c").run({"image": array})


def test_an_unknown_input_is_named(bundle):
    with pytest.raises(InputError, match="'picture'"):
        bundle.session("c").run({"picture": np.zeros((1, 8, 8, 1), np.int8)})


def test_an_unknown_runtime_is_refused(bundle):
    with pytest.raises(RecipeError, match="does not run"):
        bundle.session("c", runtime="riscv")


def test_measurements_tell_arena_and_latency(bundle):
    artifact = bundle.artifact("c")
    found = bundle.opener(artifact).measure(artifact, bundle.folder)
    names = [figure.name for figure in found]
    assert names.count("arena_bytes") == 7
    assert all(figure.value > 0 for figure in found)
    assert "latency_ms" in names


def test_lineages_end_in_plain_c():
    assert lineage("vnni") == ("vnni", "avx2", "portable")
    assert lineage("mve") == ("mve", "dsp", "portable")
    assert lineage("portable") == ("portable",)
