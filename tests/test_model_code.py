"""What a model's own code gets wrong is found before it is used: worked around, or refused."""

import copy
import json

import pytest
import torch
from transformers import GPTNeoXForCausalLM, MptForCausalLM, Phi3Config, Phi3ForCausalLM

import collapse_lm
from collapse_lm import rng
from collapse_lm.errors import MachineError, UserError
from collapse_lm.inference import inference_network
from collapse_lm.inference.generic import GenericNetwork
from collapse_lm.inference.half import copy_in
from collapse_lm.models.load import load_model
from collapse_lm.models.positions import max_positions
from collapse_lm.rundir import RunReader, export
from collapse_lm.rundir.export import export_model
from collapse_lm.rundir.session import run

from conftest import byte_tokenizer
from families import save_family, tiny_config, tiny_model
from hostile import quiet, refused, sets

pytestmark = pytest.mark.filterwarnings("default")  # what code of transformers warns of


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A function that gives the folder of a tiny model of a family."""
    folder, known = tmp_path_factory.mktemp("families"), {}

    def place(family):
        if family not in known:
            known[family] = save_family(family, folder / family)
        return known[family]

    return place


def few(model, prose_file, *more):
    return [
        f"model={model}",
        f"evaluation.corpora=[text:{prose_file}]",
        "evaluation.context=64",
        "sampling.max_new_tokens=20",
        "run.max_updates=2",
        "observers=[]",
        *more,
    ]


# --- ways of reading ---------------------------------------------------------------------------


def uncached(master, ids):
    with torch.no_grad():
        return master(input_ids=ids, use_cache=False).logits


def far(found, wanted):
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


@pytest.mark.parametrize(
    ("family", "has_cache"),
    [
        ("gpt_neox", True),
        ("bamba", True),  # counts positions from 0 in each pass, unless it is told them
        ("moshi", False),  # wrong beyond its window
        ("recurrent_gemma", False),  # keeps its state in its modules
        ("zamba2", False),  # rounds otherwise, token by token
        ("rwkv", False),  # two rows of one token are mixed up, with its own state
        ("bart", False),
    ],
)
def test_what_is_read_bit_by_bit_is_what_is_read_at_once(family, has_cache):
    master = tiny_model(family)
    network = inference_network(master, "float32")
    assert network.describe()["cache"] == has_cache
    ids = torch.randint(1, 250, (2, 24), generator=rng.stream(0, "init"))
    wanted = uncached(master, ids)
    for cuts in ([1] * 24, [12] + [1] * 12):
        cache, other = network.new_cache(2, 24), network.new_cache(2, 24)
        for start, part in zip(
            torch.tensor([0, *cuts]).cumsum(0), ids.split(cuts, 1), strict=False
        ):
            hidden = network.hidden(part, cache)
            found = network.logits(hidden.flatten(0, 1)).view(2, part.shape[1], -1)
            assert far(found, wanted[:, start : start + part.shape[1]]) < 3e-5
            network.hidden(part.flip(0), other)
            network.hidden(ids)


def test_positions_that_are_a_little_wrong_are_told():
    """Attention that counts for little hides wrong positions, and every sample is off by them."""
    master = tiny_model("bamba")
    with torch.no_grad():
        for name, parameter in master.named_parameters():
            parameter.mul_(0.1 if "self_attn.o_proj" in name else 1)
    network = inference_network(master, "float32")
    ids = torch.randint(1, 250, (1, 24), generator=rng.stream(0, "init"))
    cache = network.new_cache(1, 24)
    found = [network.logits(network.hidden(part, cache)[:, -1]) for part in ids.split(1, dim=1)]
    assert far(torch.cat(found), uncached(master, ids)[0]) < 3e-5  # .03, where none are told


def test_tokens_are_dropped_only_where_the_cache_holds_them():
    speculates = {
        family: GenericNetwork(tiny_model(family), torch.float32).can_rewind
        for family in ("gpt_neox", "bamba", "gemma2", "mamba")
    }
    assert speculates == {"gpt_neox": True, "bamba": False, "gemma2": False, "mamba": True}


def test_rotations_that_change_as_a_text_grows_are_not_cached_past_that_length():
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [3.0] * 4,
        "original_max_position_embeddings": 16,
    }
    config = tiny_config("phi3").to_dict() | {"rope_parameters": longrope}
    torch.manual_seed(0)
    master = Phi3ForCausalLM(Phi3Config(**config | {"initializer_range": 0.2})).eval()
    network = inference_network(master, "float32")
    ids = torch.randint(1, 250, (1, 30), generator=rng.stream(0, "init"))
    for length in (16, 30):  # short enough for a cache, and past it
        cache = network.new_cache(1, length)
        for part in ids[:, :length].split(1, dim=1):
            hidden = network.hidden(part, cache)
        assert far(network.logits(hidden[0]), uncached(master, ids[:, :length])[0, -1:]) < 3e-5


# --- precision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "weights"),
    [
        ("mamba", "bfloat16 copy"),  # a residual in float32
        ("minimax", "float32 under autocast to bfloat16"),  # states in float32
        ("xglm", "float32 under autocast to bfloat16"),  # positions in float32
    ],
)
def test_a_run_in_bfloat16_works_whatever_a_model_keeps_in_float32(
    family, weights, saved, prose_file, tmp_path
):
    words = few(saved(family), prose_file, "precision=bfloat16")
    reader = RunReader(run("quickstart", tmp_path / "r", overrides=words).directory)
    assert reader.manifest()["inference"]["weights"] == weights
    words[-1] = "precision=float32"
    exact = RunReader(run("quickstart", tmp_path / "e", overrides=words).directory)
    (base, *_), (wanted, *_) = reader.updates(), exact.updates()
    assert loss_of(base) == pytest.approx(loss_of(wanted), abs=0.02)


def loss_of(row):
    return next(v for name, v in row.values.items() if name.startswith("validation.loss"))


def test_what_a_family_keeps_in_float32_stays_so_in_a_copy():
    kept = {
        n
        for n, p in copy_in(tiny_model("flint"), torch.bfloat16).named_parameters()
        if p.dtype == torch.float32
    }
    assert kept
    assert all("gate.weight" in name or "sinks" in name for name in kept)


def test_what_works_in_float32_alone_is_read_in_float32_and_that_is_said(caplog):
    def only_float32(body, arguments):
        assert not torch.is_autocast_enabled("cpu")
        assert body.embed_in.weight.dtype == torch.float32

    master = tiny_model("gpt_neox")
    master.gpt_neox.register_forward_pre_hook(only_float32)
    network = GenericNetwork(master, torch.bfloat16)
    assert network.describe()["weights"] == "float32"
    assert "gpt_neox is sampled and evaluated in float32" in caplog.text
    ids = torch.arange(6)[None]
    assert far(network.logits(network.hidden(ids)[0]), uncached(master, ids)[0]) < 1e-6


# --- export ------------------------------------------------------------------------------------


def test_an_export_evaluates_to_what_the_run_ended_with(saved, prose_file, tmp_path):
    words = few(saved("rwkv"), prose_file, "precision=float32", "run.export_model=true")
    path = run("quickstart", tmp_path / "r", overrides=words).directory
    *_, last = RunReader(path).updates()
    again = few(path / "model", prose_file, "precision=float32", "run.max_updates=1")
    first, *_ = RunReader(run("quickstart", tmp_path / "e", overrides=again).directory).updates()

    def losses(row):  # what the run adds is the change since its base model
        return {
            n: v for n, v in row.values.items() if n.startswith("validation.") and "change" not in n
        }

    assert losses(first) == losses(last)
    given = json.loads((saved("rwkv") / "config.json").read_text())["rescale_every"]
    exported = json.loads((path / "model" / "config.json").read_text())
    assert exported["rescale_every"] == given != 0


def test_an_export_that_is_another_model_is_no_export(gpt2_dir, tmp_path, monkeypatch):
    model = load_model(str(gpt2_dir))
    export_model(model, tmp_path)
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    save = type(model.network).save_pretrained

    def halved(network, folder):
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.transformer.h[1].mlp.c_fc.weight.mul_(0.5)
        save(other, folder)

    monkeypatch.setattr(type(model.network), "save_pretrained", halved)
    with pytest.raises(MachineError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight"):
        export_model(model, tmp_path)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    monkeypatch.setattr(export, "load_model", lambda place: load_model(place + "/nowhere"))
    with pytest.raises(MachineError, match="does not load: no such folder"):
        export_model(model, tmp_path)


# --- tokens beyond the embeddings --------------------------------------------------------------


@pytest.fixture
def one_more(tmp_path):
    """A model with one special token more than embeddings, as Gemma 3 has it."""
    folder = save_family("gemma3_text", tmp_path / "model")
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_special_token_without_an_embedding_is_refused_only_where_a_text_has_it(
    one_more, prose_file, tmp_path
):
    assert quiet("sample", one_more, "--set", "sampling.max_new_tokens=3").code == 0
    corpus = tmp_path / "c.txt"
    corpus.write_text(prose_file.read_text() + "<image_soft_token>")  # plain characters, there
    assert quiet("eval", one_more, "--corpus", f"text:{corpus}", "--context", "32").code == 0
    for word in ("prompt=a <image_soft_token>", "start_token=<image_soft_token>"):
        got = "the token '<image_soft_token>', id 257"
        refused("sample", one_more, "--set", f"sampling.{word}", got=got)


def test_a_plain_token_without_an_embedding_is_refused_in_a_corpus(one_more, prose_file, tmp_path):
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["wizards"])
    tokenizer.save_pretrained(one_more)
    assert quiet("sample", one_more, "--set", "sampling.max_new_tokens=3").code == 0
    words = ("eval", one_more, "--corpus", f"text:{prose_file}", "--context", "32")
    refused(*words, got="the token 'wizards', id 257")


# --- limits of positions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "limit"),
    [("gpt_neox", 128), ("mpt", 128), ("whisper", 128), ("mamba", None), ("bloom", None)],
)
def test_a_limit_of_positions_is_found_by_any_name(family, limit):
    assert max_positions(tiny_config(family)) == limit


def test_a_length_past_the_limit_is_refused_in_each_command(saved, prose_file, tmp_path):
    words = few(saved("mpt"), prose_file, "sampling.max_new_tokens=200")
    key, limit = "sampling.max_new_tokens", "at most 128, the positions"
    assert limit in refused("run", "quickstart", "--out", tmp_path / "r", *sets(words), got=key)
    assert not (tmp_path / "r").exists()
    told = quiet("doctor", "quickstart", *sets(words))
    assert (told.code, key in told.out) == (0, True)
    evaluation = ("--corpus", f"text:{prose_file}", "--context", "200")
    assert limit in refused("eval", saved("mpt"), *evaluation, got="--context")


def test_a_limit_that_no_configuration_names_is_asked_of_the_model(saved, prose_file):
    """RoBERTa's positions begin behind those of padding: of 128, two are no positions."""
    model = saved("roberta with is_decoder")
    words = ("--corpus", f"text:{prose_file}", "--context")
    limit = max_positions(tiny_config("roberta with is_decoder"))
    assert quiet("eval", model, *words, limit - 10).code == 0
    refused("eval", model, *words, limit, got=f"fails at {limit} positions (")


