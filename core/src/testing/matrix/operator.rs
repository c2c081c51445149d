//! Processes without a key: broadcast state, lists and union lists, begun again behind every event.

use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// Every way of running an operator, and each of them with restarts.
fn ways() -> impl Iterator<Item = HarnessOptions> {
    HarnessOptions::matrix().into_iter().flat_map(|options| [options, options.restarting()])
}

/// Adds up the last three numbers times the factors, and keeps what came before the first factor.
struct Weigh {
    early: OperatorList<u64>,
    factors: BroadcastState<u8, u64>,
}

impl BroadcastProcess<u64, (u8, u64)> for Weigh {
    type Out = Vec<u64>;

    fn process(&mut self, n: u64, cx: &mut StreamContext<'_, Vec<u64>>) -> crate::Result<()> {
        if self.factors.is_empty() {
            self.early.push(n);
            return Ok(());
        }
        let mut weighed = self.early.take();
        weighed.push(n);
        let factor: u64 = self.factors.read().values().product();
        weighed.iter_mut().for_each(|n| *n *= factor);
        cx.emit(weighed);
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        (name, factor): (u8, u64),
        cx: &mut StreamBroadcastContext<'_, Vec<u64>>,
    ) -> crate::Result<()> {
        cx.side(&Tag::new("factors"), factor)?;
        match factor {
            0 => self.factors.write(cx).clear(),
            1 => drop(self.factors.write(cx).remove(&name)),
            _ => self.factors.write(cx).update(name, |present| *present = factor),
        }
        Ok(())
    }
}

fn weigh(options: HarnessOptions) -> Harness<u64, Vec<u64>, (u8, u64)> {
    options.build_two(|input: Stream<u64>, factors: Stream<(u8, u64)>| {
        input.connect(factors.broadcast()).process("weigh", |states| Weigh {
            early: states.list("early"),
            factors: states.broadcast("factors"),
        })
    })
}

#[test]
fn a_stream_reads_what_a_broadcast_has_written() {
    for options in ways() {
        let mut h = weigh(options);
        h.push(1, 1);
        h.push(2, 2);
        assert_eq!(h.outputs(), Vec::<Vec<u64>>::new(), "{options:?}");
        h.push_second((1, 10), 1);
        assert_eq!(h.outputs(), Vec::<Vec<u64>>::new(), "{options:?}");
        h.push(3, 3);
        assert_eq!(h.timed_outputs(), [(vec![10, 20, 30], 3)], "{options:?}");
        for (name, factor) in [(2, 3), (1, 5), (3, 7), (3, 1)] {
            h.push_second((name, factor), 2);
        }
        assert_eq!(h.outputs(), Vec::<Vec<u64>>::new());
        h.push(4, 4);
        assert_eq!(h.outputs(), [vec![60]]);
        h.push_second((0, 0), 4);
        let _ = h.outputs();
        h.push(5, 5);
        assert_eq!(h.outputs(), Vec::<Vec<u64>>::new(), "{options:?}");
        assert_eq!(h.side(&Tag::<u64>::new("factors")), [10, 3, 5, 7, 1, 0]);
        h.watermark(9);
        assert_eq!(h.output_watermark(), i64::MIN);
        h.watermark_second(8);
        assert_eq!(h.output_watermark(), 8);
        h.idle_second();
        assert_eq!((h.output_watermark(), h.output_idle()), (9, false), "{options:?}");
        h.end();
    }
}

/// Keeps what each core has seen, in both kinds of list.
struct Remember {
    own: OperatorList<String>,
    union: UnionList<String>,
}

/// Own list, own part of the union, what was restored.
type Lists = (Vec<String>, Vec<String>, Vec<String>);

impl StreamProcess<String> for Remember {
    type Out = Lists;

    fn process(&mut self, text: String, cx: &mut StreamContext<'_, Lists>) -> crate::Result<()> {
        match &*text {
            "clear" => {
                self.own.clear();
                self.union.clear();
            }
            "show" => {
                let (own, union) = (self.own.read().to_vec(), self.union.read().to_vec());
                cx.emit((own, union, self.union.restored().to_vec()));
            }
            _ => {
                self.own.extend([text.clone()]);
                self.union.push(text);
            }
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        cx: &mut StreamContext<'_, Lists>,
    ) -> crate::Result<()> {
        if watermark == crate::time::MAX {
            cx.emit((self.own.take(), self.union.take(), Vec::new()));
        }
        Ok(())
    }
}

fn remember(options: HarnessOptions) -> Harness<String, Lists> {
    options.build_restartable(|input: Stream<String>| {
        input.process("remember", |states| Remember {
            own: states.list("own"),
            union: states.union_list("union"),
        })
    })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn each_core_gets_its_list_back_and_hears_of_the_union_of_all() {
    for options in HarnessOptions::matrix() {
        let mut h = remember(options.channels(3));
        for (core, text) in [(2, "e"), (0, "a"), (1, "c"), (0, "b"), (1, "d")] {
            h.push_on(core, text.to_owned(), 0);
        }
        h.push_on(0, "show".to_owned(), 0);
        let ab = texts(&["a", "b"]);
        assert_eq!(h.outputs(), [(ab.clone(), ab.clone(), vec![])], "{options:?}");
        for _ in 0..3 {
            h.restart();
        }
        let all = texts(&["a", "b", "c", "d", "e"]);
        for (core, own) in [(0, ab), (1, texts(&["c", "d"])), (2, texts(&["e"]))] {
            h.push_on(core, "show".to_owned(), 0);
            assert_eq!(h.outputs(), [(own.clone(), own, all.clone())], "{options:?}");
        }
        h.push_on(0, "clear".to_owned(), 0);
        h.push_on(0, "z".to_owned(), 0);
        h.push_on(2, "f".to_owned(), 0);
        h.restart();
        h.push_on(0, "show".to_owned(), 0);
        let (z, all) = (texts(&["z"]), texts(&["z", "c", "d", "e", "f"]));
        assert_eq!(h.outputs(), [(z.clone(), z, all)], "{options:?}");
    }
}

#[test]
fn a_list_is_emitted_at_the_end_of_time_behind_every_restart() {
    for options in ways() {
        let mut h = remember(options);
        for text in ["a", "b", "clear", "c", "d"] {
            h.push(text.to_owned(), 0);
        }
        h.end();
        let cd = texts(&["c", "d"]);
        assert_eq!(h.outputs(), [(cd.clone(), cd, vec![])], "{options:?}");
        let used = h.state_bytes();
        assert!(used < 4096, "{used} bytes");
    }
}

#[test]
fn two_lists_of_one_name_are_refused() {
    let job = |flow: &Dataflow, _: &Args| {
        let texts = flow.from_iter("texts", [String::new()]);
        let remembered = texts.process("remember", |states| Remember {
            own: states.list("list"),
            union: states.union_list("list"),
        });
        remembered.sink("out", Blackhole::new(|_: &Lists| ()));
        Ok(())
    };
    let error = crate::plan(&job, &Args::default(), 1).unwrap_err();
    assert!(error.to_string().contains("two states of the operator are named \"list\""));
}
