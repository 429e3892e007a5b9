"""Generations: data sets drawn whole, new models in the place of old ones, exact resume."""

import copy
import os
import signal
from collections import Counter
from itertools import count, islice
from pathlib import Path

import pytest
import torch
from test_run import untimed
from transformers import GPT2LMHeadModel, LogitsProcessorList
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
)

import collapse_lm
from collapse_lm import rng
from collapse_lm.config import load_config
from collapse_lm.config.kinds.generations import Generations
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import prepare
from collapse_lm.experiment.sources import own
from collapse_lm.experiment.sources.generations import generation_of
from collapse_lm.loop import self_train
from collapse_lm.rundir import RunReader

LENGTH, TEXTS, BATCH = 12, 10, 4
START = 256  # the start token of the tiny models
TOY = ["model=toy:unigram", "evaluation.corpora=[toy:unigram]"]
HUMAN_TOY = "source.real.corpus=toy:unigram"


@pytest.fixture(scope="module")
def words(tiny_overrides, prose_file):
    """Ten texts a generation, two epochs of three updates."""
    return [
        *tiny_overrides,
        "source.kind=generations",
        f"source.real.corpus=text:{prose_file}",
        f"source.texts={TEXTS}",
        "source.epochs=2",
        "source.generations=2",
        "source.rows=4",
        f"sampling.max_new_tokens={LENGTH}",
        f"sampling.batch_size={BATCH}",
        "evaluation.every=3",
        "run.threads=1",
        "run.report=false",
        "observers=[]",
        "collapse.stop=false",
    ]


def parts_of(words, *more):
    return prepare(load_config("quickstart", [*words, *more]))


def records(parts, number=None):
    return list(islice(self_train(parts.state, parts.experiment), number))


def by_generation(found):
    texts = {}
    for record in found[1:]:
        texts.setdefault(int(record.row["generation"]), []).append(record.batch.texts)
    return texts


def base_of(words):
    return GPT2LMHeadModel.from_pretrained(words[0].removeprefix("model=")).eval()


def loss_of(network, texts):
    """Mean nats per token of texts behind their prompts."""
    losses, tokens = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*text.prompt, *text.ids]])
        log_p = network(ids[:, :-1]).logits[0].log_softmax(-1)[-len(text.ids) :]
        losses = losses - log_p.gather(-1, torch.tensor(text.ids)[:, None]).sum()
        tokens += len(text.ids)
    return losses / tokens


def number_of(loss):
    return pytest.approx(loss.item(), rel=1e-5)


# --- which generation, and which texts -----------------------------------------------------------


