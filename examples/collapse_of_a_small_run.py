"""Watch a run from Python, then use the pure pieces on its record.

    python examples/collapse_of_a_small_run.py

Takes about 80 seconds on two CPU cores.
"""

import collapse_lm


class Printing:
    """An observer: it sees each update once its rows are on disk."""

    def start(self, run):
        print("watching", run.directory)

    def update(self, record):
        row = record.row  # the loss is, in expectation, this entropy and more (docs/run-format.md)
        print(record.update, row.get("train.loss"), row.get("probe.sampling_entropy"))

    def end(self, summary):
        print(summary["reason"])


def main(preset="quickstart", *overrides, out=None):
    words = ["run.max_updates=5", "training.learning_rate=2e-4", *overrides]
    result = collapse_lm.run(preset, out, overrides=words, observers=[Printing()])

    # Everything else is derived from the record, here with a rule of our own.
    reader = collapse_lm.RunReader(result.directory)
    rule = collapse_lm.CollapseRule(train_loss=0.5, patience=2)
    verdict = collapse_lm.judge(reader.updates(), rule)
    print("collapse update under a rule of our own:", verdict.collapse_update)
    for sample in reader.samples():
        print(sample.update, collapse_lm.find_loop(sample.judged[0].ids))
    return result


if __name__ == "__main__":
    main()
