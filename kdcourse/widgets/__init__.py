"""Explorers for notebooks: a few controls, a picture, and what the picture shows in words; and a prediction to make
before an experiment. Nothing trains here."""

from kdcourse.widgets.correlations import CorrelationExplorer as CorrelationExplorer
from kdcourse.widgets.embedding import EmbeddingExplorer as EmbeddingExplorer
from kdcourse.widgets.fidelity import FidelityExplorer as FidelityExplorer
from kdcourse.widgets.latency import LatencyExplorer as LatencyExplorer
from kdcourse.widgets.prediction import Prediction as Prediction
from kdcourse.widgets.sweep import SweepExplorer as SweepExplorer
from kdcourse.widgets.temperature import TemperatureExplorer as TemperatureExplorer
