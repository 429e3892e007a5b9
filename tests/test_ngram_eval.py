"""A model approximated by n-grams of its samples."""

import json
import math

import pytest

import collapse_lm
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.errors import UserError
from collapse_lm.ngrams.counts import Texts
from collapse_lm.ngrams.kneser_ney import KneserNey
from collapse_lm.ngrams.real import _pieces

from conftest import PROSE, byte_tokenizer
from hostile import call

TEXT = "The fox is brown and the dog is lazy; a wizard mixes the violet potion of the village. " * 3
VOCABULARY, LENGTH = 257, 20
PLAIN = ["precision=float32", "sampling.batch_size=8"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    (folder / "text.txt").write_text(TEXT)
    (folder / "prose.txt").write_text("".join(PROSE.replace("fox", f"fox {n}") for n in range(9)))
    return {"corpus": f"text:{folder}/text.txt", "real": f"text:{folder}/prose.txt"}


def evaluated(gpt2_dir, texts, out, **changes):
    settings = {"tokens": (100, 400), "orders": (2, 3), "length": LENGTH, "overrides": PLAIN}
    settings |= {"corpus": texts["corpus"]} | changes
    return collapse_lm.ngram_eval(gpt2_dir, settings.pop("corpus"), out=out, **settings)


def samples_of(gpt2_dir, batches):
    """What `sample` draws as that many updates."""
    settings = {"samples": 8, "temperature": 1.0, "top_k": None, "max_new_tokens": LENGTH}
    drawn = [
        collapse_lm.sample(gpt2_dir, update=1 + n, precision="float32", **settings)
        for n in range(batches)
    ]
    return [text.ids for batch in drawn for text in batch.texts]


def test_n_grams_of_samples_score_the_text(gpt2_dir, texts, tmp_path):
    found = evaluated(gpt2_dir, texts, tmp_path / "r").summary
    drawn = samples_of(gpt2_dir, 3)  # 160 tokens a batch
    assert (found["documents"], found["tokens"]) == (24, len(TEXT))
    assert found.keys().isdisjoint({"real"})
    scored = Texts.of([byte_tokenizer()(TEXT)["input_ids"]], VOCABULARY)
    for tokens, cut in {100: drawn[:5], 400: drawn[:20]}.items():
        for order in (2, 3):
            model = KneserNey.of(Texts.of(cut, VOCABULARY), order)
            loss = -model.log_probs(scored).mean()
            told = found["ngrams"][str(order)][str(tokens)]
            expected = {
                "loss": loss,
                "perplexity": math.exp(loss),
                "bits_per_byte": loss / math.log(2),  # a byte is a token
            }
            assert told == pytest.approx(expected)
    static = collapse_lm.evaluate(gpt2_dir, texts["corpus"], precision="float32", context=128)
    assert found["static_loss"] == pytest.approx(static.loss)
    assert found["static_bits_per_byte"] == pytest.approx(static.bits_per_byte)


def test_real_text_stands_beside_and_is_mixed_in(gpt2_dir, texts, tmp_path):
    found = evaluated(gpt2_dir, texts, tmp_path / "r", real=texts["real"]).summary
    real = load_corpus(texts["real"]).text
    told = found["ngrams"]["3"]["400"]
    assert found["real_tokens"] == 400
    assert 0 < found["tuned_tokens"] < len(real) / 5
    assert told["real_loss"] == found["real"]["3"]["loss"]  # of as many tokens
    assert found["ngrams"]["3"]["100"]["real_loss"] > told["real_loss"]
    assert told["mixed_loss"] < told["loss"]
    assert told["difference"] == pytest.approx(told["mixed_loss"] - found["real"]["3"]["loss"])
    assert 0 <= told["weight"] <= 1


def test_pieces_are_the_text():
    text = "".join(f"word{n} \n" for n in range(300))
    pieces = _pieces(text, 50)
    assert "".join(pieces) == text
    assert all(50 <= len(piece) < 60 for piece in pieces[:-1])
    assert all(piece[0].isspace() for piece in pieces[1:])


def test_it_goes_on_with_the_samples_that_it_has(gpt2_dir, texts, tmp_path):
    whole = evaluated(gpt2_dir, texts, tmp_path / "whole", real=texts["real"])
    asked = []
    more = {"real": texts["real"], "should_stop": lambda: asked.append(0) or len(asked) == 2}
    first = evaluated(gpt2_dir, texts, tmp_path / "r", **more)
    assert first.summary == {"status": "interrupted"}
    assert not (tmp_path / "r" / "summary.json").exists()
    kept = sorted((tmp_path / "r" / "samples").iterdir())
    assert len(kept) == 2
    before = [(path.name, path.stat().st_mtime_ns) for path in kept]
    again = evaluated(gpt2_dir, texts, tmp_path / "r", real=texts["real"])
    assert again.summary == whole.summary
    now = sorted((tmp_path / "r" / "samples").iterdir())[:2]
    assert [(path.name, path.stat().st_mtime_ns) for path in now] == before
    fewer = evaluated(gpt2_dir, texts, tmp_path / "r", real=texts["real"], tokens=(100,))
    assert fewer.summary["ngrams"]["2"].keys() == {"100"}
    with pytest.raises(UserError, match="seed 0, not 1"):
        evaluated(gpt2_dir, texts, tmp_path / "r", overrides=[*PLAIN, "seed=1"], real=texts["real"])
    kept[0].write_bytes(b"PK")
    with pytest.raises(UserError, match="a batch of samples"):
        evaluated(gpt2_dir, texts, tmp_path / "r", real=texts["real"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tokens": ()}, "--tokens"),
        ({"tokens": (100, 0)}, "--tokens"),
        ({"orders": (0,)}, "--orders"),
        ({"orders": (12,)}, "--orders"),
        ({"length": 500}, "--length"),
        ({"length": 0}, "--length"),
        ({"scored": 0}, "--scored"),
        ({"corpus": "text:nowhere.txt"}, "nowhere.txt"),
        ({"overrides": ["sampling.max_new_tokens=7"]}, "fix       --length N"),
        ({"overrides": ["training.learning_rate=1"]}, "training.learning_rate"),
        ({"real": "corpus"}, "--real"),
        ({"real": "short"}, "1 pieces"),
    ],
)
def test_bad_input_is_refused(changes, told, gpt2_dir, texts, tmp_path):
    (tmp_path / "short.txt").write_text("Nothing to hold out.")
    given = {**texts, "short": f"text:{tmp_path}/short.txt"}
    changes = {**changes, **({"real": given[changes["real"]]} if "real" in changes else {})}
    with pytest.raises(UserError, match=told):
        evaluated(gpt2_dir, texts, tmp_path / "r", **changes)
    assert not (tmp_path / "r").exists()


def test_the_command_prints_a_table(gpt2_dir, texts, tmp_path):
    words = ["ngram-eval", gpt2_dir, "--corpus", texts["corpus"], "--tokens", "100,300"]
    words += ["--orders", "2", "--length", LENGTH, "--real", texts["real"], "--out", tmp_path / "r"]
    words += ["--set", "precision=float32"]
    done = call(*words)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    for told in summary["ngrams"]["2"].values():
        assert f"{told['perplexity']:.2f}" in done.out
        assert f"{told['mixed_perplexity']:.2f}" in done.out
    assert json.loads(call(*words, "--json").out) == summary
    done = call(*words, "--tokens", "many")
    assert (done.code, "--tokens" in done.err) == (2, True)
