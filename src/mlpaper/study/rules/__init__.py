"""Rules of claims, one module each: what may stand in a study file, when the claim holds, and how it reads.

`docs` and the ledger know rules only through `ClaimSpec`. A new rule is a module like the others and a line below.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlpaper.study.rules.base import RUN_FIELDS, Claim, Evidence, Kind
from mlpaper.study.rules.best import BestClaim
from mlpaper.study.rules.beyond_seeds import BeyondSeedsClaim
from mlpaper.study.rules.contrast import ContrastClaim
from mlpaper.study.rules.difference import DifferenceClaim
from mlpaper.study.rules.order import OrderClaim
from mlpaper.study.rules.plateau import PlateauClaim
from mlpaper.study.rules.range import RangeClaim
from mlpaper.study.rules.share import ShareClaim
from mlpaper.study.rules.speed import SpeedClaim
from mlpaper.study.rules.spread import SpreadClaim
from mlpaper.study.rules.turning import TurningClaim
from mlpaper.study.rules.unstable import UnstableClaim
from mlpaper.study.rules.value import ValueClaim

__all__ = ["RUN_FIELDS", "Claim", "ClaimSpec", "Evidence", "Kind", "SpeedClaim", "UnstableClaim", "ValueClaim"]

ClaimSpec = Annotated[
    DifferenceClaim
    | ContrastClaim
    | BeyondSeedsClaim
    | ValueClaim
    | RangeClaim
    | BestClaim
    | OrderClaim
    | PlateauClaim
    | SpreadClaim
    | UnstableClaim
    | SpeedClaim
    | TurningClaim
    | ShareClaim,
    Field(discriminator="rule"),
]
