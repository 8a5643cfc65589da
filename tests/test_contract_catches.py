"""The contract tests can fail: each catches a method that breaks one promise."""

import pytest
import torch
from broken import broken
from torch import nn

from ltbench import Prediction, Ref, Stream, losses, make_heads, registry
from ltbench.contract import TESTS, BrokenContract, Trials
from ltbench.errors import LtbenchError

pytestmark = pytest.mark.usefixtures("forget_broken_methods")


NO_TERMS = {
    "tensor": (lambda ce: ce, "got Tensor"),
    "nothing": (lambda ce: None, "got None"),
    "empty": (lambda ce: {}, "got an empty dict"),
    "key": (lambda ce: {3: ce}, "got the name 3"),
    "number": (lambda ce: {"ce": 1.0}, "got float as 'ce'"),
    "vector": (lambda ce: {"ce": ce.expand(16)}, "got a tensor of shape [16] as 'ce'"),
}


@pytest.mark.parametrize("what", NO_TERMS)
@pytest.mark.parametrize("test", ["finite_loss", "gradients", "seeded", "recorded"])
def test_a_loss_that_gives_no_named_scalars_is_told_in_one_sentence(what, test):
    give, got = NO_TERMS[what]

    def loss(self, t, batch):
        return give(losses.cross_entropy(self.logits(batch.image), batch.target))

    with pytest.raises(LtbenchError) as caught:
        TESTS[test](broken(what, loss=loss))
    assert str(caught.value) == f"broken_{what}.loss() must return a dict of named scalar terms, {got}"


def test_a_loss_that_is_not_finite_is_caught():
    trials = broken("nan", loss=lambda self, t, batch: {"ce": self.logits(batch.image).sum() * float("nan")})
    with pytest.raises(BrokenContract, match="ce not finite"):
        TESTS["finite_loss"](trials)


def test_a_loss_that_keeps_state_is_caught():
    def loss(self, t, batch):
        self.seen = t.step
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}

    with pytest.raises(BrokenContract, match="changed an attribute"):
        TESTS["finite_loss"](broken("state", loss=loss))


def test_a_loss_that_keeps_private_state_is_caught():
    def loss(self, t, batch):
        self._seen = t.step
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}

    with pytest.raises(BrokenContract, match="changed an attribute"):
        TESTS["finite_loss"](broken("private", loss=loss))


def test_a_loss_that_rebinds_a_buffer_is_caught():
    def loss(self, t, batch):
        self.counts = self.counts + 1
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}

    with pytest.raises(BrokenContract, match="rebound a buffer"):
        TESTS["finite_loss"](broken("rebinds", loss=loss))


def test_a_parameter_without_gradient_is_caught():
    def build(self, problem):
        registry.get("ce").__init__(self, problem)
        self.idle = nn.Parameter(torch.zeros(3))

    with pytest.raises(BrokenContract, match="no gradient reaches idle"):
        TESTS["gradients"](broken("idle", __init__=build))


def test_a_prediction_of_wrong_shape_is_caught():
    trials = broken("shape", predict=lambda self, image: Prediction(self.logits(image)[:, :2]))
    with pytest.raises(BrokenContract, match="gives logits"):
        TESTS["predicts"](trials)


def test_a_prediction_that_changes_state_is_caught():
    def predict(self, image):
        self.counts += 1
        return Prediction(self.logits(image))

    with pytest.raises(BrokenContract, match="predict changed a weight"):
        TESTS["predicts"](broken("changing", predict=predict))


def test_a_prediction_that_hangs_on_the_batches_before_is_caught():
    last = [None]

    def predict(self, image):
        other = last[0] is not None and not torch.equal(last[0], image[:1])
        last[0] = image[:1]
        return Prediction(self.logits(image) + other)

    with pytest.raises(BrokenContract, match="otherwise a second time, behind other"):
        TESTS["predicts"](broken("remembering", predict=predict))


def test_a_prediction_that_keeps_something_is_caught():
    def predict(self, image):
        self.seen = len(image)
        return Prediction(self.logits(image))

    with pytest.raises(BrokenContract, match="predict changed an attribute"):
        TESTS["predicts"](broken("keeping", predict=predict))


