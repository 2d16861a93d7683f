"""Exports a trained run for serving: python tools/export.py --run_dir=RUN --output_dir=DIR [--format=...]"""

from glnet_tf.cli import run_command

if __name__ == "__main__":
    run_command("export")
