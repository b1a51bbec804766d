"""What can be read linearly out of latents, prompt and image: probes with a control.

Features are the means of hidden states over a record's latent slots, prompt tokens or visual tokens. A probe
is a ridge regression on them: onto the numbers of a target, or onto its classes as 0 and 1, of which the
largest wins. Its strength is chosen within the training folds, by the squared error of leaving one record
out. Five folds; features are standardised on the training folds alone; records that show the same images
stay in one fold; the score is taken over all held-out records together.

The control (after Hewitt & Liang 2019, arXiv 1909.03368) is the same probe on labels that were shuffled. They
are shuffled among the records of one task in one fold: what the task alone tells about a label is then in
the control as well, and features that tell nothing score like the control, whatever the classes' sizes.

Shapes: N records, D width of the model, C classes or numbers of a target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from latentvr.data.record import Record
from latentvr.diagnostics.probe_targets import Label, Measure, Target, targets
from latentvr.errors import UserError

if TYPE_CHECKING:
    from latentvr.diagnostics.reading import Reading

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FOLDS, SHUFFLES = 5, 10
# What a record has to have for each source.
SOURCES: Mapping[str, str] = {"latents": "latents", "prompt": "a prompt", "image": "an image"}
_LEAST = 2 * FOLDS
# Times D: standardised features give every record a squared length of about D.
_STRENGTHS = np.logspace(-3, 3, 7)


@dataclass(frozen=True)
class Probe:
    """How well one target is read from one place.

    Attributes:
        target: "answer", "box", "count", "class" or "meta." and a key of `meta`.
        source: "latents", "prompt" or "image".
        depth: where in the model: a key of `Reading.states`.
        score: accuracy, or R2 as the mean over the numbers of the target, on held-out records.
        shuffled: the same on shuffled labels, mean over `SHUFFLES` draws.
        records: how many were probed; where it could not be fitted, how many have target and source.
        measure: "accuracy" or "R2".
        reason: why it could not be fitted, its scores are then 0; "" where it was.
        note: which records were left out of it; "" for none.
        shuffled_range: lowest and highest score of the draws.
    """

    target: str
    source: str
    depth: str
    score: float
    shuffled: float
    records: int
    measure: Measure
    reason: str = ""
    note: str = ""
    shuffled_range: tuple[float, float] = (0.0, 0.0)

    @property
    def selectivity(self) -> float:
        """What is read beyond what shuffled labels give: score - shuffled."""
        return self.score - self.shuffled


def require_sklearn() -> None:
    """See that scikit-learn is there, which probes and projections need.

    Raises:
        UserError: it is not installed.
    """
    if find_spec("sklearn") is None:
        raise UserError(
            "expected scikit-learn for probes, got none, at this Python environment; "
            'fix: pip install "latentvr[eval]", or --without probes'
        )


def probe(records: Sequence[Record], readings: Sequence[Reading], seed: int = 0) -> list[Probe]:
    """Fit every probe: each target of `probe_targets.targets` from each source at each depth.

    Args:
        records: what was asked.
        readings: what `reading.read` gave, in the same order.
        seed: for the folds and the shuffled labels.

    Returns:
        Probes by target, source and depth; those that could not be fitted say why.

    Raises:
        UserError: scikit-learn is missing, or a record's own answer is none of its type.
    """
    require_sklearn()
    depths = tuple(readings[0].states) if readings else ()
    places = {(s, d): [_feature(r, s, d) for r in readings] for s in SOURCES for d in depths}
    return [
        _probe(target, place, features, records, seed)
        for target in targets(records)
        for place, features in places.items()
    ]


def _feature(reading: Reading, source: str, depth: str) -> Floats | None:
    """(D,), or None where the record has no such tokens."""
    states = reading.states[depth]
    if source == "latents":
        given = states.latents_KD.mean(dim=0) if len(states.latents_KD) else None
    else:
        given = states.prompt_D if source == "prompt" else states.image_D
    return None if given is None else given.double().numpy()


@dataclass(frozen=True)
class _Fit:
    score: float = 0.0
    draws: tuple[float, ...] = (0.0,)
    records: int = 0
    reason: str = ""
    note: str = ""


def _probe(
    target: Target,
    place: tuple[str, str],
    features: Sequence[Floats | None],
    records: Sequence[Record],
    seed: int,
) -> Probe:
    source, depth = place
    both = zip(records, target.labels, features, strict=True)
    usable = [(r, label, f) for r, label, f in both if label is not None and f is not None]
    if all(label is None for label in target.labels):
        fit = _Fit(reason=target.absent)
    elif not usable:
        fit = _Fit(reason=f"no record with this target has {SOURCES[source]}")
    elif not all(np.isfinite(feature).all() for _, _, feature in usable):
        fit = _Fit(records=len(usable), reason="hidden states are not finite")
    else:
        fit = _fit([u[0] for u in usable], [u[1] for u in usable], np.stack([u[2] for u in usable]), seed)
    shuffled, extremes = float(np.mean(fit.draws)), (min(fit.draws), max(fit.draws))
    return Probe(
        target.name, source, depth, fit.score, shuffled, fit.records, target.measure, fit.reason, fit.note,
        extremes,
    )  # fmt: skip


def _fit(records: Sequence[Record], labels: Sequence[Label], features_ND: Floats, seed: int) -> _Fit:
    kept = _frequent(records, labels)
    note = ""
    if len(kept) < len(labels):
        gone, rare = len(labels) - len(kept), len(set(labels)) - len({labels[i] for i in kept})
        each = f"with fewer than {FOLDS} records of different images each"
        note = f"left out: records {gone}, classes {rare} {each}"
    picked, picked_labels = [records[i] for i in kept], [labels[i] for i in kept]
    generator = np.random.default_rng(seed)
    folds_N = _folds(picked, picked_labels, generator)
    strata = list(zip((r.task for r in picked), folds_N.tolist(), strict=True))
    reason = _hindrance(picked, picked_labels, strata)
    if reason:
        return _Fit(records=len(labels), reason=reason)
    numbers_NC = _numbers(picked_labels)
    rows = [np.arange(len(kept)), *(_shuffled(strata, generator) for _ in range(SHUFFLES))]
    wanted = [numbers_NC[row] for row in rows]
    predicted_NC = _predicted(features_ND[kept], np.concatenate(wanted, axis=1), folds_N)
    classes = isinstance(picked_labels[0], str)
    scores = [
        _score(true, guess, classes)
        for true, guess in zip(wanted, np.split(predicted_NC, len(wanted), axis=1), strict=True)
    ]
    return _Fit(scores[0], tuple(scores[1:]), len(kept), note=note)


def _frequent(records: Sequence[Record], labels: Sequence[Label]) -> list[int]:
    """Records of classes that different images show often enough for every fold; all records of numbers."""
    shown = {(label, _shown(record)) for record, label in zip(records, labels, strict=True)}
    count = Counter(label for label, _ in shown)
    return [i for i, label in enumerate(labels) if not isinstance(label, str) or count[label] >= FOLDS]


def _shown(record: Record) -> Hashable:
    return record.images or record.id


def _folds(records: Sequence[Record], labels: Sequence[Label], generator: np.random.Generator) -> Ints:
    """Deal groups of records with the same images in turn, sorted by task and class: all get their share."""
    groups: dict[Hashable, list[int]] = {}
    for i in generator.permutation(len(records)).tolist():
        groups.setdefault(_shown(records[i]), []).append(i)

    def share(group: list[int]) -> tuple[str, str]:
        label = labels[group[0]]
        return records[group[0]].task, label if isinstance(label, str) else ""

    folds_N = np.zeros(len(records), dtype=np.int64)
    for place, group in enumerate(sorted(groups.values(), key=share)):
        folds_N[group] = place % FOLDS
    return folds_N


def _hindrance(records: Sequence[Record], labels: Sequence[Label], strata: Sequence[tuple[str, int]]) -> str:
    """Why these records cannot be probed, or ""."""
    if not labels or (isinstance(labels[0], str) and len(set(labels)) < 2):
        return f"fewer than two classes have {FOLDS} records or more of different images"
    if len({_shown(record) for record in records}) < _LEAST:
        return f"there are fewer than {_LEAST} records of different images"
    if not _numbers(labels).shape[1]:
        return "it is the same in all records"
    found: dict[tuple[str, int], set[Label]] = {}
    for stratum, label in zip(strata, labels, strict=True):
        found.setdefault(stratum, set()).add(label)
    if 2 * sum(len(found[stratum]) > 1 for stratum in strata) < len(strata):
        return f"within a task it hardly differs between records, or a task has too few for {FOLDS} folds"
    return ""


def _shuffled(strata: Sequence[tuple[str, int]], generator: np.random.Generator) -> Ints:
    """An order of the records that moves each only within its stratum."""
    order_N = np.arange(len(strata))
    for _, group in groupby(sorted(range(len(strata)), key=lambda i: strata[i]), key=lambda i: strata[i]):
        members = list(group)
        order_N[members] = generator.permutation(members)
    return order_N


def _numbers(labels: Sequence[Label]) -> Floats:
    """(N, C): classes as 0 and 1, or the numbers that differ between records."""
    if isinstance(labels[0], str):
        names, index_N = np.unique(np.array(labels), return_inverse=True)
        classes_NC: Floats = np.eye(len(names))[index_N]
        return classes_NC
    numbers_NC = np.array(labels, dtype=np.float64)
    # Boxes are in [0, 1]: a spread of a millionth is rounding.
    return numbers_NC[:, numbers_NC.std(axis=0) > 1e-6]


def _predicted(features_ND: Floats, wanted_NC: Floats, folds_N: Ints) -> Floats:
    """Predictions for each fold by a probe of the four others; true and shuffled labels share its matrix."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    alphas = _STRENGTHS * features_ND.shape[1]
    predicted_NC = np.empty_like(wanted_NC)
    for fold in range(FOLDS):
        held_N = folds_N == fold
        model: Any = make_pipeline(StandardScaler(), RidgeCV(alphas, alpha_per_target=True))
        model.fit(features_ND[~held_N], wanted_NC[~held_N])
        predicted_NC[held_N] = model.predict(features_ND[held_N])
    return predicted_NC


def _score(wanted_NC: Floats, predicted_NC: Floats, classes: bool) -> float:
    if classes:
        return float((predicted_NC.argmax(axis=1) == wanted_NC.argmax(axis=1)).mean())
    error_C = ((predicted_NC - wanted_NC) ** 2).sum(axis=0)
    spread_C = ((wanted_NC - wanted_NC.mean(axis=0)) ** 2).sum(axis=0)
    return float((1.0 - error_C / spread_C).mean())
