"""Watch a run from Python, then use the pure pieces on its record.

    python examples/collapse_of_a_small_run.py

Takes about 80 seconds on two CPU cores.
"""

import collapse_lm


def main() -> None:
    config = collapse_lm.load_config(
        "quickstart", ["run.max_updates=5", "training.learning_rate=2e-4"]
    )
    result = collapse_lm.run(
        config,
        observers=[lambda record: print(record.update, record.train_loss, record.entropy)],
    )

    # Everything else is derived from the record, here with a rule of our own.
    reader = collapse_lm.RunReader(result.directory)
    rule = collapse_lm.CollapseRule(train_loss=0.5, patience=2)
    series = [
        collapse_lm.Observation(
            row["update"], row["text"]["loop_share"], row["text"]["seq_rep_4"], row["train_loss"]
        )
        for row in reader.updates()
        if row["update"] > 0
    ]
    print(
        "collapse update under a rule of our own:", collapse_lm.judge(series, rule).collapse_update
    )
    for sample in reader.samples():
        print(sample["update"], collapse_lm.find_loop(sample["ids"][0]))


if __name__ == "__main__":
    main()
