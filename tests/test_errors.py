"""The form of errors, their exit codes, and that they travel between processes."""

from __future__ import annotations

import pickle

import pytest

from megatron_fugaku import errors
from megatron_fugaku.errors import ConfigError, MegatronFugakuError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MegatronFugakuError)]


def test_exit_codes_are_part_of_the_interface():
    assert {kind.__name__: kind.exit_code for kind in KINDS} == {
        "MegatronFugakuError": 1, "ConfigError": 2, "EnvironmentError": 3, "PlanError": 4, "PatchError": 5,
        "CommError": 6, "DataError": 7, "CheckpointError": 8, "LaunchError": 9, "TrainingError": 10,
    }


@pytest.mark.parametrize(("parts", "message"), [
    (("lr is 0", "nothing would be learnt", "raise it", "optimizer.lr"),
     "lr is 0. Nothing would be learnt. Raise it. [optimizer.lr]"),
    (("lr is 0.", "nothing would be learnt.", "raise it."), "lr is 0. Nothing would be learnt. Raise it."),
    (("unknown key x", "it would do nothing", "did you mean y?", "x"),
     "unknown key x. It would do nothing. Did you mean y? [x]"),
    (("rich is missing", "", "pip install rich"), "rich is missing. pip install rich."),
    (("x", "mfugaku data writes it", "make test"), "x. mfugaku data writes it. make test."),
    (("x", "min_lr is above lr", "48x6x48 is the torus"), "x. min_lr is above lr. 48x6x48 is the torus."),
    (("x",), "x."),
])
def test_messages_are_sentences_with_the_key_last(parts, message):
    assert str(MegatronFugakuError(*parts)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind):
    error = pickle.loads(pickle.dumps(kind("what", "why", "fix", "where")))
    assert type(error) is kind
    assert (error.what, error.why, error.fix, error.where) == ("what", "why", "fix", "where")
    assert str(error) == "what. why. fix. [where]"  # single words may be names


def test_they_are_not_caught_as_ordinary_errors():
    assert not issubclass(ConfigError, (ValueError, OSError))
    assert not issubclass(errors.EnvironmentError, OSError)
