"""Predictions and their rules: made-up runs that obey a prediction, and runs that break it."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from run_dirs import write_run

from collapse_lm.analysis.law import Order
from collapse_lm.analysis.outcomes import measure_runs
from collapse_lm.analysis.predictions import judge, sweeps
from collapse_lm.analysis.predictions.others import CUT_MASS
from collapse_lm.analysis.predictions.rules import (
    Number,
    banded,
    each_run,
    mean_over_seeds,
    ordered,
)
from collapse_lm.analysis.stats.permutation import PermutationTest
from collapse_lm.config import resolve
from collapse_lm.measures.names import Row

ROOT = Path(__file__).parents[1]
NAN = math.nan


# --- rules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (Number(-1.0, -1.1, -0.9), "held"),
        (Number(-1.2, -1.4, -1.0), "undecided"),
        (Number(-2.0, -2.2, -1.8), "failed"),
        (Number(-0.5, -0.7, -0.3), "failed"),
        (Number(-1.0), "undecided"),  # no interval
        (Number(NAN), "undecided"),
    ],
)
def test_a_band(number, verdict):
    assert banded("X", number, -1.25, -0.75).verdict == verdict


def test_a_band_that_is_open_on_one_side():
    assert banded("X", Number(2, 1, 3), 0.5, math.inf).verdict == "held"
    assert banded("X", Number(0.1, 0.0, 0.2), 0.5, math.inf).verdict == "failed"


@pytest.mark.parametrize(
    ("p", "concordance", "verdict"),
    [(0.01, 0.9, "held"), (0.01, 0.1, "failed"), (0.2, 0.9, "undecided"), (NAN, NAN, "undecided")],
)
def test_an_order(p, concordance, verdict):
    test = PermutationTest(p, exact=True, assignments=10, smallest=0.01)
    assert ordered("X", Order(test, concordance, ()), "a, b").verdict == verdict


@pytest.mark.parametrize(
    ("is_so", "seeds", "verdict"),
    [
        ([True] * 6, 3, "held"),
        ([True] * 5 + [False], 3, "undecided"),
        ([True, True, False, False], 4, "failed"),
        ([True] * 2, 2, "undecided"),
        ([], 0, "undecided"),
    ],
)
def test_each_run(is_so, seeds, verdict):
    assert each_run("X", is_so, seeds, "so").verdict == verdict


def test_a_mean_over_seeds_is_students():
    found = mean_over_seeds({0: [1.0], 1: [2.0, 4.0], 2: [5.0]})
    # of 1, 3, 5: 2 / sqrt(3) x 4.3027
    assert found.value == 3
    assert found.upper - found.value == pytest.approx(4.3027 * 2 / math.sqrt(3), rel=1e-4)
    assert math.isnan(mean_over_seeds({0: [1.0], 1: [2.0]}).lower)
    assert mean_over_seeds({}).note == "no run tells"


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run whose outcome, rows and configuration are replaced."""
    reader = write_run(tmp_path_factory.mktemp("one") / "r", updates=3)
    return measure_runs([reader])[0][0]


def made(template, settings, *, seed, loop=None, updates=40, loss=None, entropy=None, every=1):
    """A run with a loop at an update or none, and a loss and an entropy by update."""
    loss, entropy = loss or (lambda u: 3.0), entropy or (lambda u: 4.0)
    tree: dict = {"seed": seed, "model": settings.get("model", "smollm2-135m")}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    config = resolve(tree)
    rate = config.training.learning_rate
    rows = [
        Row(u, {"dose.rate": u * rate, "dose.square": 0.0})
        if u % every
        else Row(
            u,
            {"dose.rate": u * rate, "dose.square": 0.0, "validation.loss[sotu]": loss(u)}
            | ({"probe.entropy": entropy(u)} if u else {}),
        )
        for u in range(updates + 1)
    ]
    outcome = replace(
        template.outcome,
        run=f"{settings}-{seed}",
        model=config.model,
        learning_rate=rate,
        seed=seed,
        corpora=("sotu",),
        parameters=settings.get("parameters", template.outcome.parameters),
        time=updates if loop is None else loop,
        observed=loop is not None,
        collapse_update=loop,
        collapse_after=None if loop is None else loop - 1,
        updates=updates,
        validation={"sotu": (loss(0), NAN, loss(updates))},
    )
    return replace(template, outcome=outcome, rows=rows, config=config)


