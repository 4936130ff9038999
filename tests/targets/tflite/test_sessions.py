"""Running TFLite files in every runtime installed here, and in none of them in this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import InputError, RecipeError, ToolError
from intaglio.targets.base import TensorSpec
from intaglio.targets.tflite.runtimes import installed_runtimes, known_runtimes, runtimes_for
from intaglio.targets.tflite.sessions import TfliteSession
from tests.targets.tflite import small_files

RUNTIMES = installed_runtimes()
LITERT = [name for name in RUNTIMES if name != "tflm"]
each_runtime = pytest.mark.parametrize("runtime", RUNTIMES)
needs_micro = pytest.mark.skipif("tflm" not in RUNTIMES, reason="needs tflite_micro")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@pytest.fixture
def write(tmp_path):
    def write_file(data: bytes) -> Path:
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        return path

    return write_file


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat, threads = Path(f"/proc/{pid}/stat"), Path(f"/proc/{pid}/task")
    # A process is a zombie as soon as its first thread is; its parent hears of it after the last.
    try:
        return ") Z " not in stat.read_text() or len(list(threads.iterdir())) > 1
    except FileNotFoundError:
        return not Path("/proc/self").exists()


def wait_until_gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


@each_runtime
def test_outputs_come_by_tensor_name(write, runtime):
    x = np.array([[1.0, -2.0, 0.5]], np.float32)
    with TfliteSession(write(small_files.chain_file()), runtime) as session:
        result = session.run({"x": x})
    assert list(result.outputs) == ["y"]
    np.testing.assert_array_equal(result.outputs["y"], 2 * x * x)
    assert result.inner == {}


@each_runtime
def test_inner_tensors_come_by_name_and_unknown_ones_are_left_out(write, runtime):
    x = np.array([[1.0, -2.0, 0.5]], np.float32)
    with TfliteSession(write(small_files.chain_file()), runtime) as session:
        result = session.run({"x": x}, inner=["nothing", "doubled", "y"])
        plain = session.run({"x": x})
    np.testing.assert_array_equal(result.inner["doubled"], 2 * x)
    np.testing.assert_array_equal(result.inner["y"], plain.outputs["y"])
    assert set(result.inner) == {"doubled", "y"}


@each_runtime
def test_many_samples_give_what_each_gives_alone(write, runtime):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((700, 1, 3)).astype(np.float32)
    with TfliteSession(write(small_files.chain_file()), runtime) as session:
        many = session.run_many({"x": x}, inner=["doubled"])
        alone = [session.run({"x": sample}).outputs["y"] for sample in x[::100]]
    assert many.outputs["y"].shape == (700, 1, 3)
    np.testing.assert_array_equal(many.outputs["y"], 2 * x * x)
    np.testing.assert_array_equal(many.inner["doubled"], 2 * x)
    np.testing.assert_array_equal(many.outputs["y"][::100], np.stack(alone))


@each_runtime
def test_inputs_and_outputs_of_rank_zero(write, runtime):
    with TfliteSession(write(small_files.scalar_file()), runtime) as session:
        result = session.run({"a": np.float32(2), "b": np.float32(0.5)})
    assert result.outputs["sum"].reshape(-1).tolist() == [2.5]


@each_runtime
def test_a_tensor_may_be_an_output_twice(write, runtime):
    model = small_files.unpack(small_files.chain_file())
    graph = model.subgraphs[0]
    graph.outputs = [graph.outputs[0], graph.outputs[0]]
    with TfliteSession(write(small_files.pack(model)), runtime) as session:
        result = session.run({"x": np.ones((1, 3), np.float32)})
    assert list(result.outputs) == ["y"]
    np.testing.assert_array_equal(result.outputs["y"], np.full((1, 3), 2, np.float32))


@each_runtime
def test_a_variable_starts_anew_for_every_sample(write, runtime):
    x = np.ones((1, 3), np.float32)
    with TfliteSession(write(small_files.memory_file()), runtime) as session:
        first = session.run({"x": x}).outputs["y"]
        again = session.run_many({"x": np.stack([x] * 3)}).outputs["y"]
    assert np.abs(first).max() > 0
    np.testing.assert_array_equal(again, np.stack([first] * 3))


@pytest.mark.parametrize("runtime", LITERT)
def test_an_open_batch_may_have_any_size_in_litert(write, runtime):
    with TfliteSession(write(small_files.chain_file(open_batch=True)), runtime) as session:
        for batch in (1, 4, 2):
            x = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3)
            result = session.run({"x": x}, inner=["doubled"])
            np.testing.assert_array_equal(result.outputs["y"], 2 * x * x)
            np.testing.assert_array_equal(result.inner["doubled"], 2 * x)


@needs_micro
def test_an_open_batch_has_the_stated_size_in_tflite_micro(write):
    with TfliteSession(write(small_files.chain_file(open_batch=True)), "tflm") as session:
        assert session.run({"x": np.ones((1, 3), np.float32)}).outputs["y"].shape == (1, 3)
        with pytest.raises(InputError, match=r"\[4, 3\]"):
            session.run({"x": np.ones((4, 3), np.float32)})


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "missing inputs ['x']"),
        ({"x": np.ones((1, 3), np.float32), "z": np.ones(1)}, "unknown inputs ['z']"),
        ({"x": np.ones((1, 4), np.float32)}, "float32[1, 4]"),
        ({"x": np.ones(3, np.float32)}, "it must be float32[1, 3]"),
        ({"x": np.ones((1, 3))}, "float64[1, 3]"),
    ],
)
def test_wrong_inputs_are_named(write, inputs, told):
    with TfliteSession(write(small_files.chain_file()), RUNTIMES[0]) as session:
        with pytest.raises(InputError) as caught:
            session.run(inputs)
        assert told in str(caught.value)
        # The session is none the worse for it.
        assert session.run(session.sample()).outputs["y"].shape == (1, 3)


def test_no_samples_are_refused(write):
    with (
        TfliteSession(write(small_files.chain_file()), RUNTIMES[0]) as session,
        pytest.raises(InputError, match="0 samples"),
    ):
        session.run_many({"x": np.ones((0, 1, 3), np.float32)})


def test_the_names_of_a_description_replace_those_of_the_file(write):
    path = write(small_files.chain_file())
    specs = (
        [TensorSpec("picture", (1, 3), "float32")],
        [TensorSpec("square", (1, 3), "float32")],
    )
    x = np.ones((1, 3), np.float32)
    with TfliteSession(path, RUNTIMES[0], specs=specs) as session:
        result = session.run({"picture": x}, inner=["square"])
    np.testing.assert_array_equal(result.outputs["square"], 2 * x)
    np.testing.assert_array_equal(result.inner["square"], 2 * x)
    with pytest.raises(InputError, match="1 inputs or outputs where 2"):
        TfliteSession(path, RUNTIMES[0], specs=(specs[0] * 2, specs[1]))


def test_an_unknown_runtime_is_refused_with_the_known_ones(write):
    with pytest.raises(RecipeError, match="litert-reference"):
        TfliteSession(write(small_files.chain_file()), "onnxruntime")


def test_a_runtime_that_is_not_installed_says_how_to_get_it(write):
    missing = [r for r in known_runtimes() if r.name not in RUNTIMES]
    if not missing:
        pytest.skip("every runtime is installed")
    with pytest.raises(ToolError, match="pip install"):
        TfliteSession(write(small_files.chain_file()), missing[0].name)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError):
        TfliteSession(tmp_path / "absent.tflite", RUNTIMES[0])
    garbage = tmp_path / "garbage.tflite"
    for data in (b"", b"PK\3\4 no model", os.urandom(5000), b"\x18\0\0\0TFL3" + bytes(100)):
        garbage.write_bytes(data)
        with pytest.raises(InputError):
            TfliteSession(garbage, RUNTIMES[0])


@each_runtime
def test_damaged_files_never_end_this_process(write, runtime):
    whole = small_files.dense_file()
    rng = np.random.default_rng(7)
    remedies, ran = [], 0
    for _ in range(8):
        data = bytearray(whole)
        for place in rng.integers(8, len(data), 3):
            data[place] = rng.integers(256)
        try:
            with TfliteSession(write(bytes(data)), runtime, timeout_s=20) as session:
                session.run(session.sample())
                ran += 1
        except (InputError, ToolError) as error:
            remedies.append(error.remedy)
    assert all(remedies)
    assert ran + len(remedies) == 8


@each_runtime
def test_a_file_that_the_runtime_refuses_is_told_in_its_own_words(write, runtime):
    model = small_files.unpack(small_files.chain_file())
    code = model.operatorCodes[0]
    custom = small_files.schema.BuiltinOperator.CUSTOM
    code.builtinCode = code.deprecatedBuiltinCode = custom
    code.customCode = b"Frobnicate"
    with pytest.raises(InputError) as caught:
        TfliteSession(write(small_files.pack(model)), runtime)
    assert runtime in str(caught.value)
    assert "CUSTOM" in str(caught.value) or "Frobnicate" in str(caught.value)
    assert "another runtime" in str(caught.value.remedy)


@each_runtime
def test_a_run_that_fails_is_told_in_the_runtime_s_own_words(write, runtime):
    with TfliteSession(write(small_files.bad_index_file()), runtime) as session:
        child = session.child.pid
        with pytest.raises(ToolError, match="GATHER"):
            session.run(session.sample())
        assert session.child.pid == child, "a failure is no crash"


@needs_micro
@needs_posix
def test_a_file_that_crashes_the_runtime_on_loading_is_an_error_with_the_signal(write):
    with pytest.raises(ToolError, match=r"tflm crashed on .*SIGSEGV") as caught:
        TfliteSession(write(small_files.memory_file(bias=False)), "tflm")
    assert caught.value.returncode == -signal.SIGSEGV
    assert caught.value.remedy


@needs_micro
@needs_posix
def test_a_file_that_crashes_the_runtime_when_run_is_an_error_with_the_signal(write):
    path = write(small_files.missing_weight_file())
    with TfliteSession(path, "tflm") as session:
        first = session.child.pid
        with pytest.raises(ToolError, match=r"SIG(SEGV|BUS)") as caught:
            session.run(session.sample())
        assert caught.value.returncode in (-signal.SIGSEGV, -signal.SIGBUS)
        assert caught.value.remedy
        # The session goes on in a new process.
        assert session.child.pid != first


@each_runtime
def test_a_run_without_end_is_stopped_in_time(write, runtime):
    with TfliteSession(write(small_files.endless_file()), runtime, timeout_s=20) as patient:
        # Loading takes longer than a run may here: only the run is to be cut short.
        patient.child._timeout_s = 0.5
        child = patient.child.pid
        start = time.monotonic()
        with pytest.raises(ToolError, match=r"within 0\.5 s"):
            patient.run({"x": np.zeros(1, np.int32)})
        assert time.monotonic() - start < 10
        assert not is_running(child)


@needs_posix
def test_a_child_that_is_killed_from_outside_is_replaced(write):
    x = np.ones((1, 3), np.float32)
    with TfliteSession(write(small_files.chain_file()), RUNTIMES[0]) as session:
        child = session.child.pid
        os.kill(child, signal.SIGKILL)
        assert wait_until_gone(child)
        np.testing.assert_array_equal(session.run({"x": x}).outputs["y"], 2 * x)
        assert session.child.pid != child


def test_the_child_ends_with_the_session(write):
    session = TfliteSession(write(small_files.chain_file()), RUNTIMES[0])
    closed = session.child.pid
    session.close()
    assert not is_running(closed)
    session = TfliteSession(write(small_files.chain_file()), RUNTIMES[0])
    forgotten = session.child.pid
    del session
    assert wait_until_gone(forgotten)


@needs_posix
@pytest.mark.parametrize("busy", [False, True])
def test_the_child_ends_when_its_parent_is_killed(write, busy):
    path = write(small_files.endless_file() if busy else small_files.chain_file())
    program = f"""
        import time
        from pathlib import Path
        from intaglio.targets.tflite.sessions import TfliteSession
        session = TfliteSession(Path({str(path)!r}), {RUNTIMES[0]!r})
        print(session.child.pid, flush=True)
        if {busy}:
            session.run(session.sample())
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    try:
        child = int(parent.stdout.readline())
        assert is_running(child)
        time.sleep(1.0)  # Until it is in the midst of the endless run.
        parent.kill()
        parent.wait()
        assert wait_until_gone(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@needs_posix
def test_an_interrupt_leaves_no_half_answer_behind(write):
    path = write(small_files.endless_file())
    program = f"""
        import signal, threading, os
        from pathlib import Path
        from intaglio.targets.tflite.sessions import TfliteSession
        signal.signal(signal.SIGINT, signal.default_int_handler)
        session = TfliteSession(Path({str(path)!r}), {RUNTIMES[0]!r})
        child = session.child.pid
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            session.run(session.sample())
        except KeyboardInterrupt:
            print("interrupted", session._child.alive)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["interrupted", "False"], done.stderr


def test_what_a_runtime_prints_on_stdout_does_not_disturb(write, monkeypatch, tmp_path):
    # Python imports this module in the child before anything else: a runtime that chatters.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, threading, time\n"
        "def chatter():\n"
        "    while sys.stdout is not sys.stderr:\n"
        "        time.sleep(0.001)\n"
        "    while True:\n"
        "        os.write(1, b'chatter\\n')\n"
        "        time.sleep(0.001)\n"
        "threading.Thread(target=chatter, daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    x = np.ones((1, 3), np.float32)
    said = ""
    with TfliteSession(write(small_files.chain_file()), RUNTIMES[0]) as session:
        for _ in range(50):
            np.testing.assert_array_equal(session.run({"x": x}).outputs["y"], 2 * x)
            said += session.child.said()
    assert "chatter" in said


def test_the_child_imports_no_onnx():
    program = (
        "import sys, intaglio.targets.tflite.worker, intaglio.targets.tflite.litert, "
        "intaglio.targets.tflite.micro\n"
        "heavy = {'onnx', 'onnx_ir', 'onnxruntime', 'ai_edge_litert', 'tflite_micro', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_asking_what_is_installed_imports_no_runtime():
    program = (
        "import sys\n"
        "from intaglio.targets.tflite.runtimes import installed_runtimes\n"
        "print(*installed_runtimes())\n"
        "print(sorted({'ai_edge_litert', 'tflite_micro', 'tflite_runtime'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [" ".join(RUNTIMES), "[]"]


def test_the_exact_runtime_of_a_profile_comes_first():
    for profile in ("tflm", "litert"):
        exact = [r for r in known_runtimes() if r.arithmetic == profile and r.name in RUNTIMES]
        found = runtimes_for(profile)
        assert sorted(name for name, _ in found) == sorted(RUNTIMES)
        assert found[: len(exact)] == [(r.name, profile) for r in exact]
        assert [pair[1] for pair in found if pair[1] == "float"] == [
            r.arithmetic for r in known_runtimes() if r.name in RUNTIMES and r.arithmetic == "float"
        ]


# Which runtime refuses which file of the zoo, and a word of what it says.
REFUSED = {
    ("audio_preprocessor_int8", "litert-reference"): "SignalWindow",
    ("audio_preprocessor_int8", "tflite-runtime"): "SignalWindow",
    ("audio_preprocessor_int8", "litert"): "SignalWindow",
    ("coral_mobilenet_v1_0.25_128_quant", "tflm"): "Hybrid models are not supported",
    ("person_detect", "litert-reference"): "quantized_dimension must be in range",
    ("person_detect", "tflite-runtime"): "quantized_dimension must be in range",
    ("person_detect", "litert"): "quantized_dimension must be in range",
    ("selfie_segmentation", "tflm"): "CUSTOM",
    ("selfie_segmentation", "litert-reference"): "Convolution2DTransposeBias",
    ("selfie_segmentation", "tflite-runtime"): "Convolution2DTransposeBias",
    ("ultraface_RFB-320_nopost", "tflm"): "RESHAPE",
}


@each_runtime
def test_zoo_files_run_or_are_refused_for_the_known_reason(zoo, runtime):
    for path in sorted(zoo.glob("*.tflite")):
        told = REFUSED.get((path.stem, runtime))
        if told is not None:
            with pytest.raises(InputError) as caught:
                TfliteSession(path, runtime)
            assert told in str(caught.value), path.stem
            continue
        with TfliteSession(path, runtime) as session:
            inputs = session.sample()
            plain = session.run(inputs)
            names = [tensor.name for tensor in session.table.tensors]
            found = session.run(inputs, inner=names)
        assert len(found.inner) >= 0.85 * len(names), path.stem
        for name, value in plain.outputs.items():
            np.testing.assert_array_equal(value, found.outputs[name], err_msg=path.stem)
            np.testing.assert_array_equal(value, found.inner[name], err_msg=path.stem)


@pytest.mark.skipif("tflite-runtime" not in RUNTIMES, reason="needs tflite_runtime")
def test_tensors_that_tflite_runtime_overwrites_are_left_out(zoo):
    path = zoo / "ic_resnet8_int8.tflite"
    with (
        TfliteSession(path, "tflite-runtime") as old,
        TfliteSession(path, "litert-reference") as new,
    ):
        names = [tensor.name for tensor in old.table.tensors]
        inputs = new.sample()
        first, second = (s.run(inputs, inner=names).inner for s in (old, new))
    assert len(second) - len(first) == 3, "the first operand of each ADD"
    differing = [n for n in first if not np.array_equal(first[n], second[n])]
    # The last layers: FULLY_CONNECTED rounds differently.
    assert set(differing) <= set(names[-2:])
