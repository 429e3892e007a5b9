"""Each module imports only from the layers above it, nothing goes in a circle, and no room is big.

Imports for types only do not count. Imports within functions (which keep torch out of
`--help`) count for circles, not for layers.
"""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import collapse_lm

ROOT = Path(collapse_lm.__file__).parent
PACKAGE = "collapse_lm"
# From the top: a module imports, where it is loaded, from its own line and from those above it.
# A line names modules or rooms; the longest name that fits a module is its place.
LAYERS = [
    ["_version", "errors", "_util"],
    ["rng"],
    ["config.fields", "config.slots", "config.given", "config.sections"],
    ["config"],
    ["measures.names", "measures.text", "measures.rule", "measures"],
    ["experiment.batch"],
    ["measures.seen"],
    ["toys", "ngrams.counts", "ngrams.kneser_ney", "ngrams.mixture", "ngrams.cache"],
    ["corpora", "models", "machine.compute", "machine.allocator", "machine"],
    ["inference"],
    ["sampling"],
    ["experiment.models"],
    ["measures.base", "measures.overlap", "measures.validation", "measures.against_base"],
    ["measures.prefixes", "measures.types", "measures.drift"],
    ["experiment", "observers.base", "observers.guard", "observers"],
    ["loop"],
    ["rundir.shape", "rundir.rows", "rundir.frames", "rundir"],
    ["observers.trackers"],
    ["experiment.build", "experiment.threads", "own_loop", "toys.generations", "toys.trials"],
    ["rundir.resume", "rundir.same_prompts", "rundir.manifest"],
    ["pretraining"],
    ["analysis"],
    ["report"],
    ["observers.pictures", "observers.report", "observers.display"],
    ["rundir.process", "rundir.ended", "rundir.session"],
    ["machine.doctor_lines", "machine.doctor"],
    ["sweeps", "dynamic", "ngrams"],
    ["monitor"],
    ["audits"],
    ["reproduction"],
    ["view"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
}


def rank(module: str) -> int:
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(RANK[name] for name in names if name in RANK)


def imports(module: str, *, within_functions: bool) -> Iterator[str]:
    """The modules of this package that a module imports, those for types only left out."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, (ast.FunctionDef, ast.Lambda)) and not within_functions:
                continue
            yield from _named(child)
            yield from visit(child)

    yield from visit(tree)


def _named(node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    for name in names:
        if name.startswith(f"{PACKAGE}."):
            inner = name.removeprefix(f"{PACKAGE}.")
            while inner and inner not in MODULES:
                inner = inner.rpartition(".")[0]
            if inner:
                yield inner


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_upward_only(module):
    found = set(imports(module, within_functions=False))
    assert [name for name in sorted(found) if rank(name) > rank(module)] == []


def test_no_import_goes_in_a_circle():
    graph = {module: set(imports(module, within_functions=True)) for module in MODULES}
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(graph[module] - {module}):
                walk(name, [*path, module])
            done.add(module)

    for module in graph:
        walk(module, [])


def test_the_loop_knows_no_disk_and_no_printing():
    seen, todo = set(), ["loop"]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += imports(module, within_functions=False)
    assert {module.split(".")[0] for module in seen} & {
        *("rundir", "report", "cli", "sweeps", "analysis", "pretraining", "observers"),
    } == set()


MAKERS = ("torch.Generator(", "manual_seed", "import random", "np.random.Generator(", "default_rng")


def test_only_the_rng_module_makes_generators():
    users = [
        module
        for module, path in MODULES.items()
        if any(word in path.read_text() for word in MAKERS)
    ]
    assert users == ["rng"]


@pytest.mark.parametrize("module", ["cli", "cli.main", "analysis.frames", "report.reproduction"])
def test_light_modules_import_neither_torch_nor_numba(module):
    code = (
        f"import sys, collapse_lm.{module}; "
        "sys.exit(str({'torch', 'numba', 'transformers'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() in ("", "None"), done.stderr


# --- sizes -------------------------------------------------------------------------------------


def function_lengths() -> dict[str, int]:
    found = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found[f"{module}.{node.name}:{node.lineno}"] = (
                    (node.end_lineno or start) - start + 1
                )
    return found


def test_modules_are_short():
    lengths = {m: len(path.read_text().splitlines()) for m, path in MODULES.items()}
    assert {m: n for m, n in lengths.items() if n > 350} == {}
    assert statistics.median(lengths.values()) <= 120


def test_functions_are_short():
    lengths = function_lengths()
    assert {name: n for name, n in lengths.items() if n > 50} == {}
    assert statistics.median(lengths.values()) <= 8
