"""The monitor in a training loop that is nobody's but yours.

python examples/monitor_bare_loop.py

Any model of transformers will do, on any device; here it is the packaged one, trained on what
`generate` draws from it. Takes some minutes on two CPU cores.
"""

import logging

import torch

import collapse_lm
from collapse_lm.monitor import Monitor


def main(reference="smollm2-135m", steps=60, tokens=64, rate=1e-4, out=None, **settings):
    loaded = collapse_lm.load_model(reference)
    model, tokenizer = loaded.network, loaded.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    torch.manual_seed(0)
    start = torch.tensor([[loaded.start_token]] * 2)

    defaults = {"samples": 4, "max_new_tokens": tokens, "budget": 0.5, "on_collapse": "stop"}
    monitor = Monitor(tokenizer, out=out, **{**defaults, **settings})
    monitor.start(model)  # the baseline: all that comes is told relative to it
    for step in range(1, steps + 1):
        ids = model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            pad_token_id=loaded.start_token,
        )
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        monitor.note_training(step, {"train.loss": loss.item(), "train.lr": rate})
        if monitor.is_due(step):
            finding = monitor.observe(model, step=step)
            print(finding.message)
            if finding.should_stop:
                break
    monitor.close()
    return monitor, step


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    monitor, step = main()
    print(f"ended at step {step}; look at it: collapse-lm report {monitor.path}")
