"""What `plan` reckons."""

from __future__ import annotations

from make_records import VOLATILE, make

from ltbench.plan_listing import rate_of


def run(device: str, seconds: float):
    return make("ce", volatile=VOLATILE.model_copy(update={"device": device, "seconds": seconds}))


def test_times_are_those_of_the_device_that_made_most():
    """One run of two hours on a CPU made a plan of minutes on a GPU one of hours."""
    gpu, cpu = run("NVIDIA H200", 10.0), run("cpu: some", 1000.0)
    assert rate_of([(cpu, 2.0), (gpu, 2.0), (gpu, 3.0)]) == ("NVIDIA H200", 4.0)
    assert rate_of([(cpu, 2.0)]) == ("cpu: some", 500.0)
    assert rate_of([]) == (None, None)
