"""Each module imports only from the layers above it."""

import ast
from pathlib import Path

import collapse_lm

ROOT = Path(collapse_lm.__file__).parent
# From the top: a module may import from its own line and from the lines above it.
LAYERS = [
    ["_version", "errors", "printable", "reading"],
    ["rng"],
    ["config"],
    ["metrics"],
    ["hub_access", "data"],
    ["models", "precision", "memory"],
    ["inference"],
    ["sampling"],
    ["training", "evaluation"],
    ["sources"],
    ["records"],
    ["resumable"],
    ["sweep"],
    ["loop"],
    ["parts"],
    ["manifest"],
    ["pretraining"],
    ["reproduction"],
    ["analysis"],
    ["report"],
    ["checkpoints"],
    ["runner"],
    ["doctor_lines", "doctor"],
    ["engines"],
    ["cli"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def layer_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("collapse_lm."):
                yield name.split(".")[1]


def test_every_module_has_a_layer():
    modules = {layer_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert modules == set(RANK)


def test_imports_go_upward_only():
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.rglob("*.py")
        if layer_of(path) != "__init__"
        for name in imports_of(path)
        if RANK[name] > RANK[layer_of(path)]
    ]
    assert not wrong


def test_only_the_runner_and_its_checkpoints_join_the_loop_to_the_disk():
    loop = set(imports_of(ROOT / "loop.py"))
    assert loop <= {
        "inference",
        "evaluation",
        "metrics",
        "precision",
        "records",
        "sampling",
        "sources",
        "training",
    }
    modules = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]
    users = [path for path in modules if {"loop", "records"} <= set(imports_of(path))]
    assert {layer_of(path) for path in users} == {"runner", "checkpoints"}


MAKERS = ("torch.Generator(", "manual_seed", "import random", "np.random.Generator(", "default_rng")


def test_only_the_rng_module_makes_generators():
    users = [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(word in path.read_text() for word in MAKERS)
    ]
    assert users == ["rng.py"]
