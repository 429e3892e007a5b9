"""Speculation changes no token: in float64, and in the compiled passes, every id is equal."""

import itertools
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collapse_lm import rng
from collapse_lm.config import SamplingConfig, load_config
from collapse_lm.experiment.prompts import Prompts
from collapse_lm.experiment.sources import OwnSamples, Sampling
from collapse_lm.inference import inference_network
from collapse_lm.inference.cpu import requirements
from collapse_lm.inference.cpu.layout import AVX512
from collapse_lm.inference.cpu.network import CompiledNetwork
from collapse_lm.inference.generic import GenericNetwork
from collapse_lm.rundir import RunReader
from collapse_lm.rundir.session import run
from collapse_lm.sampling import Drafter, Filters, sample

from conftest import tiny_gpt2, tiny_llama
from hostile import IS_FULL

SETTINGS = list(
    itertools.product(
        [
            *(Filters(0.3), Filters(0.8, top_k=20), Filters(1.0, top_p=0.8), Filters(0)),
            Filters(0.5, min_p=0.1, excluded=(0, 200)),
            Filters(0.6, repetition_penalty=1.2),
        ],
        [1, 3],  # batch
        [1, 4, 15],  # longest proposal
        [(256,), tuple(range(30)) * 2],  # prompt
    )
)
ENTROPIES = ("entropy", "sampling_entropy", "top1")
SEEDS = 504 if IS_FULL else 2 * len(SETTINGS)  # every setting ten times, or twice


def repetitive(master):
    """Sharpen a random model, so that it falls into loops and proposals hold now and then."""
    with torch.no_grad():
        for parameter in master.parameters():
            parameter.mul_(2.5)
    return master.double()


NETWORKS = [
    *("gpt2", "llama", "generic", "gpt2 in bfloat16", "llama in bfloat16"),
    *("gpt2 in float32", "llama in float32"),
]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request):
    """In float64; on the kernels too, where every row has the same bits in any pass."""
    if request.param == "generic":
        return GenericNetwork(repetitive(tiny_gpt2()), torch.float64)
    name, *compiled = request.param.split(" in ")
    master = repetitive({"gpt2": tiny_gpt2, "llama": tiny_llama}[name]())
    if not compiled:
        return inference_network(master, "float32")
    if not requirements.can_compile():
        pytest.skip("the kernels need numba, and torch on GNU's OpenMP")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requirements, "_SMALLEST", 0)
        network = inference_network(master.float(), compiled[0], decodes=True)
    assert isinstance(network, CompiledNetwork)
    return network


def test_ids_equal_plain_sampling_over_seeds_and_settings(network):
    drafters = {}
    passes = tokens = 0
    for seed in range(SEEDS):
        filters, batch, longest, prompt = SETTINGS[seed % len(SETTINGS)]
        uniforms = rng.uniforms(rng.stream(seed, "sample"), batch, 40)
        drafter = drafters.setdefault(longest, Drafter(longest, memory=500))
        plain = sample(network, prompt, uniforms, filters)
        fast = sample(network, prompt, uniforms, filters, drafter=drafter)
        assert fast.samples == plain.samples
        assert fast.entropy == pytest.approx(plain.entropy, rel=1e-6)
        if filters.repetition_penalty == 1:  # with one, what was there before is seldom right
            passes, tokens = passes + fast.forward_passes, tokens + fast.tokens
    assert passes < 0.8 * tokens  # so that the equality is one of real proposals


AVX2_ALONE = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2,+popcnt,+f16c",
}


@pytest.mark.skipif(
    requirements.layout_here() != AVX512, reason="the processor has the layout of AVX2 only"
)
def test_ids_are_equal_in_the_layout_of_avx2_too():
    this = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "ids_equal and float",
    ]
    done = subprocess.run(
        [sys.executable, *this], capture_output=True, text=True, env=os.environ | AVX2_ALONE
    )
    assert "4 passed" in done.stdout, done.stdout


COSTS = ("seconds.", "draw.forward_passes")  # what speculation is to change
# In float32 a pass over several rows rounds what is read from the logits in its last digits.
ROUNDED = tuple(f"{of}.{name}" for of in ("draw", "probe") for name in ENTROPIES)


def numbers(reader):
    dropped = (*COSTS, *ROUNDED)
    rows = [row.values.items() for row in reader.updates()]
    return [{name: v for name, v in row if not name.startswith(dropped)} for row in rows]


def column(reader, name):
    return [row.values[name] for row in reader.updates()[1:]]


def texts(reader):
    return [[(t.prompt, t.ids, t.text) for t in row.texts] for row in reader.samples()]


