"""A ladder of models from scratch: the loop, what is left on disk, and the command."""

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from collapse_lm import rng
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.corpora.evaluation_set import EvaluationSet
from collapse_lm.errors import MachineError, UserError
from collapse_lm.inference import inference_network
from collapse_lm.machine.compute import choose_device, choose_precision
from collapse_lm.measures.validation import evaluate
from collapse_lm.models.load import load_model
from collapse_lm.pretraining import Recipe, Size
from collapse_lm.pretraining import ladder as ladder_module
from collapse_lm.pretraining.ladder import pretrain_ladder
from collapse_lm.pretraining.network import count_parameters, make_network
from collapse_lm.pretraining.recipe import require_recipe
from collapse_lm.pretraining.texts import load_texts, prepare, split_tail
from collapse_lm.pretraining.tokenizer import END, encode, encode_corpus, train_tokenizer
from collapse_lm.pretraining.train import batch_loss, draw_windows, pretrain, rate_share

from commands import call, command
from hostile import call as call_here

COMPUTE = choose_precision("float32", choose_device("cpu"))


def text_of_a_grammar(sentences=1500):
    """Sentences with structure to learn, from a seeded stream."""
    numbers = np.random.default_rng(0)
    nouns = ["ship", "river", "senate", "treaty", "farmer", "railroad", "harbour", "bank"]
    verbs = ["crosses", "governs", "feeds", "builds", "taxes", "repairs"]
    pick = lambda words: words[numbers.integers(len(words))]  # noqa: E731
    return " ".join(f"The {pick(nouns)} {pick(verbs)} the {pick(nouns)}." for _ in range(sentences))


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "grammar.txt"
    path.write_text(text_of_a_grammar(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def recipe(corpus_file):
    return Recipe(
        corpus=f"text:{corpus_file}",
        sizes=("32x1", "64x2"),
        vocabulary=300,
        context=32,
        tokens=32 * 8 * 60,
        learning_rate=1e-2,
        width_power=0,
        precision="float32",
    )


@pytest.fixture(scope="module")
def ladder(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("ladder")
    return out, pretrain_ladder(recipe, out)


@pytest.fixture(scope="module")
def ids(recipe):
    text = load_texts(recipe).learned.text
    return encode_corpus(train_tokenizer(text, 300, 32), "grammar", text, 32)


def losses_of(folder):
    return [json.loads(line) for line in (folder / "loss.jsonl").read_text().splitlines()]


def weights_of(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def changed(recipe, **values):
    return Recipe.model_validate({**recipe.model_dump(), **values})


# --- the loop ------------------------------------------------------------------------------


def train(recipe, ids, size="32x1"):
    network = make_network(Size.parse(size), recipe, 300, 0)
    return network, list(pretrain(network, ids, 0, recipe, COMPUTE))


def test_the_loss_falls_far_below_that_of_unigrams(recipe, ids, ladder):
    counts = torch.bincount(ids).double()
    shares = counts[counts > 0] / counts.sum()
    unigram = float(-(shares * shares.log()).sum())
    for built in ladder[1]:
        curve = losses_of(built.folder)
        assert curve[0]["loss"] == pytest.approx(math.log(300), abs=0.1)
        assert built.provenance["train_loss"] < 0.8 * unigram
        assert built.provenance["held_out_loss"]["loss"] < unigram / 2


def test_a_seed_decides_every_bit(recipe, ids):
    short = changed(recipe, tokens=32 * 8 * 5)
    (one, curve), (again, same) = train(short, ids), train(short, ids)
    assert curve == same
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    other, differs = train(changed(short, seed=1), ids)
    assert differs[0].loss != curve[0].loss
    assert not torch.equal(one.base_model.wte.weight, other.base_model.wte.weight)


def test_the_steps_are_those_of_torchs_adamw_with_a_clip(recipe, ids):
    """Write the loop out with nothing but torch, and compare the weights."""
    short = changed(recipe, tokens=32 * 8 * 6, grad_clip=0.5, weight_decay=0.3, beta_2=0.99)
    trained, curve = train(short, ids)
    network = make_network(Size(32, 1), short, 300, 0).train()
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.3},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.99),
    )
    for step in range(1, 7):
        inputs, targets = draw_windows(ids, 0, short, step)
        loss = functional.cross_entropy(network(inputs).logits.transpose(1, 2), targets)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * rate_share(step - 1, short)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        assert curve[step - 1].loss == pytest.approx(loss.item(), rel=1e-5)
        assert curve[step - 1].grad_norm == pytest.approx(float(norm), rel=1e-4)
    assert max(learned.grad_norm for learned in curve) > 0.5  # the clip was at work
    torch.testing.assert_close(weights_of(trained), weights_of(network), rtol=1e-3, atol=1e-4)


def test_the_rate_is_the_formula(recipe, ids):
    """20 steps, 4 of warmup: k/4, then .1 + .9 (1 + cos(pi j/15))/2, the last one exactly .1."""
    twenty = changed(recipe, tokens=32 * 8 * 20, warmup=0.2, learning_rate=1e-3)
    rise = [k / 4 for k in (1, 2, 3, 4)]
    fall = [0.1 + 0.9 * (1 + math.cos(math.pi * j / 15)) / 2 for j in range(16)]
    _, curve = train(twenty, ids)
    assert [s.lr for s in curve] == pytest.approx([1e-3 * share for share in rise + fall], rel=1e-9)
    _, wide = train(changed(twenty, width_power=0.5), ids, "64x1")
    _, narrow = train(changed(twenty, width_power=0.5), ids)
    assert wide[3].lr == pytest.approx(1e-3)  # the peak at width 64 is the recipe's own
    assert narrow[3].lr == pytest.approx(1e-3 * math.sqrt(2))
    assert rate_share(19, twenty) == pytest.approx(0.1, abs=1e-12)
    assert [rate_share(0, changed(twenty, tokens=1, warmup=w)) for w in (0, 1)] == [1, 1]


def test_windows_are_pieces_of_the_text_that_every_size_sees_alike(recipe):
    ids = torch.arange(1000, 1100)  # each token occurs once, so a window tells where it stands
    seen = set()
    for step in range(1, 200):
        inputs, targets = draw_windows(ids, 0, recipe, step)
        assert inputs.shape == targets.shape == (8, 32)
        assert torch.equal(targets[:, :-1], inputs[:, 1:])
        assert torch.equal(targets - targets[:, :1], torch.arange(32).expand(8, 32))
        assert (inputs[::2, 0] == 0).all()
        assert torch.equal(inputs[1::2, 0], targets[1::2, 0] - 1)
        seen |= set(targets.flatten().tolist())
    assert seen == set(range(1001, 1100))  # the last token too; the first has none before it
    again = draw_windows(ids, 0, changed(recipe, sizes=("128x3",)), 7)
    assert torch.equal(again[0], draw_windows(ids, 0, recipe, 7)[0])
    assert not torch.equal(again[1], draw_windows(ids, 0, recipe, 8)[1])
    assert not torch.equal(again[1], draw_windows(ids, 0, changed(recipe, seed=3), 7)[1])


def test_the_loss_of_a_batch_is_the_mean_over_all_tokens(recipe, ids):
    network = make_network(Size(32, 2), recipe, 300, 0).eval()
    inputs, targets = draw_windows(ids, 0, recipe, 1)
    with torch.no_grad():
        direct = network(inputs).logits.double().log_softmax(-1).gather(2, targets[:, :, None])
    found = batch_loss(network, inputs, targets, COMPUTE).item()
    assert found == pytest.approx(float(-direct.mean()), rel=1e-6)


def test_a_loss_that_is_not_finite_stops_before_the_weights(recipe, ids):
    network = make_network(Size(32, 1), recipe, 300, 0)
    with torch.no_grad():
        network.transformer.ln_f.bias[0] = math.nan
    before = network.base_model.wte.weight.clone()
    with pytest.raises(UserError, match=r"learning_rate, step 1\n  got       a loss of nan"):
        list(pretrain(network, ids, 0, recipe, COMPUTE))
    assert torch.equal(before, network.base_model.wte.weight)


# --- network and tokenizer -----------------------------------------------------------------


def test_the_weights_begin_as_those_of_gpt2(recipe):
    network = make_network(Size(128, 8), recipe, 4096, 0)
    for name, p in weights_of(network).items():
        if p.dim() == 1:
            assert torch.all(p == (1.0 if re.search(r"ln_\w+\.weight", name) else 0.0)), name
        else:
            expected = 0.02 / math.sqrt(16) if "c_proj" in name else 0.02
            assert float(p.std()) == pytest.approx(expected, rel=0.05), name
            assert abs(float(p.mean())) < expected / 10
    assert network.lm_head.weight is network.transformer.wte.weight


def test_a_network_is_drawn_from_the_named_stream_alone(recipe):
    state = torch.get_rng_state()
    one = make_network(Size(32, 1), recipe, 300, 0)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    again = make_network(Size(32, 1), recipe, 300, 0)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    first = sorted(name for name, _ in one.named_parameters() if "c_attn.weight" in name)[0]
    numbers = torch.randn(32, 96, generator=rng.stream(recipe.seed, "init"))
    assert torch.allclose(one.get_parameter(first), 0.02 * numbers)


def test_the_count_of_parameters_is_the_architectures(recipe):
    """12 d^2 + 13 d per block, 2 d for the last norm; embeddings (V + C) d, the head tied."""
    for width, depth in [(32, 1), (128, 3)]:
        counted = count_parameters(make_network(Size(width, depth), recipe, 300, 0))
        inner = depth * (12 * width**2 + 13 * width) + 2 * width
        embeddings = (300 + 32) * width
        assert counted == {
            "total": inner + embeddings,
            "embeddings": embeddings,
            "without_embeddings": inner,
        }


def test_the_default_ladder_spans_a_factor_of_thirty():
    recipe = Recipe()
    sizes = [
        count_parameters(make_network(s, recipe, recipe.vocabulary, 0))["total"]
        for s in recipe.ladder
    ]
    assert len(sizes) >= 4
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 30 * sizes[0]


TOKENIZER = train_tokenizer(text_of_a_grammar(200), 300, 32)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text):
    ids = encode(TOKENIZER, text)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == text
    assert TOKENIZER.eos_token_id not in ids


