"""Predictors of latency: per device from measured blocks, and from any table of measured models."""

from surrogate.blocks.device_predictor import DevicePredictor
from surrogate.metrics import PredictionErrors, prediction_errors
from surrogate.tables.latency_predictor import LatencyPredictor
from surrogate.tables.transfer import Comparison

__all__ = ["Comparison", "DevicePredictor", "LatencyPredictor", "PredictionErrors", "prediction_errors"]
