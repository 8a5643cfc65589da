"""The order in which runs are carried out."""

import tiny

from ltbench.order import by_urgency
from ltbench.together import one_by_one


def labels(specs):
    return [spec.label for spec in specs]


def test_what_the_longest_chain_waits_for_comes_first(tmp_path, glyph_cache):
    methods = "ce, bbn, tau_norm, ride_distill: {experts: 2, teacher: {ride: {experts: 3}}}, crt"
    todo = list(tiny.make(tmp_path, glyph_cache, methods, "recipe.epochs=10").runs.values())
    ordered = labels(by_urgency(todo))
    # chains in epochs: teacher 10 + 10, ce 10 + 5, bbn 10, ride_distill 10, crt 5, tau_norm 0
    assert ordered[:2] == ["ride(experts=3)", "ce"]
    assert ordered[-2:] == ["crt", "tau_norm(tau=1)"]
    assert sorted(ordered) == sorted(labels(todo))


def test_seed_after_seed_with_the_members_of_its_ensembles(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce, bbn, ensemble: {size: 2}", "seeds=[0, 1]")
    ordered = [spec.ref.seed for spec in by_urgency(list(made.runs.values()))]
    assert [seed % 1000 for seed in ordered] == [0] * 5 + [1] * 5


def test_parents_stand_before_their_children(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "crt: {base: crt}, ncm, ride_ea, ensemble: {size: 3}", "seeds=[0, 1, 2]")
    seen = set()
    for spec in by_urgency(list(made.runs.values())):
        assert {parent.key for parent in spec.parents.values()} <= seen
        seen.add(spec.key)


def test_several_processes_that_were_told_to_stop_begin_no_run(tmp_path, glyph_cache):
    """Not even one without epochs, which looks at no signal."""
    made = tiny.make(tmp_path, glyph_cache, "ce")
    told = []
    settings = tiny.settings(tmp_path, glyph_cache)
    assert one_by_one(list(made.runs.values()), made.runs, settings, told.append, True) == {}
    assert not told
