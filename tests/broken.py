"""Methods that break one promise, for the tests of the contract."""

import sys
from typing import Any

from ltbench import Ref, registry
from ltbench.contract import Trials


def broken(name: str, **members: Any) -> Trials:
    """ce with some members replaced, registered as broken_NAME until the fixture forget_broken_methods ends."""
    ce, whose = registry.get("ce"), sys._getframe(1).f_globals["__name__"]  # the test's file is the method's
    if f"broken_{name}" not in registry._METHODS:
        given = {"__doc__": "Broken.", "__module__": whose, **members}
        registry.register(f"broken_{name}")(type(f"Broken{name}", (ce,), given))
    return Trials(Ref(f"broken_{name}"))
