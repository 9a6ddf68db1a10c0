"""Losses: pure functions of tensors, by the kind of knowledge they compare."""

from kdcourse.losses.correlations import dist_loss as dist_loss
from kdcourse.losses.correlations import inter_class_loss as inter_class_loss
from kdcourse.losses.correlations import intra_class_loss as intra_class_loss
from kdcourse.losses.features import attention_loss as attention_loss
from kdcourse.losses.features import cosine_loss as cosine_loss
from kdcourse.losses.features import hint_loss as hint_loss
from kdcourse.losses.features import margin_loss as margin_loss
from kdcourse.losses.features import masked_generation_loss as masked_generation_loss
from kdcourse.losses.features import negative_mean as negative_mean
from kdcourse.losses.features import pyramid_loss as pyramid_loss
from kdcourse.losses.logits import ats_loss as ats_loss
from kdcourse.losses.logits import dkd_loss as dkd_loss
from kdcourse.losses.logits import ipwd_weights as ipwd_weights
from kdcourse.losses.logits import kd_loss as kd_loss
from kdcourse.losses.logits import logit_matching_loss as logit_matching_loss
from kdcourse.losses.logits import non_target_kl as non_target_kl
from kdcourse.losses.logits import soft_kl as soft_kl
from kdcourse.losses.logits import target_kl as target_kl
from kdcourse.losses.relations import contrastive_loss as contrastive_loss
from kdcourse.losses.relations import rkd_angle_loss as rkd_angle_loss
from kdcourse.losses.relations import rkd_distance_loss as rkd_distance_loss
from kdcourse.losses.relations import similarity_loss as similarity_loss
