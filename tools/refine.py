"""Refines the predictions of a trained model on a video or data set: python tools/refine.py --run_dir=RUN"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("refine")
