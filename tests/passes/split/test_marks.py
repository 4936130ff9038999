"""What a model that is cut in two carries in its metadata."""

from __future__ import annotations

import pytest

from intaglio.errors import InputError
from intaglio.passes.split.marks import SPLIT_KEY, get_wire, read_codec, set_wire, write_codec
from tests.passes.split.split_models import residual, with_codec


def test_what_is_written_is_read():
    model = residual()
    assert read_codec(model) is None
    assert get_wire(model) is None
    _, specification = with_codec(residual(), ("stem",))
    write_codec(model, specification)
    set_wire(model, ["codes", "ranges"])
    assert read_codec(model) == specification
    assert get_wire(model) == ("codes", "ranges")


@pytest.mark.parametrize("text", ["", "{}", '{"version": 1, "features": []}'])
def test_a_damaged_codec_is_an_error_of_the_file(text):
    model = residual()
    model.metadata_props[SPLIT_KEY] = text
    with pytest.raises(InputError, match="damaged") as caught:
        read_codec(model)
    assert caught.value.remedy
