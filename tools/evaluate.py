"""Judges a run, or anyone's arrays, by a published protocol: python tools/evaluate.py --task=depth --run_dir=RUN"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("evaluate")