def test_a_prediction_that_draws_or_writes_is_caught():
    def draw(self, image):
        return Prediction(self.logits(image) + torch.rand(()))

    def write(self, image):
        return Prediction(self.logits(image.mul_(0.5)))

    with pytest.raises(BrokenContract, match="otherwise at once: it may draw nothing at random"):
        TESTS["predicts"](broken("drawing", predict=draw))
    with pytest.raises(BrokenContract, match="predict wrote into the images"):
        TESTS["predicts"](broken("writing", predict=write))


def test_a_prediction_that_looks_at_the_whole_batch_is_caught():
    """Estimating the classes' shares from each test batch, which holds few of them, took CE from 30 to 66 per cent."""

    def predict(self, image):
        said = self.logits(image)
        return Prediction(said + said.softmax(1).mean(0).log())

    trials = broken("batchwise", predict=predict)
    TESTS["predicts"](trials)
    with pytest.raises(BrokenContract, match="answers an image otherwise beside other images"):
        TESTS["by_itself"](trials)


def test_logits_that_are_all_zero_are_no_fault():
    TESTS["by_itself"](broken("zero", predict=lambda self, image: Prediction(0 * self.logits(image))))


def test_figures_that_come_and_go_are_caught():
    def predict(self, image):
        more = {"sure": image.new_ones(len(image))} if len(image) > 1 else {}
        return Prediction(self.logits(image), more)

    with pytest.raises(BrokenContract, match="other figures of one batch than of another"):
        TESTS["by_itself"](broken("moody", predict=predict))


def test_what_is_kept_of_the_untrained_network_is_caught():
    """A run predicts before it trains, so that what fails does so early: weights kept there are stale ever after."""
    kept = {}

    def predict(self, image):
        weight = kept.setdefault(id(self), self.heads[0].weight.detach().clone())
        return Prediction(self.features(image)[0] @ weight.T)

    with pytest.raises(BrokenContract, match="reloaded without parents, it predicts otherwise"):
        TESTS["round_trip"](broken("stale", predict=predict))


def test_streams_that_are_none_are_told_as_a_run_tells_them():
    with pytest.raises(BrokenContract, match=r"streams\(\) must return a tuple of Streams, one at least"):
        TESTS["plans"](broken("stream", streams=lambda self: Stream()))


def two_heads(self, problem):
    registry.get("ce").__init__(self, problem)
    self.heads = make_heads("linear", self.backbone.dim, problem.classes, experts=2)


def own_head(self, problem):
    registry.get("ce").__init__(self, problem)
    self.heads = nn.ModuleList([nn.Linear(self.backbone.dim, problem.classes)])


def cosine_head(self, problem):
    registry.get("ce").__init__(self, problem, head="cosine")


def offering(*what):
    return classmethod(lambda cls, options: what)


UNKEPT = {  # members; what is said
    "heads": ({"__init__": two_heads}, r"features\(\) must give \[E, B, D\], here \[2, 30, 64\], got \[1, 30, 64\]"),
    "head": ({"__init__": own_head, "offers": offering("backbone")}, "'Linear' object has no attribute 'dim'"),
    "cosine": ({"__init__": cosine_head, "offers": offering("linear_head")}, r"Missing key\(s\) in state_dict"),
    "scaled": (
        {"classify": lambda self, features: 2 * registry.get("ce").classify(self, features)},
        "other logits than its linear heads alone",
    ),
    "asking": ({"features": lambda self, image: self.backbone(image)[None] * len(self.heads)}, "no attribute 'heads'"),
    "list": ({"features": lambda self, image: [self.backbone(image)]}, "here .*, got list"),
    "experts": ({"offers": offering("experts")}, "no attribute 'trunk'"),
}


@pytest.mark.parametrize("what", UNKEPT)
def test_what_is_offered_must_be_there_as_second_stages_take_it(what):
    members, said = UNKEPT[what]
    with pytest.raises(Exception, match=said) as caught:
        TESTS["offered"](broken(what, **members))
    assert "it offers " in f"{caught.value}{getattr(caught.value, '__notes__', '')}"


def test_what_is_not_offered_need_not_be_there():
    assert not TESTS["offered"](broken("silent", __init__=own_head, offers=offering()))


@pytest.mark.parametrize("name", ["ce", "ride"])
def test_a_method_derived_from_another_need_not_keep_its_options(name):
    def build(self, problem, *, gamma: float = 1.0):
        registry.get(name).__init__(self, problem)

    registry.register("broken_derived")(
        type("BrokenDerived", (registry.get(name),), {"__doc__": "Broken.", "__init__": build, "shown": ()})
    )
    TESTS["plans"](Trials(Ref("broken_derived", {"gamma": 3.0})))


