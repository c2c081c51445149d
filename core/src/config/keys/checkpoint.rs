//! Keys of checkpoints, and of what follows a failure.

use super::{ANY, Alias, Effect, Key, Reads, auto, flink, key};
use crate::config::value::Shape;
use crate::config::value::Shape::{Choice, Count, Directory, Duration, Flag, Number};

/// Flink's other words for restart strategies.
const STRATEGIES: Reads = Reads::Words(&[
    ("off", "none"),
    ("disable", "none"),
    ("fixeddelay", "fixed-delay"),
    ("exponentialdelay", "exponential-delay"),
    ("failurerate", "failure-rate"),
]);

const SOME: Shape = Count { least: 1, most: u32::MAX as u64 };

pub(super) const CHECKPOINT: &[Key] = &[
    auto(key(
        "checkpoint.interval",
        Duration,
        "off",
        Effect::Works,
        "Time between the starts of two checkpoints; `off`: none are made.",
        &[flink("execution.checkpointing.interval")],
    )),
    key(
        "checkpoint.timeout",
        Duration,
        "10m",
        Effect::Works,
        "A checkpoint that takes longer is given up.",
        &[flink("execution.checkpointing.timeout")],
    ),
    key(
        "checkpoint.mode",
        Choice(&["exactly-once", "at-least-once"]),
        "exactly-once",
        Effect::Works,
        "What sinks promise. `at-least-once`: output is visible without waiting for a checkpoint, \
         and what was written behind the last one may be there twice after a failure.",
        &[flink("execution.checkpointing.mode")],
    ),
    key(
        "checkpoint.unaligned",
        Flag,
        "true",
        Effect::Works,
        "Whether barriers overtake records; if not, sources are silent until all that was read is \
         worked off, and nothing on its way is recorded.",
        &[
            flink("execution.checkpointing.unaligned.enabled"),
            flink("execution.checkpointing.unaligned"),
        ],
    ),
    key(
        "checkpoint.aligned-timeout",
        Duration,
        "0",
        Effect::Works,
        "How long what was read is worked off, with silent sources, before the rest is recorded; \
         `0`: it is recorded at once.",
        &[flink("execution.checkpointing.aligned-checkpoint-timeout")],
    ),
    key(
        "checkpoint.max-concurrent",
        SOME,
        "1",
        Effect::Nothing(
            "one checkpoint at a time: a second would wait for the same cores and disk",
        ),
        "How many checkpoints may be under way at once.",
        &[flink("execution.checkpointing.max-concurrent-checkpoints")],
    ),
    key(
        "checkpoint.min-pause",
        Duration,
        "0",
        Effect::Works,
        "Least time between the end of a checkpoint and the start of the next.",
        &[flink("execution.checkpointing.min-pause")],
    ),
    key(
        "checkpoint.tolerable-failures",
        ANY,
        "0",
        Effect::Works,
        "How many checkpoints may fail in a row before the job does.",
        &[flink("execution.checkpointing.tolerable-failed-checkpoints")],
    ),
    key(
        "checkpoint.retained",
        SOME,
        "2",
        Effect::Works,
        "How many checkpoints are kept.",
        &[flink("execution.checkpointing.num-retained"), flink("state.checkpoints.num-retained")],
    ),
    key(
        "checkpoint.retention",
        Choice(&["delete-on-cancel", "retain-on-cancel", "none"]),
        "delete-on-cancel",
        Effect::Works,
        "What becomes of checkpoints when the job is cancelled; `none` is as `delete-on-cancel`.",
        &[Alias {
            name: "execution.checkpointing.externalized-checkpoint-retention",
            reads: Reads::Words(&[
                ("delete-on-cancellation", "delete-on-cancel"),
                ("retain-on-cancellation", "retain-on-cancel"),
                ("no-externalized-checkpoints", "none"),
            ]),
        }],
    ),
    auto(key(
        "checkpoint.dir",
        Directory,
        "data-dir",
        Effect::Works,
        "Where checkpoints are kept, each job's below its id; `data-dir`: in \
         `<data.dir>/checkpoints`.",
        &[flink("execution.checkpointing.dir"), flink("state.checkpoints.dir")],
    )),
    auto(key(
        "savepoint.dir",
        Directory,
        "data-dir",
        Effect::NotYet("savepoints are not built yet in this version"),
        "Where savepoints are kept; `data-dir`: in the job's own directory.",
        &[flink("execution.checkpointing.savepoint-dir"), flink("state.savepoints.dir")],
    )),
    key(
        "checkpoint.incremental",
        Flag,
        "true",
        Effect::Nothing("a checkpoint always holds only what changed since the one before"),
        "Whether only what changed is uploaded.",
        &[flink("execution.checkpointing.incremental"), flink("state.backend.incremental")],
    ),
];

