"""GLNet: depth, optical flow, camera motion and intrinsics from monocular video, learned without labels."""

__version__ = "0.1.0"
