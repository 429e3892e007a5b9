"""Texts in, verdicts out: for an online loop whose samples come from an engine.

python examples/monitor_engine.py

The loop hands over what it samples anyway, so that there is nothing to draw: no model is here.
`texts_of` reads what vLLM's `LLM.generate` returns; any strings, or lists of token ids, will do.
An engine that turns bad at step 12 stands in for yours.
"""

import random
from types import SimpleNamespace

from collapse_lm.monitor import Monitor


def texts_of(outputs):
    """Token ids and whether each text was cut, from a list of vLLM's `RequestOutput`."""
    completions = [completion for output in outputs for completion in output.outputs]
    ids = [list(completion.token_ids) for completion in completions]
    return ids, [completion.finish_reason == "length" for completion in completions]


def engine(step, texts=16, length=60):
    """A stand-in for `llm.generate(prompts, sampling)`: from step 12 on it repeats itself."""
    chance = random.Random(step)
    outputs = []
    for _ in range(texts):
        ids = [chance.randrange(5000) for _ in range(length)]
        if step >= 12:
            ids = ids[:2] * (length // 2)
        completion = SimpleNamespace(token_ids=ids, finish_reason="length")
        outputs.append(SimpleNamespace(outputs=[completion]))
    return outputs


def main(generate=engine, steps=30, out=None, **settings):
    monitor = Monitor(out=out, on_collapse="stop", **settings)
    for step in range(1, steps + 1):
        ids, clipped = texts_of(generate(step))
        finding = monitor.observe_texts(ids, step, clipped=clipped)
        if finding.shown or finding.is_new:
            print(finding.message)
        if finding.should_stop:
            break
        ...  # rewards, and your step
    monitor.close()
    return monitor, finding


if __name__ == "__main__":
    monitor, finding = main()
    print(f"ended at step {finding.step}; look at it: collapse-lm report {monitor.path}")