@pytest.mark.parametrize("changes", [[], ["sampling.batch_size=3"], ["sampling.speculation=3"]])
def test_a_whole_run_gives_the_same_record(changes, tiny_overrides, tmp_path):
    settings = [*tiny_overrides, *changes, "training.learning_rate=1e-2", "run.max_updates=15"]
    settings += ["collapse.stop=false", "sampling.temperature=0.5", "sampling.max_new_tokens=60"]
    on = run(load_config("quickstart", settings), tmp_path / "on")
    off = run(load_config("quickstart", [*settings, "sampling.speculation=off"]), tmp_path / "off")
    fast, plain = (RunReader(result.directory) for result in (on, off))
    assert texts(fast) == texts(plain)
    assert numbers(fast) == numbers(plain)
    for name in ROUNDED:
        assert column(fast, name) == pytest.approx(column(plain, name), rel=1e-5)
    for one, other in zip(fast.samples(), plain.samples(), strict=True):
        for text, same in zip(one.texts, other.texts, strict=True):
            assert text.log_probs == pytest.approx(same.log_probs, abs=2e-3)
    assert sum(column(fast, "draw.forward_passes")) < sum(column(plain, "draw.forward_passes"))


def test_a_loop_takes_few_passes():
    network = inference_network(repetitive(tiny_gpt2()), "float32")
    uniforms = rng.uniforms(rng.stream(0, "sample"), 1, 60)
    drafter = Drafter(15)
    first = sample(network, [256], uniforms, Filters(0), drafter=drafter)
    again = sample(network, [256], uniforms, Filters(0), drafter=drafter)
    assert again.samples == first.samples
    assert again.forward_passes <= 12


@given(st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=6))
def test_proposals_are_short_enough_and_hold_known_tokens_only(samples):
    drafter = Drafter(8)
    for ids in samples[:-1]:
        drafter.learn(ids)
    sequence = drafter.sequence()
    for token in samples[-1] if samples else []:
        sequence.extend(token)
        proposed = sequence.propose(8)
        assert len(proposed) <= 8
        assert set(proposed) <= {0, 1, 2}


def test_a_period_is_continued_past_the_end_of_what_is_known():
    sequence = Drafter(8).sequence()
    for token in [7, 8, 9, 7, 8]:
        sequence.extend(token)
    for _ in range(3):
        sequence.tell(1, 1)
    assert sequence.propose(8) == [9, 7, 8, 9, 7, 8, 9, 7]


def test_a_proposal_grows_while_it_holds_and_shrinks_when_it_fails():
    sequence = Drafter(15).sequence()
    for token in [1, 2] * 30:
        sequence.extend(token)
    lengths = [len(sequence.propose(99))]
    for held in (None, None, 3, 0):
        proposed = len(sequence.propose(99))
        sequence.tell(proposed, proposed if held is None else held)
        lengths.append(len(sequence.propose(99)))
    assert lengths == [4, 8, 15, 4, 2]
    assert sequence.propose(1) == [1]


def test_memory_has_a_fixed_size_and_keeps_the_latest():
    memory = Drafter(4, memory=100).memory
    size = len(memory._ring), len(memory._ends)
    for start in range(200):
        memory.write(range(1000 * start, 1000 * start + 20))
    assert (len(memory._ring), len(memory._ends)) == size
    assert memory.after((199_000, 199_001), 3) == [199_002, 199_003, 199_004]
    assert memory.after((0, 1), 3) is None
    assert memory.after((199_018, 199_019), 3) == []  # nothing across the end of a sample


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=12))
def test_a_hit_of_the_memory_is_what_followed_that_ngram(samples):
    memory = Drafter(4, memory=40).memory
    for ids in samples:
        memory.write(ids)
    for ngram in {tuple(ids[i : i + 2]) for ids in samples for i in range(len(ids) - 1)}:
        found = memory.after(ngram, 3)
        ends = [
            ids[i + 2 : i + 5]
            for ids in samples
            for i in range(len(ids) - 1)
            if tuple(ids[i : i + 2]) == ngram
        ]
        assert found is None or found in ends
    newest = [tuple(ids[i : i + 2]) for ids in samples[-1:] for i in range(len(ids) - 1)]
    assert all(memory.after(ngram, 3) is not None for ngram in newest[-1:])


@pytest.mark.parametrize(
    ("changes", "longest"),
    [
        ({}, 15),
        ({"batch_size": 4}, 3),
        ({"batch_size": 40}, None),
        ({"speculation": 5, "batch_size": 40}, 5),
        ({"speculation": "off"}, None),
        ({"context": "sliding"}, None),
        ({"context": "sliding", "speculation": 5}, None),
    ],
)
def test_the_setting_decides_the_longest_proposal(changes, longest, caplog):
    caplog.set_level("INFO")
    sampling = Sampling(SamplingConfig(**changes), Prompts(((256,),), 0), 256, seed=0)
    source = OwnSamples(sampling)
    assert (source._drafter.longest_draft if source._drafter else None) == longest
    says = "needs sampling.context=full" in caplog.text
    assert says == (changes.get("context") == "sliding" and "speculation" in changes)


def test_a_draw_does_not_depend_on_what_the_drafter_knows():
    network = inference_network(repetitive(tiny_gpt2()), "float32")
    uniforms = rng.uniforms(rng.stream(1, "sample"), 1, 50)
    knowing = Drafter(15)
    for seed in range(20):
        numbers = rng.uniforms(rng.stream(seed, "sample"), 1, 50)
        sample(network, [256], numbers, Filters(0.5), drafter=knowing)
    drafters = (knowing, Drafter())
    one, other = (sample(network, [256], uniforms, Filters(0.5), drafter=d) for d in drafters)
    assert one.samples == other.samples
