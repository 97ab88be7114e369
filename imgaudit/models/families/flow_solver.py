"""Solvers of a higher order that step along flows, of which the same classes step along other paths too."""

import math
from typing import Any

from imgaudit.exceptions import ModelRefusedError

OTHER_SIGMAS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
"""Switches that choose noise levels of the other kind of schedule, and win over those of flows."""


def refuse_dynamic_shift(scheduler: Any) -> None:
    """Refuse a scheduler whose shift depends on what the pipeline does not say: ModelRefusedError."""
    if scheduler.config.get("use_dynamic_shifting"):
        raise ModelRefusedError(
            "the scheduler sets 'use_dynamic_shifting', but the pipeline does not say how much: delete the key"
        )


def refuse_other_paths(scheduler: Any, name: str) -> None:
    """Refuse a solver that does not step along flows: ModelRefusedError.

    name:  of the solver, for the message
    """
    config = scheduler.config
    wanted = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "zero"}
    for key, value in (wanted | {key: False for key in OTHER_SIGMAS if key in config}).items():
        if config.get(key) != value:
            raise ModelRefusedError(
                f"the scheduler sets {key!r} to {config.get(key)!r:.80}; this model predicts flows, which {name} "
                f"samples with {value!r}"
            )
    shift = config.get("flow_shift")
    if not isinstance(shift, int | float) or not math.isfinite(shift) or shift <= 0:
        raise ModelRefusedError(f"the scheduler sets 'flow_shift' to {shift!r:.80}; expected a number above 0")