def test_doctor_asks_for_no_more_positions_than_a_run(prose_file, tmp_path):
    config = tiny_config("mpt")
    config.max_seq_len = 12
    folder = tmp_path / "model"
    MptForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    words = few(folder, prose_file, "evaluation.context=12", "sampling.max_new_tokens=8")
    told = quiet("doctor", "quickstart", *sets(words))
    assert (told.code, "update" in told.out) == (0, True)


# --- what is no causal language model, or fails -------------------------------------------------


@pytest.mark.parametrize("family", ["bert", "prophetnet", "xlnet"])
def test_a_model_that_is_not_causal_is_refused(family, saved):
    assert "is_decoder" in refused("sample", saved(family), got="no causal language model")


def test_what_the_code_of_a_model_raises_is_a_refusal(saved, prose_file, tmp_path, monkeypatch):
    def fails(self, *args, **kwargs):
        raise IndexError("list index out of range\nand more")

    model = saved("gpt_neox")
    monkeypatch.setattr(GPTNeoXForCausalLM, "forward", fails)
    for words in (
        ("sample", model),
        ("eval", model, "--corpus", f"text:{prose_file}"),
        ("run", "quickstart", "--out", tmp_path / "r", *sets(few(model, prose_file))),
    ):
        refused(*words, got="fails at reading tokens: IndexError: list index out of range\n")
    assert not (tmp_path / "r").exists()


def test_a_model_whose_weights_change_as_it_is_read_is_refused(saved, monkeypatch):
    forward = GPTNeoXForCausalLM.forward

    def halving(self, *args, **kwargs):
        self.lm_head.weight.data.mul_(0.5)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPTNeoXForCausalLM, "forward", halving)
    refused("sample", saved("gpt_neox"), got="evaluation changes 1 of its weights (")


def test_a_network_that_the_caller_holds_is_tried_too(prose_file):
    def held(family, dtype=torch.float32):
        return collapse_lm.LanguageModel.of(tiny_model(family).to(dtype), byte_tokenizer())

    with pytest.raises(UserError, match="no causal language model"):
        collapse_lm.sample(held("bert"), precision="float32", max_new_tokens=3)
    with pytest.raises(UserError, match="evaluation changes"):
        collapse_lm.evaluate(held("rwkv"), f"text:{prose_file}", precision="float32")
    model = held("gpt_neox", torch.bfloat16)  # in which equal passes round differently
    assert len(collapse_lm.sample(model, max_new_tokens=3).texts[0].ids) == 3
    assert GenericNetwork(model.network, torch.bfloat16).describe()["cache"]
