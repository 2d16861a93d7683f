"""The forecast: once, after the first steps, from the time that those took."""

from __future__ import annotations

from glnet_tf import progress
from glnet_tf.progress import COMPILING, Forecast, progress_bar


def test_the_first_steps_forecast_the_rest(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress_bar(1000, "training", "step", done=400) as bar:
        forecast = Forecast(bar)
        for number in range(50):
            now[0] += 30.0 if number < 2 else 1.5
            forecast.step()
            bar.update()
    forecasts = [line for line in capsys.readouterr().err.splitlines() if "a step" in line]
    assert len(forecasts) == 1 and "1.50 s a step: about 15 min for the steps that remain" in forecasts[0]


def test_a_bar_says_that_graphs_are_compiled_until_the_first_unit_is_done(capsys):
    with progress_bar(2, "predicting", "frame", compiles=True) as bar:
        assert COMPILING in capsys.readouterr().err
        bar.update()
        bar.refresh()
        assert COMPILING not in capsys.readouterr().err