pub(super) const RESTART: &[Key] = &[
    auto(key(
        "restart.strategy",
        Choice(&["none", "fixed-delay", "exponential-delay", "failure-rate"]),
        "by-checkpoints",
        Effect::Works,
        "When a failed job starts again, in the same process and from its newest checkpoint; \
         `by-checkpoints`: `exponential-delay` with checkpoints, `none` without.",
        &[
            Alias { name: "restart-strategy.type", reads: STRATEGIES },
            Alias { name: "restart-strategy", reads: STRATEGIES },
        ],
    )),
    key(
        "restart.attempts",
        ANY,
        "1",
        Effect::Works,
        "`fixed-delay`: how often a job is started again.",
        &[flink("restart-strategy.fixed-delay.attempts")],
    ),
    key(
        "restart.delay",
        Duration,
        "1s",
        Effect::Works,
        "`fixed-delay`, `failure-rate`: time before a start.",
        &[
            flink("restart-strategy.fixed-delay.delay"),
            flink("restart-strategy.failure-rate.delay"),
        ],
    ),
    key(
        "restart.initial-delay",
        Duration,
        "1s",
        Effect::Works,
        "`exponential-delay`: time before the first start.",
        &[flink("restart-strategy.exponential-delay.initial-backoff")],
    ),
    key(
        "restart.max-delay",
        Duration,
        "1m",
        Effect::Works,
        "`exponential-delay`: the longest time before a start.",
        &[flink("restart-strategy.exponential-delay.max-backoff")],
    ),
    key(
        "restart.multiplier",
        Number { least: 1.0, most: f64::INFINITY },
        "1.5",
        Effect::Works,
        "`exponential-delay`: by how much the time grows.",
        &[flink("restart-strategy.exponential-delay.backoff-multiplier")],
    ),
    key(
        "restart.jitter",
        Number { least: 0.0, most: 1.0 },
        "0.1",
        Effect::Works,
        "`exponential-delay`: share of the time by which it varies at random.",
        &[flink("restart-strategy.exponential-delay.jitter-factor")],
    ),
    key(
        "restart.reset-after",
        Duration,
        "1h",
        Effect::Works,
        "`exponential-delay`: time without a failure after which the delay starts anew.",
        &[flink("restart-strategy.exponential-delay.reset-backoff-threshold")],
    ),
    key(
        "restart.failures",
        SOME,
        "1",
        Effect::Works,
        "`failure-rate`: how many failures within `restart.interval` end the job.",
        &[flink("restart-strategy.failure-rate.max-failures-per-interval")],
    ),
    key(
        "restart.interval",
        Duration,
        "1m",
        Effect::Works,
        "`failure-rate`: the time over which failures are counted.",
        &[flink("restart-strategy.failure-rate.failure-rate-interval")],
    ),
    key(
        "restart.poison-after",
        Count { least: 0, most: 1000 },
        "0",
        Effect::Works,
        "After how many failures of user code in a row on the same record that record is set \
         aside; the one before them, which shows where to look, does not count. `0`: never.",
        &[],
    ),
    auto(key(
        "restart.poison-output",
        Directory,
        "none",
        Effect::Works,
        "The directory, of its own, that gets the records set aside: parts of JSON lines, \
         committed with the checkpoints; needed if `restart.poison-after` is not 0.",
        &[],
    )),
];
