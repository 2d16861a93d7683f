"""Trains GLNet: python tools/train.py --dataset=video --data_dir=VIDEOS --run_dir=runs/mine"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("train")
