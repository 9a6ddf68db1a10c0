"""What a reader of lesson 01 writes by hand, judging half."""

from kdcourse.marking.judges.logits import COMBINED, ONE_STEP, SOFT, of
from kdcourse.marking.judges.loss import loss
from kdcourse.marking.judges.training import training

soft_loss = loss(SOFT, "cold", "warm", "warmer", "hot", where="notebook 01, section 2", of=of)
student_loss = loss(COMBINED, "cold", "warm", "warmer", "hot", where="notebook 01, section 2", of=of, marks=(0.5, 0.5),
                    large=0)
train_by_hand = training(ONE_STEP, where="notebook 01, section 3", repair="student_loss, section 2",
                         weights={"main": 0.3}, arguments={"other T": "T", "other alpha": "alpha"},
                         other_order="other seed")
