"""What a model predicts for the frames of a data source, in windows over the videos that its snippets make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from glnet_tf.config import DataConfig
from glnet_tf.data.source import Source
from glnet_tf.inference.frame_errors import Errors, frame_errors
from glnet_tf.inference.frame_prediction import window_predictions
from glnet_tf.inference.predictor import Predictor
from glnet_tf.inference.snippets import SnippetReader
from glnet_tf.inference.windows import Window, windows
from glnet_tf.refinement.refiner import Refined
from glnet_tf.structures import FRAMES, MIDDLE, FramePrediction, GroundTruth

# The objective and its terms against the iterations, by part of the refinement and name.
Histories = dict[str, dict[str, list[float]]]


class SourcePrediction(NamedTuple):
    """What is predicted for a frame of a data source.

    Attributes:
      label: SCENE/FRAME.
      path: name of the uninterrupted run of frames in whose world its pose is: SCENE, or SCENE_FRAME after a gap.
      number: of the snippet whose middle it is; None at the ends of a scene.
      frame: the prediction.
      given_intrinsics: [3, 3] K of the source in pixels of the frame; None if it is not calibrated.
      errors: of every stage; empty where the truth is not known, or was not asked for.
      histories: once for every window.
    """

    label: str
    path: str
    number: int | None
    frame: FramePrediction
    given_intrinsics: np.ndarray | None
    errors: Errors
    histories: Histories


class Predecessor(NamedTuple):
    """What the prediction of a frame needs of the one before: its path, and camera to world, [4, 4], after it."""

    path: str
    next_pose: np.ndarray


class Place(NamedTuple):
    """A frame of a source.

    Attributes:
      label: SCENE/FRAME.
      path: of the run that it is in.
      previous: label of the frame before it in the run; empty where the run begins.
      snippet, position: number of a snippet that shows it, and as which of its three frames.
    """

    label: str
    path: str
    previous: str
    snippet: int
    position: int

    def truth(self, source: Source) -> GroundTruth | None:
        """Returns what the source knows about the frame: of the middle of a snippet only."""
        return source.ground_truth(self.snippet) if self.position == MIDDLE else None


def predict_source(
    predictor: Predictor,
    source: Source,
    data: DataConfig,
    indices: Sequence[int],
    done: Mapping[str, Predecessor] | None = None,
    with_errors: bool = False,
) -> Iterator[list[SourcePrediction]]:
    """Yields what is predicted for the middle frames of snippets, a batch of windows at a time.

    Snippets that follow each other are one video, which windows cover. In windows of three frames every snippet is seen
    by itself. The first and last frame of a scene, in the middle of no snippet, are predicted beside their neighbours.
    A window with an image that cannot be decoded is left out.

    Args:
      predictor: whose `refinement` says how many frames a window has, and how it is refined.
      source: from open_source.
      data: windows in a batch, and what it says about reading the snippets.
      indices: numbers of the snippets.
      done: by label, what was predicted before: it is left out.
      with_errors: whether the errors of every stage are found where the truth is known.
    """
    config, before = predictor.refinement, dict(done or {})
    reader = SnippetReader(predictor.model, predictor.architecture, source, data, config.flow_scale)
    todo = [
        x
        for x in source_windows(source, indices, config.window)
        if not {place.label for place in own(x)} <= before.keys()
    ]
    for length, group in itertools.groupby(todo, key=lambda window: len(window.frames)):
        # A snippet by itself may refine its own K.
        refiner = predictor.refiner(length, reader.size, own_intrinsics=config.window == FRAMES)
        by_first = {window.frames[1].snippet: window for window in group}
        for snippet in reader.batches([[place.snippet for place in x.frames[1:-1]] for x in by_first.values()]):
            members = [by_first[int(index)] for index in snippet.index]
            known = with_errors and any(place.truth(source) for window in members for place in own(window))
            # With the truth at hand, what each of two parts does alone is measured too; before pft changes parameters.
            alone = refiner(snippet, outputs_only=True) if known and config.refine == "both" else None
            refined = refiner(snippet)
            yield [
                frame
                for member, window in enumerate(members)
                for frame in _of_window(source, window, refined, alone, member, before, known)
            ]


def _of_window(
    source: Source,
    window: Window[Place],
    refined: Refined,
    alone: Refined | None,
    member: int,
    before: dict[str, Predecessor],
    with_errors: bool,
) -> Iterator[SourcePrediction]:
    """What a member of a batch says about the frames that are its own; `before` gets to know them."""
    stages = list(zip((stage.name for stage in refined.stages), window_predictions(refined, member)))
    if alone is not None:
        stages.insert(-1, ("oft", window_predictions(alone, member)[-1]))
    histories = histories_of(refined, member)
    for number in range(window.first, window.last):
        place = window.frames[number]
        if place.label in before:
            continue
        images, given, _ = source.load(tf.constant(place.snippet, tf.int64))
        previous = before.get(place.previous)
        if previous is None:
            # What comes before could not be decoded, unless nothing does.
            path = f"{place.path}_{place.label.rpartition('/')[2]}" if place.previous else place.path
            previous = Predecessor(path, np.eye(4))
        image = images[place.position].numpy()
        frames = [(name, stage.at(number, image, previous.next_pose)) for name, stage in stages]
        initial, frame = frames[0][1], frames[-1][1]
        truth = place.truth(source) if with_errors else None
        before[place.label] = Predecessor(previous.path, frame.next_pose)
        yield SourcePrediction(
            label=place.label,
            path=previous.path,
            number=place.snippet if place.position == MIDDLE else None,
            frame=frame if len(refined.stages) == 1 else frame._replace(initial=initial),
            given_intrinsics=given.numpy() if np.any(given) else None,
            errors={} if truth is None else {name: frame_errors(truth, x) for name, x in frames},
            histories=histories,
        )
        histories = {}


def source_windows(source: Source, indices: Sequence[int], length: int) -> Iterator[Window[Place]]:
    """Yields windows of so many frames over the videos that snippets make, see predict_source."""
    middles = {source.label(index) for index in range(len(source))}
    paths: set[str] = set()
    run: list[int] = []
    for index, following in zip(indices, [*indices[1:], None]):
        run.append(index)
        if following is not None and source.labels(index)[1:] == source.labels(following)[:2]:
            continue
        scene, _, name = source.label(run[0]).rpartition("/")
        path = f"{scene}_{name}" if scene in paths else scene
        paths.add(path)
        places = [(run[0], 0), *((number, MIDDLE) for number in run), (run[-1], 2)]
        labels = [source.labels(number)[position] for number, position in places]
        # The ends are the run's own unless other snippets show them in their middle.
        first, last = labels[0] in middles, labels[-1] in middles
        frames = [
            Place(label, path, previous, *place)
            for label, previous, place in zip(labels, ["", "" if first else labels[0], *labels[1:]], places)
        ]
        for window in windows(frames, length, overlap=2 if length == FRAMES else 1):
            window = window._replace(
                first=max(window.first, int(first and window.frames[0] is frames[0])),
                last=min(window.last, len(window.frames) - int(last and window.frames[-1] is frames[-1])),
            )
            if own(window):
                yield window
        run = []


def own(window: Window[Place]) -> list[Place]:
    """Returns the frames that are a window's to predict."""
    return window.frames[window.first : window.last]


def histories_of(refined: Refined, member: int) -> Histories:
    """Returns the objective and its terms against the iterations of a member of a batch, if it was tried."""
    if member not in refined.tried:
        return {}
    column = refined.tried.index(member)
    return {
        part: {
            name: [round(float(x), 6) for x in values[:, column]]
            for name, values in (("total", history.total), *history.report._asdict().items())
        }
        for part, history in (("pft", refined.pft), ("oft", refined.oft))
        if history is not None
    }
