"""Training on several devices or machines: each replica computes its part of a batch; one worker, the chief, writes.

Every replica keeps a copy of the weights. The copies stay equal, as all of them make the same update. Only the step and
`Distribution.any` communicate: to read a weight, to validate or to save takes no other worker.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Callable

import tensorflow as tf

from glnet_tf.data.pipeline import Share
from glnet_tf.errors import ConfigError, DataError, WorkerError
from glnet_tf.parsing import parse_json
from glnet_tf.training.devices import prepare_gpus

EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": NUMBER}}'
# What TensorFlow raises in the others when a worker is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError)


class Distribution:
    """Who computes a step. With `multi_worker`, to be made before TensorFlow runs anything; waits for all workers.

    Args:
      kind: TrainingConfig.distribute.

    Attributes:
      chief: whether this process writes the run folder.

    Raises:
      ConfigError: TF_CONFIG is missing or cannot be used.
      WorkerError: the other workers cannot be reached.
    """

    def __init__(self, kind: str = "off") -> None:
        prepare_gpus()
        self._worker, self._workers = worker_and_workers() if kind == "multi_worker" else (0, 1)
        self._strategy: Any = None
        if kind == "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            self._strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
        elif kind == "multi_worker":
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        self._replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._mean = tf.function(self._mean_of_workers, autograph=False)
        self.chief = self._worker == 0

    def share(self, batch_size: int) -> Share:
        """Returns this worker's part of a batch; raises ConfigError if the replicas cannot share it equally."""
        if batch_size % self._replicas:
            raise ConfigError(
                f"--batch_size={batch_size}: expected a multiple of {self._replicas}, the number of devices that share "
                f"it; give --batch_size={-(-batch_size // self._replicas) * self._replicas}"
            )
        return Share(self._worker, self._workers)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Where the model and the optimizers make their variables, so that each replica has a copy."""
        if self._strategy is None:
            yield
            return
        with self._strategy.scope(), tf.variable_creator_scope(_equal_copies):
            yield

    def run(self, function: Callable[[Any], Any], batch: Any) -> Any:
        """Returns what `function` makes of each replica's part of this worker's batch; it must be equal for all."""
        if self._strategy is None:
            return function(batch)
        local = self._replicas // self._workers

        def of_replica() -> Any:
            number = tf.distribute.get_replica_context().replica_id_in_sync_group % local
            return function(tf.nest.map_structure(lambda x: tf.reshape(x, [local, -1, *x.shape[1:]])[number], batch))

        return self._first(self._strategy.run(of_replica))

    def averaged(self, values: Any) -> Any:
        """Returns tensors (or None) averaged over all replicas; to be called by a function of `run`."""
        if self._strategy is None:
            return values
        present = [value for value in tf.nest.flatten(values) if value is not None]
        means = iter(tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, present))
        return tf.nest.map_structure(lambda value: None if value is None else next(means), values)

    def any(self, flag: bool) -> bool:
        """Returns whether any worker says so: to be asked by all of them at the same step, and the same for all."""
        return flag if self._workers == 1 else bool(self._mean(tf.constant(float(flag))) > 0)

    def check_resumed(self, step: int, run_dir: str | os.PathLike) -> None:
        """Raises a WorkerError in the workers whose step is not that of the others."""
        if self._workers > 1 and float(self._mean(tf.constant(float(step)))) != step:
            raise WorkerError(
                f"{run_dir}: worker {self._worker} resumes at step {step}, others do not; expected one folder that all "
                "workers share; give such a --run_dir"
            )

    def _mean_of_workers(self, value: tf.Tensor) -> tf.Tensor:
        # The identity gives the value a device, which the reduction asks for.
        return self._first(self._strategy.run(lambda: self.averaged(tf.identity(value))))

    def _first(self, results: Any) -> Any:
        """The results of this worker's first replica."""
        return tf.nest.map_structure(lambda x: self._strategy.experimental_local_results(x)[0], results)


@contextlib.contextmanager
def joined(kind: str) -> Iterator[Distribution]:
    """Takes part in a run: makes the Distribution, lets no worker leave before all are done, reports one that is lost.

    Raises:
      ConfigError, WorkerError: as Distribution does.
      WorkerError: another worker has ended.
    """
    try:
        distribution = Distribution(kind)
        yield distribution
        distribution.any(False)
    except LOST as error:
        if kind != "multi_worker":
            raise
        raise WorkerError(
            f"another worker has ended or cannot be reached ({type(error).__name__}); start all workers again with the "
            "same command: it goes on from the last checkpoint"
        ) from None


def worker_and_workers() -> tuple[int, int]:
    """Returns which worker TF_CONFIG says that this process is, and how many there are.

    Raises:
      ConfigError: TF_CONFIG is missing or malformed.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = parse_json(text, {"cluster": {"worker": [str]}, "task": {"type": str, "index": int}})
        workers, task = config["cluster"]["worker"], config["task"]
        if list(config["cluster"]) == [task["type"]] and task["index"] in range(len(workers)):
            return task["index"], len(workers)
    except DataError:
        pass
    raise ConfigError(f"TF_CONFIG is {text or 'not set'}: --distribute=multi_worker expected {EXAMPLE}")


def _equal_copies(next_creator: Callable[..., tf.Variable], **kwargs: Any) -> tf.Variable:
    """Makes batch statistics such that a change averages the replicas' and every copy holds the result.

    Keras would have the replicas' differ and be averaged whenever they are read, which then took all workers.
    """
    if kwargs.get("synchronization") == tf.VariableSynchronization.ON_READ:
        kwargs["synchronization"] = tf.VariableSynchronization.AUTO
    return next_creator(**kwargs)
