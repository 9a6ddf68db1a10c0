"""What a reader of lesson 00 writes by hand, judging half."""

from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.mistakes import Formula

SOFTENED = Formula(lambda c, kind: (kind(c.z_t, c.T) * c.probe).sum(), kind={
    "": lambda z, T: (z / T).softmax(1), "the logits are multiplied by T: divide them": lambda z, T: (z * T).softmax(1),
    "T is not used: it divides the logits": lambda z, T: z.softmax(1),
    "T divides the probabilities: it belongs inside the softmax, where it divides the logits":
        lambda z, T: z.softmax(1) / T,
    "the softmax runs over the images: it belongs over the classes, dim=1": lambda z, T: (z / T).softmax(0),
    "this is the logarithm of the probabilities": lambda z, T: (z / T).log_softmax(1),
    "the softmax is missing: these are logits, no probabilities": lambda z, T: z / T,
    "this is a sigmoid, and its numbers do not sum to 1: use the softmax": lambda z, T: (z / T).sigmoid(),
})
softened = loss(SOFTENED, "cold", "warm", "hot", at="", where="notebook 00, section 3", marks=(1, 0), near=2e-4,
                of=lambda c: f"{len(c.z_t)} images at T = {c.T:.2g}, summed with random factors,")
SHARE_RIGHT = Formula(lambda c, kind: kind(c.z_s, c.y), kind={
    "": lambda z, y: (z.argmax(1) == y).double().mean(),
    "the smallest logit is taken: the prediction is the largest": lambda z, y: (z.argmin(1) == y).double().mean(),
    "this is the number of images that are right: divide it by how many there are":
        lambda z, y: (z.argmax(1) == y).double().sum(),
    "this is the share of wrong predictions": lambda z, y: (z.argmax(1) != y).double().mean(),
    "this is a percentage: a share lies between 0 and 1": lambda z, y: 100 * (z.argmax(1) == y).double().mean(),
})
share_right = loss(SHARE_RIGHT, "cold", "warm", "hot", at="", where="notebook 00, section 2", marks=(1, 0), near=1e-4,
                   of=lambda c: f"{len(c.y)} images")
