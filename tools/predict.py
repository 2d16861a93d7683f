"""Depth, flow, motion, intrinsics and a page to look at: tools/predict.py --input=VIDEO --output_dir=DIR"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("predict")
