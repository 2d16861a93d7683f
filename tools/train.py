"""Trains GLNet: python tools/train.py --flagfile=configs/street_lite.flags --run_dir=runs/street_lite"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("train")
