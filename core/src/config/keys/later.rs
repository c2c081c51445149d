//! Keys whose features come later: their values are checked and kept all the same.

use super::{ANY, Alias, Effect, Key, Reads, auto, flink, key};
use crate::config::value::Shape;
use crate::config::value::Shape::{Address, Choice, Count, Directory, Duration, Flag, Number};

const CHECKPOINTS: Effect = Effect::NotYet("checkpoints are not built yet in this version");
const RESTARTS: Effect =
    Effect::NotYet("without checkpoints a failed job is not restarted in this version");
const REST: Effect = Effect::NotYet("the REST server is not built yet in this version");

/// Flink's other words for restart strategies.
const STRATEGIES: Reads = Reads::Words(&[
    ("off", "none"),
    ("disable", "none"),
    ("fixeddelay", "fixed-delay"),
    ("exponentialdelay", "exponential-delay"),
    ("failurerate", "failure-rate"),
]);

const SOME: Shape = Count { least: 1, most: u64::MAX };

pub(super) const CHECKPOINT: &[Key] = &[
    auto(key(
        "checkpoint.interval",
        Duration,
        "off",
        Effect::Refused("checkpoints are not built yet in this version"),
        "Time between the starts of two checkpoints; `off`: none are made.",
        &[flink("execution.checkpointing.interval")],
    )),
    key(
        "checkpoint.timeout",
        Duration,
        "10m",
        CHECKPOINTS,
        "A checkpoint that takes longer is given up.",
        &[flink("execution.checkpointing.timeout")],
    ),
    key(
        "checkpoint.mode",
        Choice(&["exactly-once", "at-least-once"]),
        "exactly-once",
        CHECKPOINTS,
        "What sinks promise; `at-least-once`: they write without waiting for a checkpoint.",
        &[flink("execution.checkpointing.mode")],
    ),
    key(
        "checkpoint.unaligned",
        Flag,
        "true",
        CHECKPOINTS,
        "Whether barriers overtake records; checkpoints are always unaligned.",
        &[
            flink("execution.checkpointing.unaligned.enabled"),
            flink("execution.checkpointing.unaligned"),
        ],
    ),
    key(
        "checkpoint.aligned-timeout",
        Duration,
        "0",
        CHECKPOINTS,
        "How long a checkpoint drains what is in flight before it records it.",
        &[flink("execution.checkpointing.aligned-checkpoint-timeout")],
    ),
    key(
        "checkpoint.max-concurrent",
        SOME,
        "1",
        CHECKPOINTS,
        "How many checkpoints may be under way at once.",
        &[flink("execution.checkpointing.max-concurrent-checkpoints")],
    ),
    key(
        "checkpoint.min-pause",
        Duration,
        "0",
        CHECKPOINTS,
        "Least time between the end of a checkpoint and the start of the next.",
        &[flink("execution.checkpointing.min-pause")],
    ),
    key(
        "checkpoint.tolerable-failures",
        ANY,
        "0",
        CHECKPOINTS,
        "How many checkpoints may fail in a row before the job does.",
        &[flink("execution.checkpointing.tolerable-failed-checkpoints")],
    ),
    key(
        "checkpoint.retained",
        SOME,
        "2",
        CHECKPOINTS,
        "How many checkpoints are kept.",
        &[flink("execution.checkpointing.num-retained"), flink("state.checkpoints.num-retained")],
    ),
    key(
        "checkpoint.retention",
        Choice(&["delete-on-cancel", "retain-on-cancel", "none"]),
        "delete-on-cancel",
        CHECKPOINTS,
        "What becomes of checkpoints when the job is cancelled.",
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
        CHECKPOINTS,
        "Where checkpoints are kept; `data-dir`: in the job's own directory.",
        &[flink("execution.checkpointing.dir"), flink("state.checkpoints.dir")],
    )),
    auto(key(
        "savepoint.dir",
        Directory,
        "data-dir",
        CHECKPOINTS,
        "Where savepoints are kept; `data-dir`: in the job's own directory.",
        &[flink("execution.checkpointing.savepoint-dir"), flink("state.savepoints.dir")],
    )),
    key(
        "checkpoint.incremental",
        Flag,
        "true",
        CHECKPOINTS,
        "Whether only what changed is uploaded.",
        &[flink("execution.checkpointing.incremental"), flink("state.backend.incremental")],
    ),
];

pub(super) const RESTART: &[Key] = &[
    auto(key(
        "restart.strategy",
        Choice(&["none", "fixed-delay", "exponential-delay", "failure-rate"]),
        "by-checkpoints",
        RESTARTS,
        "When a failed job starts again; `by-checkpoints`: `exponential-delay` with checkpoints, \
         `none` without.",
        &[
            Alias { name: "restart-strategy.type", reads: STRATEGIES },
            Alias { name: "restart-strategy", reads: STRATEGIES },
        ],
    )),
    key(
        "restart.attempts",
        ANY,
        "1",
        RESTARTS,
        "`fixed-delay`: how often a job is started again.",
        &[flink("restart-strategy.fixed-delay.attempts")],
    ),
    key(
        "restart.delay",
        Duration,
        "1s",
        RESTARTS,
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
        RESTARTS,
        "`exponential-delay`: time before the first start.",
        &[flink("restart-strategy.exponential-delay.initial-backoff")],
    ),
    key(
        "restart.max-delay",
        Duration,
        "1m",
        RESTARTS,
        "`exponential-delay`: the longest time before a start.",
        &[flink("restart-strategy.exponential-delay.max-backoff")],
    ),
    key(
        "restart.multiplier",
        Number { least: 1.0, most: f64::INFINITY },
        "1.5",
        RESTARTS,
        "`exponential-delay`: by how much the time grows.",
        &[flink("restart-strategy.exponential-delay.backoff-multiplier")],
    ),
    key(
        "restart.jitter",
        Number { least: 0.0, most: 1.0 },
        "0.1",
        RESTARTS,
        "`exponential-delay`: share of the time by which it varies at random.",
        &[flink("restart-strategy.exponential-delay.jitter-factor")],
    ),
    key(
        "restart.reset-after",
        Duration,
        "1h",
        RESTARTS,
        "`exponential-delay`: time without a failure after which the delay starts anew.",
        &[flink("restart-strategy.exponential-delay.reset-backoff-threshold")],
    ),
    key(
        "restart.failures",
        SOME,
        "1",
        RESTARTS,
        "`failure-rate`: how many failures within `restart.interval` end the job.",
        &[flink("restart-strategy.failure-rate.max-failures-per-interval")],
    ),
    key(
        "restart.interval",
        Duration,
        "1m",
        RESTARTS,
        "`failure-rate`: the time over which failures are counted.",
        &[flink("restart-strategy.failure-rate.failure-rate-interval")],
    ),
];

pub(super) const REST_SERVER: &[Key] = &[
    key(
        "rest.address",
        Address,
        "127.0.0.1",
        REST,
        "Where the REST server listens.",
        &[flink("rest.bind-address")],
    ),
    key(
        "rest.port",
        Count { least: 0, most: 65_535 },
        "8081",
        REST,
        "The port of the REST server; 0: any that is free.",
        &[],
    ),
];
