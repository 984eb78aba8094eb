"""Forecasts: what a worker will run out of before long, and how often such words have come true."""

from events.forecast import Resource
from recovery.forecasts.errors import BLOCK, Attempts, Block, FarmAttempts, Worse
from recovery.forecasts.gauges import Disk, LoopLag, Memory
from recovery.forecasts.predictor import Outlook, Predictor
from recovery.forecasts.trend import BEATS_PER_SAMPLE, SAMPLES_MAX, Sample, Trend

__all__ = [
    "BEATS_PER_SAMPLE",
    "BLOCK",
    "PREDICTORS",
    "SAMPLES_MAX",
    "Attempts",
    "Block",
    "Disk",
    "FarmAttempts",
    "LoopLag",
    "Memory",
    "Outlook",
    "Predictor",
    "Sample",
    "Trend",
    "Worse",
]

PREDICTORS: dict[Resource, Predictor] = {one.resource: one for one in (Memory(), Disk(), LoopLag())}
"""Of what the gauges show to run out, the most urgent first. (`recovery.forecasts.errors` foresees the rest.)"""
