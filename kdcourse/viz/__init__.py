"""Pictures: functions of arrays that return what they drew. `show(alt=...)` puts the last one into the notebook."""

from kdcourse.viz import diagrams as diagrams
from kdcourse.viz.base import show as show
from kdcourse.viz.chains import one_vector as one_vector
from kdcourse.viz.chains import who_teaches as who_teaches
from kdcourse.viz.comparisons import against_cost as against_cost
from kdcourse.viz.comparisons import confusion as confusion
from kdcourse.viz.comparisons import differences as differences
from kdcourse.viz.comparisons import frontier as frontier
from kdcourse.viz.comparisons import needed as needed
from kdcourse.viz.comparisons import on_frontier as on_frontier
from kdcourse.viz.comparisons import seeds as seeds
from kdcourse.viz.comparisons import terms as terms
from kdcourse.viz.images import images as images
from kdcourse.viz.knowledge import matrices as matrices
from kdcourse.viz.knowledge import saliency as saliency
from kdcourse.viz.others import boards as boards
from kdcourse.viz.others import class_counts as class_counts
from kdcourse.viz.papers import marked as marked
from kdcourse.viz.papers import networks as networks
from kdcourse.viz.results import curves as curves
from kdcourse.viz.results import distributions as distributions
from kdcourse.viz.results import heat_map as heat_map
from kdcourse.viz.results import reliability as reliability
from kdcourse.viz.results import sweep as sweep
