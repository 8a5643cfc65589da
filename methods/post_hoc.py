"""Logit adjustment after training."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from ltbench import Method, Prediction, Problem, Recipe, Ref, build, freeze, longtail, register


@register("post_hoc")
class PostHoc(Method):
    """Takes tau times each class's log prior off the logits of a finished run; trains nothing."""

    paper = "arXiv:2007.07314"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce"), tau: Annotated[float, Ge(0)] = 1.0) -> None:
        super().__init__(problem)
        self.base = freeze(build(problem, base))
        self.register_buffer("shift", tau * longtail.log_prior(problem.counts))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """Any finished run."""
        return {"finished": options["base"]}

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """Nothing is trained."""
        return base.with_(epochs=0)

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Take all of it."""
        self.base.load_state_dict(parents["finished"].state_dict())

    def predict(self, image: Tensor) -> Prediction:
        """Eq. 9."""
        return self._shifted(self.base.predict(image))

    def dense(self, image: Tensor) -> Prediction:
        """The same without skipping."""
        return self._shifted(self.base.dense(image))

    def _shifted(self, found: Prediction) -> Prediction:
        members = None if found.members is None else found.members - self.shift
        return found._replace(logits=found.logits - self.shift, members=members)
