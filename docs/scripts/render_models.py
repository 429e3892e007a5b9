"""Write the tables of docs/models.md: what works with a checkpoint of each family.

    make models-page        # eight minutes on two cores (2026-11-25)

Builds the tiny checkpoints of tests/families.py, does with each what tests/family_cells.py
says, and renders the findings between the two marker comments of the page; the text
around them is written by hand.
"""

import logging
import os
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
sys.path.insert(0, str(ROOT / "tests"))

from collapse_lm.machine.processor import processor  # noqa: E402

from families import NOT_BUILT, families, save_family  # noqa: E402
from family_cells import CELLS, Findings, examine  # noqa: E402


def main() -> None:
    """Examine every family, in two processes, and write the page."""
    os.environ["OMP_NUM_THREADS"] = "1"
    names, found = families(), {}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for name, findings in zip(names, pool.map(_examined, names), strict=True):
            found[name] = findings
            print(line(name, findings), file=sys.stderr)
    text = PAGE.read_text("utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(before + "\n".join([BEGIN, "", *page(found), "", END]) + after, "utf-8")


def _examined(family: str) -> Findings:
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        return examine(save_family(family, Path(folder) / "model"), Path(folder) / "work")


def page(found: dict[str, Findings]) -> list[str]:
    """The lines between the markers."""
    import torch
    import transformers

    works = {name: findings for name, findings in found.items() if not findings.refused}
    refused = {name: findings for name, findings in found.items() if findings.refused}
    day = datetime.now(UTC).date().isoformat()
    return [
        f"{day}, transformers {transformers.__version__}, torch {torch.__version__}, "
        f"{processor()}: of {len(found) + len(NOT_BUILT)} rows, {len(works)} work, "
        f"{len(refused)} are refused, {len(NOT_BUILT)} could not be tried.",
        "",
        "| family | cells | bfloat16 | cache | speculation | passes |",
        "| --- | --- | --- | --- | --- | --- |",
        *(line(name, findings) for name, findings in works.items()),
        "",
        "| refused | why |",
        "| --- | --- |",
        *(line(name, findings) for name, findings in refused.items()),
        "",
        "| not tried | why |",
        "| --- | --- |",
        *(f"| {name} | {why} |" for name, why in NOT_BUILT.items()),
    ]


def line(family: str, findings: Findings) -> str:
    """A row of the tables."""
    if findings.refused:
        why = findings.refused.replace("|", "/").replace("<", "&lt;")
        return f"| {family} | {why} |"
    wrong = [cell for cell in CELLS if findings.cells[cell] != "exact"]
    cells = f"not {', '.join(wrong)}" if wrong else "exact"
    return f"| {family} | {cells} | {' | '.join(findings.means.values())} |"


if __name__ == "__main__":
    main()