def verdicts(sweep, runs):
    return {one.id: one.verdict for one in judge(sweep, runs)}


def controls(template, **changes):
    """Runs of `controls` by the predictions; changes by arm."""
    arms = {
        "own": ({}, 12, 1.0, 0.5),
        "frozen": ({"source.kind": "frozen"}, None, 0.4, 3.5),
        "real": ({"source.kind": "real"}, None, 0.1, 4.0),
        "shuffled": ({"source.kind": "shuffled"}, None, 2.0, 6.0),
        "random": ({"training.optimizer.kind": "random"}, None, 0.01, 4.0),
        "zero": ({"training.learning_rate": 0}, None, 0.0, 4.0),
    } | changes
    return [
        made(
            template,
            {"probe.every": 5, "evaluation.every": 5, **settings},
            seed=seed,
            loop=loop,
            every=5,
            loss=lambda u, rise=rise: 3 + rise * u / 40,
            entropy=lambda u, end=end: 4 + (end - 4) * min(1, u / 25),
        )
        for settings, loop, rise, end in arms.values()
        for seed in range(3)
    ]


def test_controls_that_do_as_predicted(template):
    found = verdicts("controls", controls(template))
    assert found == dict.fromkeys([f"C{n}" for n in range(1, 9)], "held")


@pytest.mark.parametrize(
    ("arm", "run", "fails"),
    [
        ("own", ({}, None, 1.0, 0.5), {"C1"}),
        ("frozen", ({"source.kind": "frozen"}, 20, 1.4, 3.5), {"C2", "C7"}),
        ("real", ({"source.kind": "real"}, 20, 0.1, 4.0), {"C3"}),
        ("shuffled", ({"source.kind": "shuffled"}, None, 0.5, 4.0), {"C4"}),
        ("random", ({"training.optimizer.kind": "random"}, None, 0.5, 4.0), {"C5"}),
        ("zero", ({"training.learning_rate": 0}, None, 1e-9, 4.0), {"C6"}),
    ],
)
def test_a_control_that_does_not(arm, run, fails, template):
    found = verdicts("controls", controls(template, **{arm: run}))
    assert {name for name, verdict in found.items() if verdict == "failed"} == fails


def law(template):
    """Runs of `law` by the predictions."""
    runs = []
    for seed in range(4):
        for kind, rate in (("adamw", 3e-4), ("sgd", 0.03)):
            for temperature in (0.8, 1.0, 1.2):
                for top_k in (500, None):
                    for clip in (1.0, None):
                        runs.append(law_run(template, seed, kind, rate, temperature, top_k, clip))
        runs.append(
            law_run(
                template, seed, "sgd", 0.03, 1.0, None, None, **{"precision.sampling": "bfloat16"}
            )
        )
    return runs


def law_run(template, seed, kind, rate, temperature, top_k, clip, **more):
    is_neutral = temperature == 1 and top_k is None
    loop = {0.8: 12, 1.0: 80, 1.2: None}[temperature] if not is_neutral else None
    low = 1.0 if kind == "adamw" else 0.02
    lost = low * (1.5 if clip else 1) if is_neutral else 0.0
    settings = {
        "precision.sampling": "float32",
        "precision.training": "float32",
        "precision.evaluation": "float32",
        "training.optimizer.kind": kind,
        "training.learning_rate": rate,
        "training.grad_clip": clip,
        "sampling.temperature": temperature,
        "sampling.top_k": top_k,
    } | more
    return made(
        template,
        settings,
        seed=seed,
        loop=None if loop is None else loop + seed,
        updates=100,
        loss=lambda u: 3 + (1.0 + 0.02 * seed * (1 - len(more)) + (temperature == 1.2)) * u / 100,
        entropy=lambda u: 4 - (lost + 0.01 * seed) * u / 100,
        every=2,
    )


