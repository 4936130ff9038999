"""Telling what a file is that is not an ONNX model, so that the message can say so.

ONNX files have no magic number: a model is a bare protobuf message. What people pass by mistake
mostly has one, and naming it saves them the search.
"""

from __future__ import annotations

from intaglio.errors import InputError

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (4, b"TFL3", "a TFLite model", "convert it as it is: .tflite files are read, too"),
    (0, b"\x89HDF\r\n\x1a\n", "a Keras HDF5 file", "export the model with tf2onnx"),
    (0, b"\x80\x02", "a Python pickle (an old PyTorch checkpoint)", "use torch.onnx.export"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"\x93NUMPY", "a numpy array", "pass the model file, not the data"),
    (0, b"ORTM", "an onnxruntime ORT-format model", "use the .onnx file it was made from"),
    (4, b"ORTM", "an onnxruntime ORT-format model", "use the .onnx file it was made from"),
    (0, b"\x7fELF", "a program or library", "pass an ONNX model"),
    (0, b"\x89PNG", "a picture", "pass an ONNX model"),
    (0, b"\xff\xd8\xff", "a picture", "pass an ONNX model"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    (0, b"<?xml", "an XML file (OpenVINO IR?)", "export the model to ONNX"),
    (0, b"<!DOCTYPE", "a web page", "download the file itself, not the page about it"),
    (0, b"<html", "a web page", "download the file itself, not the page about it"),
)


def foreign_format(data: bytes) -> tuple[str, str] | None:
    """What ``data`` looks like, and what to do about it.

    Args:
        data: The first bytes of a file (1 KiB is enough).

    Returns:
        Description and remedy, or None when nothing known was recognized.
    """
    for offset, magic, what, remedy in _SIGNATURES:
        if data[offset : offset + len(magic)] == magic:
            return what, remedy
    if data[:4] == b"PK\x03\x04":
        if b"data.pkl" in data[:512]:
            return "a PyTorch checkpoint", "export the model with torch.onnx.export"
        if b".npy" in data[:512]:
            return "a numpy .npz archive", "pass the model file, not the data"
        return "a zip archive", "unpack it first"
    head = data.lstrip()[:1]
    if head in (b"{", b"[") and _is_text(data):
        return "a JSON text", "pass the binary .onnx file"
    if data.startswith((b"ir_version", b"graph {")):
        return "an ONNX model in text form", "convert it with onnx.parser or onnx.save first"
    return None


def refuse_foreign(data: bytes, path: str) -> None:
    """Raises when ``data`` is recognized as another format.

    Raises:
        InputError: The file is of another format; says which.
    """
    found = foreign_format(data)
    if found is not None:
        what, remedy = found
        raise InputError(f"{path} is not an ONNX model: it looks like {what}", remedy=remedy)


def _is_text(data: bytes) -> bool:
    try:
        data[:256].decode("ascii")
    except UnicodeDecodeError:
        return False
    return True
