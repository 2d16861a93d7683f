"""A command line that is none is refused in one line."""

from __future__ import annotations

import pytest
from absl import flags

from glnet_tf.cli import flagging
from glnet_tf.config import DataConfig
from glnet_tf.errors import ConfigError


@pytest.fixture
def values(monkeypatch):
    values = flags.FlagValues()
    flagging.define(DataConfig, values=values)
    flags.DEFINE_string("flagfile", "", "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    return values


def test_flags_and_flagfiles_that_are_none(values, tmp_path):
    (tmp_path / "good.flags").write_text("# of a run\n--noflip\n--batch_size=7\n")
    assert flagging.parse(["tool", f"--flagfile={tmp_path / 'good.flags'}", "rest"]) == ["tool", "rest"]
    assert not values.flip and values.batch_size == 7
    (tmp_path / "bad.flags").write_bytes(b"--data_dir=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"bad.flags: .*utf-8.* a flagfile in UTF-8"):
        flagging.parse(["tool", f"--flagfile={tmp_path / 'bad.flags'}"])
    with pytest.raises(ConfigError, match="--noflip=3 does not take an argument: expected --NAME=VALUE"):
        flagging.parse(["tool", "--noflip=3"])