def test_the_law_that_does_as_predicted(template):
    found = verdicts("law", law(template))
    assert found == dict.fromkeys([f"L{n}" for n in range(1, 11)], "held")


def test_the_law_with_part_of_its_runs_decides_only_that(template):
    some = [r for r in law(template) if r.config.training.optimizer.kind == "adamw"]
    found = verdicts("law", some)
    assert found["L1"] == "held"
    assert {found[name] for name in ("L2", "L5", "L6", "L9", "L10")} == {"undecided"}


def dose(template, powers):
    """Runs of `dose` in which the time of everything goes with a power of the rate, by arm."""
    runs = []
    for (kind, temperature, rates), power in powers.items():
        for seed in range(4):
            for rate in rates:
                wobble = 1 + 0.04 * math.sin(7 * seed + 1e5 * rate)
                time = 12 * (rate / rates[-1]) ** power * wobble
                runs.append(
                    made(
                        template,
                        {
                            "training.optimizer.kind": kind,
                            "training.learning_rate": rate,
                            "sampling.temperature": temperature,
                        },
                        seed=seed,
                        loop=round(time) if temperature == 0.8 else None,
                        updates=round(2 * time),
                        loss=lambda u, time=time: 3 + 0.5 * u / time,
                    )
                )
    return runs


ADAM, SGD = (3e-5, 1e-4, 3e-4), (0.01, 0.03, 0.1)
ARMS = [("adamw", 0.8, ADAM), ("sgd", 0.8, SGD), ("adamw", 1.0, ADAM), ("sgd", 1.0, SGD)]


def test_a_dose_that_does_as_predicted(template):
    found = verdicts("dose", dose(template, dict(zip(ARMS, (-1, -1, -1.25, -2), strict=True))))
    assert found == dict.fromkeys([f"D{n}" for n in range(1, 9)], "held")


def test_a_dose_that_does_not(template):
    found = verdicts("dose", dose(template, dict(zip(ARMS, (-2, -1, -0.5, -1), strict=True))))
    failed = {name for name, verdict in found.items() if verdict == "failed"}
    assert {"D1", "D3", "D5", "D6"} <= failed
    assert found["D2"] == "held"


