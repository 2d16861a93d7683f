"""Trains GLNet: python tools/train.py --flagfile=configs/paper.flags --data_dir=VIDEOS --run_dir=runs/paper"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("train")