def test_the_tokenizer_has_one_special_token_and_merges():
    assert (TOKENIZER.bos_token, TOKENIZER.eos_token) == (END, END)
    assert TOKENIZER.bos_token_id == 0
    assert len(TOKENIZER) == 300
    text = f"The senate{END} taxes the bank."
    ids = encode(TOKENIZER, text)
    assert 0 not in ids
    assert len(ids) < 0.75 * len(text)  # the spelled-out end takes 13
    assert TOKENIZER.decode(ids) == text


def test_a_short_text_gives_a_small_vocabulary():
    assert len(train_tokenizer("abc", 4096, 32)) == 257


def test_training_a_tokenizer_twice_gives_the_same_one():
    text = text_of_a_grammar(300)
    one, two = (train_tokenizer(text, 400, 32).backend_tokenizer.to_str() for _ in range(2))
    assert one == two


# --- what is left on disk ------------------------------------------------------------------


def test_a_checkpoint_loads_everywhere_with_the_same_logits(recipe, ladder, ids):
    out, built = ladder
    assert [b.folder for b in built] == [out / "32x1", out / "64x2"]
    for size, folder in ((b.size, b.folder) for b in built):
        network, _ = train(recipe, ids, str(size))  # the same bits, so the same logits
        plain, ours = AutoModelForCausalLM.from_pretrained(folder), load_model(str(folder))
        inputs = ids[None, :32]
        with torch.no_grad():
            logits = network.eval()(inputs).logits
            torch.testing.assert_close(plain.eval()(inputs).logits, logits, rtol=0, atol=0)
            torch.testing.assert_close(ours.network(inputs).logits, logits, rtol=0, atol=0)
        hidden = inference_network(ours.network, "float32").hidden(inputs)
        assert hidden.shape == (1, 32, size.width)
        assert (ours.start_token, ours.eos_token, ours.max_positions) == (0, 0, 32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = "The harbour feeds  the\n\nfarmer — œuvre 🚢."
        assert tokenizer(text)["input_ids"] == encode(ours.tokenizer, text)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_what_the_folder_holds(ladder):
    for built in ladder[1]:
        assert {item.name for item in built.folder.iterdir()} == {
            *("config.json", "generation_config.json", "model.safetensors"),
            *("tokenizer.json", "tokenizer_config.json", "loss.jsonl", "provenance.json"),
        }
        assert json.loads((built.folder / "provenance.json").read_text()) == built.provenance


def test_the_provenance_is_true(recipe, ladder):
    texts = load_texts(recipe)
    for built in ladder[1]:
        known, curve = built.provenance, losses_of(built.folder)
        assert Recipe.model_validate(known["recipe"] | {"sizes": recipe.sizes}) == recipe
        assert known["corpus"]["sha256"] == texts.learned.sha256
        assert known["held_out"]["sha256"] == texts.held_out.sha256
        assert known["tokens"] == curve[-1]["tokens"] == 32 * 8 * 60
        assert known["steps"] == len(curve) == 60
        last = [row["loss"] for row in curve[-50:]]
        assert known["train_loss"] == pytest.approx(sum(last) / 50)
        assert known["versions"]["torch"] == torch.__version__
        model = load_model(str(built.folder))
        assert known["parameters"]["total"] == model.provenance.parameters
        assert known["tokenizer"]["vocabulary"] == len(model.tokenizer) == 300
        data = EvaluationSet.build(texts.held_out, model.tokenizer, model.start_token, 32)
        again = evaluate(inference_network(model.network, "float32"), data)
        assert known["held_out_loss"]["loss"] == pytest.approx(again.loss, rel=1e-6)
        assert known["held_out_loss"]["bits_per_byte"] == pytest.approx(again.bits_per_byte)
        seconds = [row["seconds"] for row in curve]
        assert seconds == sorted(seconds)
        assert set(curve[0]) == {"step", "tokens", "loss", "grad_norm", "lr", "seconds"}


def test_every_size_learns_the_same_tokens(ladder):
    small, large = (losses_of(built.folder) for built in ladder[1])
    assert [row["tokens"] for row in small] == [row["tokens"] for row in large]
    assert small != large


def test_the_tail_is_held_out(corpus_file, recipe):
    whole, texts = load_corpus(recipe.corpus), load_texts(recipe)
    assert texts.learned.text + texts.held_out.text == whole.text
    assert len(texts.held_out.text) == pytest.approx(len(whole.text) / 20, rel=0.01)
    assert texts.held_out.text[0].isspace()
    named = load_texts(changed(recipe, held_out=recipe.corpus))
    assert named.learned == named.held_out == whole


@pytest.mark.parametrize("text", ["word", " word", "x " * 2])
def test_a_text_too_short_to_be_cut(text, tmp_path):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(UserError, match="long enough to hold its last twentieth out"):
        split_tail(load_corpus(f"text:{tmp_path / 't.txt'}"))


def test_sotu_is_the_partner_of_sotu_train():
    texts = load_texts(Recipe())
    assert (texts.learned.name, texts.held_out.name) == ("sotu-train", "sotu")


def snapshot(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_the_same_recipe_again_keeps_what_is_there(recipe, ladder, tmp_path):
    out, built = ladder
    before, steps, seen = snapshot(out), [], []
    again = pretrain_ladder(
        recipe, out, on_step=lambda *step: steps.append(step), on_model=seen.append
    )
    assert (snapshot(out), steps) == (before, [])
    assert [(b.folder, b.is_new) for b in again] == [(b.folder, False) for b in built]
    assert seen == again
    grown = tmp_path / "grown"
    shutil.copytree(out, grown)
    more = pretrain_ladder(changed(recipe, sizes=("32x2", "32x1")), grown)
    assert [b.is_new for b in more] == [True, False]


@pytest.mark.parametrize(
    "change", [{"seed": 9}, {"tokens": 300}, {"learning_rate": 0.02}, {"vocabulary": 301}]
)
def test_another_recipe_is_refused_before_anything_is_created(change, recipe, ladder):
    out, _ = ladder
    before = snapshot(out)
    with pytest.raises(UserError, match="a model of another recipe") as caught:
        pretrain_ladder(changed(recipe, sizes=("32x2", "32x1", "64x2"), **change), out)
    assert len(caught.value.problems) == 2
    assert snapshot(out) == before


def test_another_text_under_the_same_name_is_another_recipe(recipe, tmp_path):
    text = tmp_path / "grammar.txt"
    text.write_text(text_of_a_grammar() + " Once.")
    other = changed(recipe, corpus=f"text:{text}")
    pretrain_ladder(changed(other, sizes=("32x1",), tokens=1), tmp_path / "out")
    text.write_text(text_of_a_grammar() + " Twice.")
    with pytest.raises(UserError, match="a model of another recipe"):
        pretrain_ladder(changed(other, sizes=("32x1",), tokens=1), tmp_path / "out")


def test_a_folder_of_something_else_is_refused(recipe, tmp_path):
    (tmp_path / "64x2").mkdir()
    (tmp_path / "64x2" / "thesis.txt").write_text("precious")
    (tmp_path / "32x1").write_text("a file")
    with pytest.raises(UserError, match="no model of a ladder") as caught:
        pretrain_ladder(recipe, tmp_path)
    assert len(caught.value.problems) == 2
    with pytest.raises(UserError, match="a file"):
        pretrain_ladder(recipe, tmp_path / "32x1")


def test_a_death_in_the_middle_leaves_whole_models_only(recipe, ladder, tmp_path):
    class DiedError(Exception):
        pass

    def die(size, learned):
        if str(size) == "64x2" and learned.step == 3:
            raise DiedError

    short = changed(recipe, tokens=32 * 8 * 5)
    with pytest.raises(DiedError):
        pretrain_ladder(short, tmp_path / "out", on_step=die)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["32x1"]
    assert [b.is_new for b in pretrain_ladder(short, tmp_path / "out")] == [False, True]
    pretrain_ladder(short, tmp_path / "whole")
    for size in ("32x1", "64x2"):
        one, two = (tmp_path / name / size / "model.safetensors" for name in ("out", "whole"))
        assert one.read_bytes() == two.read_bytes()


def test_a_full_disk_leaves_no_half_folder(recipe, tmp_path, monkeypatch):
    def full(self, *rest, **more):
        raise OSError(28, "No space left on device")

    tokenizer = type(TOKENIZER)
    monkeypatch.setattr(tokenizer, "save_pretrained", full)  # after the weights
    with pytest.raises(MachineError, match="cannot be written: No space left on device"):
        pretrain_ladder(changed(recipe, tokens=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- mistakes ------------------------------------------------------------------------------


def test_a_text_shorter_than_a_window(recipe, tmp_path):
    (tmp_path / "t.txt").write_text("The senate taxes the bank. " * 20)
    short = changed(recipe, corpus=f"text:{tmp_path / 't.txt'}", context=1024)
    with pytest.raises(UserError, match="more than the context \\(1024 tokens\\)"):
        pretrain_ladder(short, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"sizes": "33x2"}, "a width of 32, 64"),
        ({"sizes": "64x2,tiny"}, "WIDTHxDEPTH, such as 128x4"),
        ({"sizes": "64x0"}, "WIDTHxDEPTH"),
        ({"sizes": "64x2, 64x2"}, "each size once"),
        ({"sizes": "64x65"}, "a depth of 1 to 64"),
        ({"sizes": ""}, "WIDTHxDEPTH"),
        ({"sizes": []}, "at least 1 item"),
        ({"tokens": 0}, "greater than or equal to 1"),
        ({"tokens": "many"}, "a valid integer"),
        ({"vocabulary": 256}, "greater than or equal to 257"),
        ({"learning_rate": "nan"}, "a finite number"),
        ({"warmup": 1.5}, "less than or equal to 1"),
        ({"seed": True}, "a number"),
    ],
)
def test_a_value_that_cannot_be(values, expected):
    with pytest.raises(UserError) as caught:
        require_recipe(values)
    assert expected in str(caught.value)
    assert caught.value.problems[0].where == next(iter(values))


def test_settings_win_and_mistakes_are_told_together():
    recipe = require_recipe({"tokens": "5"}, ["tokens=9", "held_out=null", "learning_rate=1e-4"])
    assert (recipe.tokens, recipe.held_out, recipe.learning_rate) == (9, None, 1e-4)
    with pytest.raises(UserError) as caught:
        prepare(
            {"sizes": "33x1,7", "corpus": "text:/nowhere", "tokens": 0},
            ["learning_rte=1", "nothing", "held_out=bogus"],
        )
    keys = sorted(problem.where for problem in caught.value.problems)
    assert keys == [
        *("--set", "corpus", "corpus file /nowhere", "learning_rte", "sizes", "sizes", "tokens")
    ]
    assert "did you mean learning_rate?" in str(caught.value)


# --- the command ---------------------------------------------------------------------------


def options(corpus_file, **settings):
    known = {"vocabulary": 300, "context": 32, "precision": "float32", **settings}
    chosen = [word for key, value in known.items() for word in ("--set", f"{key}={value}")]
    return ["--corpus", f"text:{corpus_file}", *chosen]


def test_the_command_trains_and_then_keeps(corpus_file, tmp_path):
    arguments = [*options(corpus_file), "--sizes", "32x1,32x2", "--tokens", "4000"]
    done = call("pretrain", *arguments, "--out", "lad", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"32x2  step +16  tokens +4,096  loss \d\.\d{3}  lr 4.2e-04", done.stdout)
    assert len(re.findall(r"held-out \d\.\d{3} nats/token, \d\.\d{3} bits/byte", done.stdout)) == 2
    again = call_here("pretrain", *arguments, "--out", tmp_path / "lad")
    assert again.out.count("kept, finished before by this recipe") == 2
    refused = call_here("pretrain", *arguments, "--out", tmp_path / "lad", "--seed", "1")
    assert refused.code == 2
    assert "2 problems" in refused.err
    assert "a model of another recipe" in refused.err


def test_a_run_starts_from_a_model_of_the_ladder(ladder, corpus_file, tmp_path):
    settings = [
        f"model={ladder[0] / '64x2'}",
        "precision=float32",
        f"evaluation.corpora=text:{corpus_file}",
        "evaluation.context=32",
        "evaluation.tokens=200",
        "sampling.max_new_tokens=32",
        "run.max_updates=2",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    done = call("run", "quickstart", "--out", "r", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "censored: reached run.max_updates" in done.stdout


def test_mistakes_end_with_2_and_leave_nothing(prose_file, tmp_path):
    done = call(
        "pretrain", "--sizes", "33x1", "--tokens", "0", "--corpus", "text:/nowhere", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    short = call("pretrain", *options(prose_file, context=1024), cwd=tmp_path)
    assert short.returncode == 2
    assert "more than the context (1024 tokens)" in short.stderr
    for one in (done, short):
        assert "Traceback" not in one.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_and_mistakes_import_no_torch(tmp_path):
    watch = (
        "import sys; from collapse_lm.cli.main import main; sys.argv[0] = 'collapse-lm'\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    for arguments, code in ((["--help"], 0), (["--tokens", "0"], 2)):
        done = subprocess.run(
            [sys.executable, "-c", watch, "pretrain", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert done.stdout.splitlines()[-1] == f"{code} False", done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_at_once_and_leaves_no_half_folder(number, code, corpus_file, tmp_path):
    process = subprocess.Popen(
        command(
            "pretrain", *options(corpus_file), "--sizes", "32x1", "--tokens", 10**9, "--out", "lad"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    for _ in range(2):
        process.stdout.readline()
    begin = time.perf_counter()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "finished models stay in lad" in err
    assert time.perf_counter() - begin < 60
    assert list(tmp_path.rglob("*")) == []


def test_a_kept_ladder_costs_no_work(recipe, ladder, monkeypatch):
    """Not even the tokenizer is made again."""
    monkeypatch.setattr(ladder_module, "prepare_materials", None)
    assert not any(built.is_new for built in pretrain_ladder(recipe, ladder[0]))
