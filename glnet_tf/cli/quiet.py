"""TensorFlow is imported without its remarks on the machine, which no setting of its own silences any more."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

# Before TensorFlow is imported: what it would say to nobody's use; and its Keras is tf-keras, the only one used here.
SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "1"}


class _QuietImport(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def quietly(module: ModuleType) -> None:
                kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                try:
                    execute(module)
                finally:
                    os.dup2(kept, 2)
                    os.close(kept)
                    os.close(nowhere)

            spec.loader.exec_module = quietly  # type: ignore[method-assign]
        return spec


def quiet_tensorflow() -> None:
    """Has the next import of TensorFlow, wherever it is, write nothing to stderr; errors are raised as ever."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietImport())