@pytest.mark.parametrize("keep", ["replace", "accumulate", "subsample"])
@pytest.mark.parametrize("real", [{}, None])
def test_the_generation_of_an_update_is_that_of_a_list_of_all(keep, real):
    plan = Generations(texts=5, epochs=3, keep=keep, real=real, generations=4)
    listed = []
    for number in range(0 if real is not None else 1, 5):
        texts = 5 * (number + 1 - (real is None)) if keep == "accumulate" else 5
        for epoch in range(3):
            listed += [(number, step) for step in range(-(-texts // 2))]
            assert epoch < 3
    assert plan.length(2) == len(listed)
    places = [generation_of(plan, update, 2) for update in range(1, len(listed) + 1)]
    assert [place.number for place in places] == [number for number, _ in listed]
    for place, before in zip(places[1:], places, strict=False):
        goes_on = place.number == before.number
        assert place.update == (before.update + 1 if goes_on else 1)
        assert goes_on or before.update == before.updates


def test_a_given_number_of_generations_is_the_length_of_the_run(words):
    assert load_config("quickstart", words).run.max_updates == 18
    longer = load_config("quickstart", [*words, "source.keep=accumulate"])
    assert longer.run.max_updates == 2 * (3 + 5 + 8)
    free = load_config("quickstart", [*words, "source.generations=null", "run.max_updates=7"])
    assert free.run.max_updates == 7


def test_each_epoch_sees_every_text_once_in_another_order(words):
    found = by_generation(records(parts_of(words)))
    assert list(found) == [0, 1, 2]
    for batches in found.values():
        assert [len(texts) for texts in batches] == [4, 4, 2] * 2
        first, second = ([t.ids for b in half for t in b] for half in (batches[:3], batches[3:]))
        assert len(set(first)) == TEXTS
        assert sorted(first) == sorted(second)
        assert first != second


def test_generation_0_is_blocks_of_the_human_text(words, prose_file):
    parts = parts_of(words)
    texts = {t.ids: t for batch in by_generation(records(parts, 4))[0] for t in batch}
    tokenizer = parts.model.tokenizer
    ids = tokenizer(prose_file.read_text(), add_special_tokens=False)["input_ids"]
    blocks = [tuple(ids[i : i + LENGTH]) for i in range(0, len(ids) - LENGTH + 1, LENGTH)]
    assert set(texts) <= set(blocks)
    assert {t.prompt for t in texts.values()} == {(START,)}
    assert {t.origin for t in texts.values()} == {f"corpus:text:{prose_file}"}


def test_a_generation_is_drawn_whole_from_the_finished_model_of_the_last(words):
    parts = parts_of(words)
    loop = self_train(parts.state, parts.experiment)
    list(islice(loop, 7))
    sampling, sampler = parts.context.sampling(), parts.state.models.sampler
    wanted = [
        ids
        for part, rows in enumerate((4, 4, 2))
        for ids in sampling.draw(sampler, [(START,)] * rows, (7, part)).samples
    ]
    texts = [t for record in islice(loop, 3) for t in record.batch.texts]
    assert sorted(t.ids for t in texts) == sorted(wanted)
    assert {t.origin for t in texts} == {"generation:1"}
    assert all(len(t.log_probs) == len(t.entropies) == LENGTH for t in texts)


def test_accumulated_texts_are_all_so_far_and_a_subsample_is_as_many_as_one_generation(words):
    every = by_generation(records(parts_of(words, "source.keep=accumulate", "source.epochs=1")))
    origins = [Counter(t.origin[:10] for batch in every[g] for t in batch) for g in (0, 1, 2)]
    human = next(iter(origins[0]))
    assert origins[1] == {human: 10, "generation": 10}
    assert origins[2] == {human: 10, "generation": 20}
    texts = [t.ids for batch in every[1] for t in batch]
    assert set(texts) <= {t.ids for batch in every[2] for t in batch}

    some = by_generation(records(parts_of(words, "source.keep=subsample", "source.epochs=1")))
    for generation in (1, 2):
        chosen = [(t.origin, t.ids) for batch in some[generation] for t in batch]
        assert len(chosen) == TEXTS
        assert 0 < sum(origin.startswith("corpus") for origin, _ in chosen) < TEXTS
    assert {t.origin for batch in some[2] for t in batch} > {"generation:1", "generation:2"}


def test_a_share_of_the_texts_stays_human(words):
    found = records(parts_of(words, "source.real.share=0.3", "source.epochs=1"))
    for generation, batches in by_generation(found).items():
        human = [t.ids for b in batches for t in b if t.origin.startswith("corpus")]
        assert len(human) == (3 if generation else TEXTS)
    told = [r.row["generation.human"] for r in found[1:]]
    assert [sum(told[i : i + 3]) for i in (0, 3, 6)] == [10, 3, 3]


def test_without_human_text_the_base_model_draws_the_first_texts(words):
    parts = parts_of(words, "source.real=null", "source.generations=1")
    sampling = parts.context.sampling()
    wanted = sampling.draw(parts.state.models.sampler, [(START,)] * 4, (1, 0)).samples
    found = records(parts)
    assert [r.row["generation"] for r in found[1:]] == [1] * 6
    assert set(wanted) <= {t.ids for r in found[1:4] for t in r.batch.texts}
    assert found[1].row["train.loss"] == number_of(loss_of(base_of(words), found[1].batch.texts))


# --- what a generation begins with ---------------------------------------------------------------


def test_a_generation_takes_the_first_step_of_a_new_optimizer_on_the_base_model(words):
    parts = parts_of(words, "training.schedule.kind=cosine", "training.schedule.final=0.1")
    found = records(parts, 8)
    batch, network = found[7].batch, base_of(words)
    assert found[7].row["train.loss"] == number_of(loss_of(network, batch.texts))
    rates = [r.row["train.lr"] for r in found[1:]]
    assert rates[0] == rates[6] > rates[5] == pytest.approx(3e-4)

    decayed = [p for p in network.parameters() if p.dim() >= 2]
    other = [p for p in network.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": other, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rates[6], betas=(0.9, 0.95))
    loss_of(network, batch.texts).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    trained = dict(parts.state.models.trained.named_parameters())
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(trained[name], parameter, rtol=1e-4, atol=2e-5)


def test_the_last_generation_s_weights_and_optimizer_go_on_where_they_should(words):
    parts = parts_of(words, "source.start=last")
    loop = self_train(parts.state, parts.experiment)
    list(islice(loop, 7))
    before = copy.deepcopy(parts.state.models.trained)
    after = next(loop)
    assert after.row["train.loss"] == number_of(loss_of(before, after.batch.texts))
    memory = parts.state.survivors["optimizer"].state()
    assert {float(v) for k, v in memory.items() if k.endswith("/step")} == {7.0}


def test_from_scratch_every_generation_has_new_random_weights(words):
    def weights(seed, number):
        parts = parts_of(words, "source.start=scratch", f"seed={seed}", "training.learning_rate=0")
        records(parts, number)
        return parts.state.models.trained.transformer.h[0].mlp.c_fc.weight.detach().clone()

    drawn = weights(0, 2)
    torch.testing.assert_close(drawn, weights(0, 4), rtol=0, atol=0)
    assert drawn.std() == pytest.approx(0.2, rel=0.05)  # what the configuration says
    others = [weights(0, 8), weights(1, 2), base_of(words).transformer.h[0].mlp.c_fc.weight]
    assert all((other - drawn).abs().max() > 0.1 for other in others)


@pytest.mark.parametrize(
    "more",
    [
        ["training.ema={decay: 0.5}"],
        ["training.lora={rank: 2}", "training.ema={decay: 0.5, sample: false}"],
        ["objective={kind: entropy_bonus, weight: 0.1, adaptive: {target: 9}}"],
    ],
    ids=["ema", "lora", "adaptive"],
)
def test_averages_adapters_and_coefficients_begin_anew_too(words, more):
    """At rate 0 from the restart on, all is again as it was before the first update."""
    pytest.importorskip("peft")
    parts = parts_of(words, *more)
    first = {n: copy.deepcopy(p.state()) for n, p in parts.state.survivors.items()}
    model = copy.deepcopy(parts.state.models.state())
    records(parts, 7)
    batch = parts.experiment.source.draw(moment := at(parts, 7))
    assert any((parts.state.models.state()[n] != v).any() for n, v in model.items())
    parts.experiment.restart(parts.state.models, moment.update, batch.generation)
    for name, value in parts.state.models.state().items():
        torch.testing.assert_close(value, model[name], rtol=0, atol=0)
    assert not [k for k in parts.state.survivors["optimizer"].state() if ":" not in k]
    for name in {"ema", "objective"} & first.keys():
        now = parts.state.survivors[name].state()
        for key, value in first[name].items():
            torch.testing.assert_close(torch.as_tensor(now[key]), torch.as_tensor(value))


def at(parts, update):
    from collapse_lm.experiment.models import Moment

    return Moment(update, parts.state.models)


# --- resume --------------------------------------------------------------------------------------

WAYS = {
    "replace": ["source.real.share=0.3", "training.schedule.kind=cosine"],
    "accumulate": ["source.keep=accumulate", "source.epochs=1"],
    "subsample": ["source.keep=subsample", "source.start=last"],
    "scratch": ["source.start=scratch", "source.real=null"],
}


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    known = {}

    def do(way):
        if way not in known:
            path = tmp_path_factory.mktemp("generations") / way
            more = [*words, *WAYS[way], "run.export_model=true"]
            known[way] = collapse_lm.run("quickstart", path, overrides=more).directory
        return known[way]

    return do


@pytest.mark.parametrize(
    ("way", "cut"),
    [
        *(("replace", cut) for cut in (5, 6, 7)),  # in an epoch, before and after a restart
        ("accumulate", 9),
        ("subsample", 8),
        ("scratch", 8),
    ],
)
def test_a_run_that_was_cut_is_the_whole_run(way, cut, words, whole, tmp_path):
    more, asked = [*words, *WAYS[way], "run.export_model=true"], count(1)
    stopped = collapse_lm.run(
        "quickstart", tmp_path / "cut", overrides=more, should_stop=lambda: next(asked) > cut
    )
    assert stopped.summary["status"] == "interrupted"
    assert stopped.summary["updates"] == cut
    collapse_lm.resume(tmp_path / "cut")
    assert_same(tmp_path / "cut", whole(way))


def assert_same(found, wanted):
    assert untimed(found) == untimed(wanted)
    for name in ("samples.jsonl", "model/model.safetensors"):
        assert (found / name).read_bytes() == (wanted / name).read_bytes()


def test_a_kill_while_a_generation_is_drawn_loses_nothing(words, whole, tmp_path, monkeypatch):
    more = [*words, *WAYS["accumulate"], "run.export_model=true", "run.checkpoint_every=3"]
    child = os.fork()
    if not child:
        monkeypatch.setattr(own.Sampling, "draw", deadly(own.Sampling.draw))
        try:
            collapse_lm.run("quickstart", tmp_path / "run", overrides=more)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert max(row.update for row in RunReader(tmp_path / "run").updates()) <= 8
    collapse_lm.resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole("accumulate"))


def deadly(draw):
    """Kills the process at the second part of generation 2."""

    def kill(self, network, prompts, name, *more, **settings):
        if self.purpose == "sample" and name == (9, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, network, prompts, name, *more, **settings)

    return kill


def test_a_run_goes_on_with_more_generations(words, whole, tmp_path):
    path = tmp_path / "run"
    short = [*words, *WAYS["replace"], "source.generations=1"]
    collapse_lm.run("quickstart", path, overrides=[*short, "run.checkpoint_every=6"])
    collapse_lm.resume(path, overrides=["source.generations=2"])
    assert (path / "samples.jsonl").read_bytes() == (
        whole("replace") / "samples.jsonl"
    ).read_bytes()


# --- prompts -------------------------------------------------------------------------------------


def test_human_blocks_are_prompts_that_are_not_learned(words):
    parts = parts_of(words, "source.prompts=human", "source.real.share=0.2", "source.rows=64")
    loop = self_train(parts.state, parts.experiment)
    human = [t for record in islice(loop, 1, 4) for t in record.batch.texts]
    list(islice(loop, 3))
    sampler = parts.state.models.sampler
    weights = copy.deepcopy(parts.state.models.trained)
    texts = [t for record in islice(loop, 3) for t in record.batch.texts]
    drawn = {t.ids for t in texts if t.origin == "generation:1"}
    assert len(drawn) == 8
    assert {t.prompt for t in texts} == {(START,)}
    kept = [t.ids for t in texts if t.origin != "generation:1"]
    ids = parts.model.tokenizer(
        Path(human[0].origin.removeprefix("corpus:text:")).read_text(), add_special_tokens=False
    )["input_ids"]
    place = {tuple(ids[i : i + LENGTH]): i for i in range(0, len(ids), LENGTH)}
    prompts = sorted({t.ids for t in human} - set(kept), key=place.__getitem__)
    parts.state.models.trained.load_state_dict(weights.state_dict())
    sampler.refresh()
    assert drawn == {*parts.context.sampling().draw(sampler, prompts, (7, 0)).samples}


def test_prompts_of_a_file_are_gone_through_in_every_generation(words, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("".join(f"prompt {n}\n" for n in range(TEXTS)))
    found = by_generation(records(parts_of(words, f"sampling.prompts={file}", "source.epochs=1")))
    for generation in (1, 2):
        prompts = [t.prompt for batch in found[generation] for t in batch]
        assert len(set(prompts)) == TEXTS


# --- repetition penalty and beams -----------------------------------------------------------------


def test_a_penalised_sample_is_the_definition(words):
    """Token by token: a whole pass, the processors of transformers in their order, one uniform."""
    parts = parts_of(words, "sampling.repetition_penalty=1.4", "sampling.top_k=50")
    sampling, network = parts.context.sampling(), base_of(words)
    prompts = [(START, 7, 7), (START, 9, 11)]
    drawn = sampling.draw(parts.state.models.sampler, prompts, (3, 1))
    uniforms = rng.uniforms(rng.stream(0, "sample", 3, 1), 2, LENGTH)
    wanted = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.4),
            TemperatureLogitsWarper(0.8),
            TopKLogitsWarper(50),
        ]
    )
    for prompt, ids, log_probs, numbers in zip(
        prompts, drawn.samples, drawn.log_probs, uniforms, strict=True
    ):
        seen = list(prompt)
        for u, token, log_p in zip(numbers, ids, log_probs, strict=True):
            with torch.no_grad():
                logits = network(torch.tensor([seen])).logits[0, -1:]
            p = wanted(torch.tensor([seen]), logits.clone())[0].double().softmax(-1)
            assert token == int(torch.searchsorted(p.cumsum(0), u, right=True))
            plain = logits[0].log_softmax(-1)[token].item()
            assert log_p == pytest.approx(plain, abs=1e-4)  # of the model, not of the penalty
            seen.append(token)


def test_beams_are_those_of_transformers(words):
    more = ["source.beams=3", "source.prompts=human", "sampling.repetition_penalty=3.0"]
    parts = parts_of(words, *more)
    loop = self_train(parts.state, parts.experiment)
    list(islice(loop, 7))
    network = copy.deepcopy(parts.state.models.trained)
    prompts = torch.tensor([t.ids for t in parts.experiment.source._human])
    found = network.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        num_beams=3,
        do_sample=False,
        repetition_penalty=3.0,
        max_new_tokens=LENGTH,
        min_new_tokens=LENGTH,
        pad_token_id=0,
    )[:, LENGTH:]
    texts = [t for record in islice(loop, 3) for t in record.batch.texts]
    assert START not in found  # which transformers' minimal length forbids, and ours does not
    assert sorted(t.ids for t in texts) == sorted(map(tuple, found.tolist()))
    place = {tuple(ids): i for i, ids in enumerate(found.tolist())}
    for text in texts:
        whole = torch.cat([prompts[place[text.ids]], torch.tensor(text.ids)])[None]
        with torch.no_grad():
            log_p = network(whole[:, :-1]).logits[0, LENGTH - 1 :].log_softmax(-1)
        wanted = log_p.gather(-1, torch.tensor(text.ids)[:, None])[:, 0].tolist()
        assert text.log_probs == pytest.approx(wanted, abs=1e-4)
        assert text.entropies == pytest.approx((-(log_p.exp() * log_p).sum(-1)).tolist(), abs=1e-4)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["source.texts=1000"], r"blocks of 12 tokens"),
        (["source.real.share=0.5", "source.keep=accumulate"], "keeps all human texts"),
        (["source.real=null", "source.prompts=human"], "prompts: sampling"),
        (["source.start=scratch", "source.real=null", *TOY], "scratch, for a Unigram"),
        (["source.start=scratch", "training.lora={rank: 2}"], "scratch, for adapters"),
        (["source={kind: mix, of: {kind: generations}}"], "generations alone, no mix around it"),
        (["source.prompts=human", "sampling.max_new_tokens=100", "source.texts=2"], "positions"),
        (["training.schedule={kind: cosine, warmup: 5, updates: 5}"], "updates above 5"),
        (["source.epochs=0"], "greater than or equal to 1"),
        (["source.beams=2"], "one prompt"),
        (["sampling.top_k=1"], "one prompt"),
        (["source.beams=2", "source.prompts=human", "sampling.context=sliding"], "context=full"),
        (["source.beams=2", "source.prompts=human", *TOY, HUMAN_TOY], "2, for a Unigram"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(more, told, words, tmp_path):
    with pytest.raises(UserError, match=told):
        collapse_lm.run("quickstart", tmp_path / "run", overrides=[*words, *more])
    assert not (tmp_path / "run").exists()


def test_toys_have_generations_too():
    more = [*TOY, "source.kind=generations", HUMAN_TOY]
    more += ["source.texts=8", "sampling.max_new_tokens=8", "sampling.batch_size=8"]
    more += ["evaluation.context=64", "collapse.stop=false"]
    parts = prepare(load_config("quickstart", [*more, "source.generations=2"]))
    first = copy.deepcopy(parts.state.models.state())
    found = records(parts)
    assert [r.row["generation"] for r in found[1:]] == [0, 1, 2]
    stepped = parts.state.models.state()
    rate = found[-1].row["train.lr"]
    for name, value in first.items():  # one step of AdamW from the first weights, not three
        assert (stepped[name] - value).abs().max() <= 1.2 * rate


def test_random_numbers_of_generations_are_named(words):
    numbers = rng.stream(0, "source", 7, 0, 0, 1)
    order = torch.randperm(TEXTS, generator=numbers).tolist()
    parts = parts_of(words)
    found = records(parts, 8)
    packed = parts.experiment.source._drawn[1]
    assert [t.ids for t in found[7].batch.texts] == [packed.text(i, "").ids for i in order[:BATCH]]
