"""The package's import directions: one table of who may import whom, held against every module's syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "glnet_tf"

BASE = {"config", "errors", "structures"}
WORK = BASE | {"files", "folders", "parsing", "progress", "optimization"}
# What each part of the package may import from the rest of it; a part may always import from itself. A dotted name
# opens one module only.
ALLOWED = {
    "__init__": {"models.glnet", "training.weights"},
    "errors": set(),
    "config": {"errors"},
    "structures": {"errors"},
    "files": {"errors", "parsing"},
    "folders": {"errors", "files"},
    "parsing": {"errors"},
    "progress": {"errors"},
    "optimization": set(),
    "geometry": BASE,
    "losses": BASE | {"geometry"},
    "models": BASE | {"geometry"},
    "metrics": {"errors", "config"},
    "street": BASE | {"geometry"},
    "data": WORK | {"geometry.camera", "street"},
    "visualization": BASE | {"files", "progress"},
    "training": WORK | {"geometry", "models", "losses", "data", "metrics", "visualization"},
    "refinement": WORK | {"geometry", "models", "losses"},
    "inference": WORK | {"geometry", "models", "losses", "data", "metrics", "visualization", "refinement", "training"},
    "evaluation": WORK | {"geometry", "data", "metrics", "visualization", "inference"},
    "experiments": WORK
    | {"geometry", "models", "losses", "data", "metrics", "visualization", "training"}
    | {"refinement", "inference", "evaluation", "cli.calling"},
    "cli": WORK | {"models", "data", "metrics", "visualization", "training", "inference", "evaluation"},
}
# Where in the package a third-party module may be imported; every other module may be imported anywhere.
CONFINED = {
    "absl.flags": {"cli"},
    "tools": set(),
    "tensorflow_graphics": {"geometry.graphics"},
    "tensorflow_addons": {"geometry.sampling"},
}
# Metrics are NumPy only: they must not depend on what they measure.
BARRED = {"metrics": {"tensorflow", "keras", "tf_keras", "cv2", "matplotlib", "PIL"}}


def covers(name: str, module: str) -> bool:
    """Whether `module` is `name` or lies inside it."""
    return module == name or module.startswith(name + ".")


def imported_modules(module: str, source: str) -> list[tuple[int, str]]:
    """Line and absolute dotted name of everything that a module of glnet_tf imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = f"glnet_tf.{module}".split(".")[: -node.level] if node.level else []
            origin = ".".join(parents + ([node.module] if node.module else []))
            found += [(node.lineno, f"{origin}.{alias.name}") for alias in node.names]
    return found


def violations(module: str, source: str) -> list[str]:
    """The imports of one module, named without its leading `glnet_tf.`, that the tables do not permit."""
    part, wrong = module.split(".")[0], []
    for line, name in imported_modules(module, source):
        inner = name[len("glnet_tf.") :] if covers("glnet_tf", name) else None
        if inner is not None:
            permitted = any(covers(other, inner) for other in ALLOWED[part] | {part})
        else:
            places = [allowed for confined, allowed in CONFINED.items() if covers(confined, name)]
            permitted = all(any(covers(place, module) for place in allowed) for allowed in places)
            permitted = permitted and not any(covers(barred, name) for barred in BARRED.get(part, ()))
        if not permitted:
            wrong.append(f"{module}, line {line}: imports {name}")
    return wrong


def dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def test_every_module_imports_in_the_permitted_direction():
    modules = sorted(PACKAGE.rglob("*.py"))
    assert modules
    wrong = [line for path in modules for line in violations(dotted_name(path), path.read_text(encoding="utf-8"))]
    assert not wrong, "\n".join(wrong)


def test_every_part_of_the_package_has_its_row():
    parts = {dotted_name(path).split(".")[0] for path in PACKAGE.rglob("*.py")}
    assert parts <= set(ALLOWED)


def test_the_table_has_no_cycle():
    remaining = {part: {name.split(".")[0] for name in others} for part, others in ALLOWED.items()}
    while remaining:
        leaves = {part for part, others in remaining.items() if not others & set(remaining)}
        assert leaves, f"a cycle among {sorted(remaining)}"
        remaining = {part: others for part, others in remaining.items() if part not in leaves}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("geometry.camera", "from glnet_tf.losses.structure import structure_loss"),
        ("geometry.camera", "from ..losses import structure"),
        ("geometry.camera", "import glnet_tf.models.glnet"),
        ("geometry.camera", "import tensorflow_addons as tfa"),
        ("models.glnet", "from glnet_tf.losses import epipolar"),
        ("data.pipeline", "from glnet_tf.geometry.cameras import project"),
        ("data.pipeline", "def late():\n    from glnet_tf.models import glnet"),
        ("losses.objective", "from tensorflow_graphics.rendering.camera import perspective"),
        ("training.step", "from absl import flags"),
        ("training.step", "from tools import train"),
        ("training.step", "from glnet_tf import inference"),
        ("metrics.depth", "import tensorflow as tf"),
        ("metrics.depth", "from glnet_tf.structures import Snippet"),
        ("config", "from glnet_tf import *"),
    ],
)
def test_a_wrong_import_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("geometry.graphics", "from tensorflow_graphics.rendering.camera import perspective"),
        ("geometry.sampling", "from tensorflow_addons.image import resampler"),
        ("geometry.rigid", "from .camera import project"),
        ("models.glnet", "from glnet_tf.geometry import camera, transform"),
        ("losses.structure", "from glnet_tf.geometry.camera import unproject"),
        ("training.step", "from absl import logging"),
    ],
)
def test_a_permitted_import_passes(module, source):
    assert violations(module, source) == []


@pytest.mark.slow
def test_the_first_prediction_waits_for_no_drawing_library():
    late = "{'trimesh', 'matplotlib.figure'}"
    seen = f"import sys, glnet_tf.cli.flagging, glnet_tf.inference.refine; print({late} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