def test_a_parent_that_is_to_leave_images_out_does():
    def needs(cls, options):
        return {"base": Ref("ce", part="fit")}

    seen = {}

    def begin(self, parents, data):
        seen.update(parent=parents["base"].counts.sum().item(), fit=data.split()[0].counts.sum().item())

    broken("halved", needs=classmethod(needs), begin=begin).fresh()
    assert seen["parent"] == seen["fit"] < 53
    needs_it = classmethod(lambda cls, options: {"base": Ref("crt", part="fit")})
    crt_and_ce = broken("thirded", needs=needs_it).trained.values()
    assert [parent.counts.sum() for parent in crt_and_ce] == [seen["fit"]] * 2, "and so do those that it starts from"


def test_what_a_parent_has_outside_buffers_is_not_there_for_its_child():
    """In a run it is read back from its weights; here the very object was handed on."""

    def learn(self, parents, data):
        self.learnt = data.counts.log()

    def begin(self, parents, data):
        self.register_buffer("shift", parents["base"].learnt)

    broken("forgetful", begin=learn)
    child = broken("child", needs=classmethod(lambda cls, options: {"base": Ref("broken_forgetful")}), begin=begin)
    with pytest.raises(AttributeError, match="has no attribute 'learnt'"):
        child.fresh()


def test_images_left_out_of_what_leaves_images_out_are_refused():
    broken("inner", needs=classmethod(lambda cls, options: {"base": Ref("ce", part="fit")}))
    with pytest.raises(ValueError, match="broken_inner, which is to be trained without the images that are held out"):
        broken("outer", needs=classmethod(lambda cls, options: {"base": Ref("broken_inner", part="fit")}))


def test_what_begin_learns_outside_buffers_is_caught():
    def begin(self, parents, data):
        self.shift = data.counts.log()

    def predict(self, image):
        return Prediction(self.logits(image) - getattr(self, "shift", 0))

    with pytest.raises(BrokenContract, match="reloaded without parents"):
        TESTS["round_trip"](broken("attribute", begin=begin, predict=predict))


def test_random_draws_outside_torch_are_caught():
    import numpy as np

    def loss(self, t, batch):
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target) * float(np.random.rand())}

    with pytest.raises(BrokenContract, match="two runs of one seed differ"):
        TESTS["seeded"](broken("random", loss=loss))


def test_what_a_step_draws_with_torch_is_the_same_after_a_resume():
    def loss(self, t, batch):
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target) * (0.5 + torch.rand(()))}

    drawing = broken("drawing", loss=loss)
    TESTS["seeded"](drawing)
    TESTS["resumed"](drawing)


def test_a_count_of_its_own_breaks_resume():
    def loss(self, t, batch):
        self.calls = getattr(self, "calls", 0) + 1
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target) * (1 + self.calls)}

    with pytest.raises(BrokenContract, match="and resumed, it trains otherwise"):
        TESTS["resumed"](broken("counting", loss=loss))


def test_a_method_that_does_not_learn_is_caught():
    trials = broken("still", loss=lambda self, t, batch: {"ce": 0 * self.logits(batch.image).sum()})
    with pytest.raises(BrokenContract, match="% right"):
        TESTS["learns"](trials)


@pytest.mark.parametrize(
    ("per_image", "said"),
    [
        (lambda p: {"sure": p.amax(1) / 0}, "predict gives per_image 'sure' that is not finite"),
        (lambda p: {3: p.amax(1)}, "predict gives per_image under 3, which is no name"),
    ],
)
def test_figures_of_images_that_no_record_can_hold(per_image, said):
    def predict(self, image):
        logits = self.logits(image)
        return Prediction(logits, per_image=per_image(logits))

    with pytest.raises(BrokenContract, match=said):
        TESTS["predicts"](broken("figures", predict=predict))


def test_an_option_that_a_method_changes_is_its_own():
    """A list that one network of the method filled was that of the next."""

    class Filling(registry.get("ce")):
        """Fills its list."""

        def __init__(self, problem, *, shares: list[float] = [0.1]):  # noqa: B006
            shares.append(0.2)
            assert shares == [0.1, 0.2]
            super().__init__(problem)

    registry.register("broken_filling")(Filling)
    trials = Trials(Ref("broken_filling"))
    for _ in range(2):
        trials.build()
    TESTS["seeded"](trials)
    assert trials.ref.options["shares"] == [0.1]
