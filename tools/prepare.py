"""Prepares data for training: python tools/prepare.py --dataset=video --data_dir=VIDEOS --output_dir=OUT"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("prepare")
