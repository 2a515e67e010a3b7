"""Predictors of latency: per device from measured blocks, and from any table of measured models."""

from surrogate.device_predictor import DevicePredictor
from surrogate.latency_predictor import LatencyPredictor
from surrogate.metrics import PredictionErrors, prediction_errors
from surrogate.transfer import Comparison

__all__ = ["Comparison", "DevicePredictor", "LatencyPredictor", "PredictionErrors", "prediction_errors"]
