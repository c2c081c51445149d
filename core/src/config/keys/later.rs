//! Keys whose features come later: their values are checked and kept all the same.

use super::{Effect, Key, flink, key};
use crate::config::value::Shape::{Address, Count};

const REST: Effect = Effect::NotYet("the REST server is not built yet in this version");

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
