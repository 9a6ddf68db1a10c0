"""An idea in ten lines: follow the teacher only where it is right. And the control that it needs: leave out as many
images by chance."""

import torch

from kdcourse import losses
from kdcourse.core import Term
from kdcourse.distillers import KD
from kdcourse.distillers.base import hard_labels


def trusted_loss(z_s, z_t, y, T, keep):
    """T^2 KL(teacher || student), averaged over all images; an image about which the teacher is wrong counts `keep`."""
    weight = torch.where(z_t.argmax(dim=1) == y, 1.0, keep)
    return T**2 * (weight * losses.soft_kl(z_s, z_t, T=T)).mean()


class Trusted(KD):
    """KD that believes the teacher only where its largest logit is the label's. With keep = 1 it is KD."""

    def __init__(self, student, teacher, *, keep=0.0, **settings):
        super().__init__(student, teacher, **settings)
        self.keep = keep

    def forward(self, batch):
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        soft = trusted_loss(z_s, z_t, batch.y, self.T, self.keep)
        return {"ce": hard_labels(1 - self.alpha, z_s, batch.y), "kd": Term(self.alpha, soft)}


class AtRandom(KD):
    """KD that leaves out a share of the images, always the same ones, whatever the teacher says about them."""

    def __init__(self, student, teacher, *, share, **settings):
        super().__init__(student, teacher, **settings)
        self.share = share

    def forward(self, batch):
        z_s, z_t = self.student(batch.x), self.teacher(batch)
        there = (batch.index * 7919 % 1000 >= 1000 * self.share).float()
        soft = self.T**2 * (there * losses.soft_kl(z_s, z_t, T=self.T)).mean()
        return {"ce": hard_labels(1 - self.alpha, z_s, batch.y), "kd": Term(self.alpha, soft)}