def test_a_batch_that_does_as_predicted(template):
    runs = []
    for seed in range(4):
        for batch in (1, 4, 16):
            sharp = {"sampling.batch_size": batch, "sampling.temperature": 0.8}
            runs.append(made(template, sharp, seed=seed, loop=20 - batch // 2 + seed))
            neutral = {
                "sampling.batch_size": batch,
                "sampling.temperature": 1.0,
                "training.optimizer.kind": "sgd",
            }
            time = 10 * batch * (1 + 0.05 * math.sin(5 * seed + batch))
            rises = {"loss": lambda u, time=time: 3 + 0.5 * u / time, "updates": 20 * batch}
            runs.append(made(template, neutral, seed=seed, **rises))
    assert verdicts("batch", runs) == {"B1": "held", "B2": "held"}


def test_a_truncation_that_does_as_predicted(template):
    runs = []
    for seed in range(4):
        for place, (k, mass) in enumerate([*CUT_MASS.items(), (None, None)]):
            wobble = 1 + 0.05 * math.sin(5 * seed + place)
            time = math.inf if mass is None else 10 / mass * wobble
            falls = {"entropy": lambda u, time=time: 4 - 2 * (u - 1) / time, "updates": 300}
            runs.append(made(template, {"sampling.top_k": k}, seed=seed, **falls))
    assert verdicts("truncation", runs) == {"T1": "held", "T2": "held"}


def test_sizes_that_do_as_predicted(template):
    sizes = [(32, 165_000), (128, 1_350_000), (256, 5_060_000)]
    runs = [
        made(
            template,
            {"model": f"ladder:{width}x2@{block}", "training.learning_rate": rate},
            seed=seed,
            loop=round(
                2000 * (parameters / 165_000) ** -0.41 * (rate / 1e-5) ** -1 * (1 + 0.02 * block)
            ),
            updates=3000,
            every=500,
        )
        for width, parameters in sizes
        for block in range(3)
        for rate in (1e-5, 2e-5, 4e-5, 8e-5)
        for seed in range(2)
    ]
    by_width = {f"{width}": parameters for width, parameters in sizes}
    runs = [
        replace(
            run,
            outcome=replace(
                run.outcome, parameters=by_width[re.search(r":(\d+)x", run.outcome.model)[1]]
            ),
        )
        for run in runs
    ]
    assert verdicts("sizes", runs) == {"S1": "held", "S2": "held", "S3": "held"}


def test_one_arm_on_smollm2(template):
    up = [made(template, {}, seed=seed, loss=lambda u: 3 + u / 100) for seed in range(3)]
    assert verdicts("law-smollm2", up) == {"M1": "held", "M2": "held"}


def over_generations(template, rises, **settings):
    """Runs of one seed per rise, of six generations of four updates, with a loss that goes up."""
    source = {f"source.{name}": value for name, value in settings.items()}
    found = []
    for seed, rise in enumerate(rises):
        run = made(template, {"source.kind": "generations", **source}, seed=seed, updates=24)
        rows = [
            Row(
                row.update,
                {**row.values, "generation": (number := (row.update - 1) // 4)}
                | {"validation.loss[sotu]": 6 + rise * number / 5 + row.update % 4 / 9}
                | {"pool.distinct_2": 0.9 - number / 500, "types.rare_share": 0.5},
            )
            for row in run.rows[1:]
        ]
        found.append(replace(run, rows=[run.rows[0], *rows]))
    return found


def test_generations(template):
    def arms(*, subsample=(0.2, 0.3, 0.2), mixed=0.2):
        scratch = {"start": "scratch"}
        return [
            *over_generations(template, (0.45, 0.5, 0.55), **scratch),
            *over_generations(template, (0.01, 0.02, 0.03), **scratch, keep="accumulate"),
            *over_generations(template, subsample, **scratch, keep="subsample"),
            *over_generations(template, (mixed,) * 3, **scratch, **{"real.share": 0.25}),
            *over_generations(template, (0.05, 0.06, 0.05)),
            *over_generations(template, (0.02, 0.03, 0.02), keep="accumulate"),
        ]

    assert set(verdicts("generations", arms()).values()) == {"held"}
    assert verdicts("generations", arms(subsample=(0.6, 0.7, 0.8)))["R2"] == "failed"
    assert verdicts("generations", arms(subsample=(0.2, 0.3, 0.8)))["R2"] == "undecided"
    assert verdicts("generations", arms(mixed=0.6))["R4"] == "failed"
    (found,) = (one for one in judge("generations", arms()) if one.id == "R1")
    assert found.value == pytest.approx(0.5)  # end of generation 5 less end of generation 0


def test_every_prediction_of_the_page_is_judged_and_no_other(template):
    page = (ROOT / "docs" / "predictions.md").read_text()
    stated = re.findall(r"^\| ([CLDTBSMR]\d+) \|", page, re.MULTILINE)
    runs = [made(template, {"model": "ladder:32x2@0"}, seed=0, loop=5)]
    judged = [one.id for sweep in sweeps() for one in judge(sweep, runs)]
    assert sorted(judged) == sorted(stated)
    assert judge("phase", runs) == []
    assert all(judge(sweep, []) == [] for sweep in sweeps())
