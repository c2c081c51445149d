//! Operators with two inputs, in every way of running them and begun again behind every event.

mod amid;

use std::time::Duration;

use crate::operator::Chain;
use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// Every way of running an operator, and each of them with restarts.
fn ways() -> impl Iterator<Item = HarnessOptions> {
    HarnessOptions::matrix().into_iter().flat_map(|options| [options, options.restarting()])
}

/// What a [`Judge`] is told for all keys.
#[record]
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Limit(String, u64),
    Forget(String),
    /// Emits the sum of every key and begins anew.
    Settle,
    /// Emits what broadcast state is.
    Show,
}

/// Sums up what each key gets above the highest limit; says so again after ten milliseconds.
struct Judge {
    sum: ValueState<u64>,
    all: ListState<u64>,
    by_rest: MapState<u64, u64>,
    limits: BroadcastState<String, u64>,
}

/// Who says it, key or time, a figure.
type Said = (String, u64, u64);

impl KeyedBroadcastProcess<u64, (u64, u64), Rule> for Judge {
    type Out = Said;

    fn process(
        &mut self,
        (key, n): (u64, u64),
        cx: &mut ProcessContext<'_, u64, Said>,
    ) -> crate::Result<()> {
        let limit = self.limits.read().values().copied().max();
        if limit.is_none_or(|limit| n > limit) {
            *self.sum.or_default() += n;
            self.all.push(n);
            self.by_rest.insert(n % 3, n);
            cx.register_event_timer(cx.timestamp() + 10);
        } else {
            cx.emit(("below".to_owned(), key, n));
        }
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        rule: Rule,
        cx: &mut BroadcastContext<'_, u64, Said>,
    ) -> crate::Result<()> {
        match rule {
            Rule::Limit(name, limit) => drop(self.limits.write(cx).insert(name, limit)),
            Rule::Forget(name) => drop(self.limits.write(cx).remove(&name)),
            Rule::Show => {
                let limits = self.limits.read();
                let shown = limits.iter().map(|(name, limit)| (name.clone(), 0, *limit));
                shown.for_each(|said| cx.emit(said));
            }
            Rule::Settle => {
                let Self { sum, all, by_rest, .. } = self;
                cx.apply_to_keyed_state(all, |all, cx| {
                    let count = (all.len() + by_rest.len()) as u64;
                    cx.emit(("settled".to_owned(), *cx.key(), count));
                    all.clear();
                    Ok(())
                })?;
                cx.apply_to_keyed_state(sum, |sum, cx| {
                    let last = sum.take().unwrap_or_default();
                    cx.emit(("sum".to_owned(), *cx.key(), last));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u64, Said>,
    ) -> crate::Result<()> {
        let limits = self.limits.len() as u64;
        assert!(timer.timestamp <= cx.watermark());
        cx.emit((format!("timer {}", timer.timestamp), *cx.key(), limits));
        Ok(())
    }
}

fn judge(options: HarnessOptions) -> Harness<(u64, u64), Said, Rule> {
    options.build_two(|input: Stream<(u64, u64)>, rules: Stream<Rule>| {
        connected(input.key_by(|(key, _)| *key), rules)
    })
}

fn connected(
    input: KeyedStream<u64, (u64, u64)>,
    rules: Stream<Rule>,
) -> Stream<Said, impl Chain<Said>> {
    input.connect(rules.broadcast()).process("judge", |states| Judge {
        sum: states.value("sum"),
        all: states.list("all"),
        by_rest: states.map("by rest"),
        limits: states.broadcast("limits"),
    })
}

fn said(what: &str, key: u64, figure: u64) -> Said {
    (what.to_owned(), key, figure)
}

#[test]
fn records_read_what_elements_have_written() {
    for options in ways() {
        let mut h = judge(options);
        h.push((1, 5), 0);
        assert_eq!(h.outputs(), [], "{options:?}");
        for (name, limit) in [("b", 7), ("a", 3), ("c", 9)] {
            h.push_second(Rule::Limit(name.to_owned(), limit), 0);
        }
        h.push_second(Rule::Forget("c".to_owned()), 0);
        assert_eq!(h.outputs(), []);
        h.push((1, 7), 0);
        h.push((2, 8), 0);
        assert_eq!(h.outputs(), [said("below", 1, 7)], "{options:?}");
        h.push_second(Rule::Show, 0);
        assert_eq!(h.outputs(), [said("a", 0, 3), said("b", 0, 7)], "in the order of keys");
        h.push_second(Rule::Settle, 0);
        let both = [("settled", 1, 2), ("settled", 2, 2), ("sum", 1, 5), ("sum", 2, 8)];
        assert_eq!(h.outputs(), both.map(|(what, key, n)| said(what, key, n)), "{options:?}");
        h.push((2, 9), 0);
        assert_eq!(h.outputs(), [], "what is pushed to both at once has no order");
        h.push_second(Rule::Settle, 0);
        // The map of the second key still has its first entry, and 9 has another rest.
        assert_eq!(h.outputs(), [said("settled", 2, 3), said("sum", 2, 9)], "{options:?}");
    }
}

#[test]
fn every_key_is_visited_once_wherever_its_rows_are() {
    for options in ways().filter(|options| *options != options.restarting()) {
        for channels in [1, 3] {
            let mut h = judge(options.channels(channels));
            for n in 0..700 {
                h.push_on(n as usize % channels, (n % 500, 1), 0);
            }
            let _ = h.outputs();
            h.restart();
            h.push_second(Rule::Settle, 0);
            let outputs = h.outputs();
            let sums = outputs.iter().filter(|(what, ..)| what == "sum");
            let mut sums: Vec<_> = sums.map(|(_, key, sum)| (*key, *sum)).collect();
            assert!(channels > 1 || sums.is_sorted(), "in the order of keys: {options:?}");
            sums.sort_unstable();
            let expected = (0..500).map(|key| (key, 1 + u64::from(key < 200)));
            assert!(sums == expected.collect::<Vec<_>>(), "{options:?}: {sums:?}");
            h.push_second(Rule::Settle, 0);
            assert_eq!(h.outputs(), [], "nothing is left of any key");
        }
    }
}

#[test]
fn time_is_the_lower_one_of_both_inputs_unless_one_is_idle_or_ends() {
    for options in ways() {
        let mut h = judge(options);
        for (key, at) in [(1, 0), (2, 5), (3, 20), (4, 60), (5, 80)] {
            h.push((key, 9), at);
        }
        h.watermark(25);
        assert_eq!((h.outputs(), h.output_watermark()), (vec![], i64::MIN), "{options:?}");
        h.watermark_second(12);
        assert_eq!(h.outputs(), [said("timer 10", 1, 0)], "{options:?}");
        assert_eq!(h.output_watermark(), 12);
        h.push_second(Rule::Limit("a".to_owned(), 1), 13);
        h.idle_second();
        assert_eq!(h.outputs(), [said("timer 15", 2, 1)], "{options:?}");
        assert_eq!((h.output_watermark(), h.output_idle()), (25, false));
        h.watermark(40);
        assert_eq!(h.outputs(), [said("timer 30", 3, 1)]);
        h.push_second(Rule::Limit("b".to_owned(), 1), 50);
        h.idle();
        assert_eq!((h.output_watermark(), h.output_idle()), (40, false), "{options:?}");
        h.push((9, 1), 50);
        assert_eq!(h.outputs(), [said("below", 9, 1)]);
        h.watermark(75);
        h.watermark_second(70);
        assert_eq!(h.outputs(), [said("timer 70", 4, 2)], "{options:?}");
        h.end_second();
        assert_eq!((h.outputs(), h.output_watermark()), (vec![], 75), "{options:?}");
        h.watermark(90);
        assert_eq!(h.outputs(), [said("timer 90", 5, 2)]);
    }
}

#[test]
fn what_has_expired_is_not_visited() {
    struct Seen(ValueState<u64>);
    impl KeyedBroadcastProcess<u64, u64, u64> for Seen {
        type Out = u64;
        fn process(&mut self, n: u64, _: &mut ProcessContext<'_, u64, u64>) -> crate::Result<()> {
            self.0.set(n);
            Ok(())
        }
        fn process_broadcast(
            &mut self,
            _: u64,
            cx: &mut BroadcastContext<'_, u64, u64>,
        ) -> crate::Result<()> {
            cx.apply_to_keyed_state(&mut self.0, |_, cx| {
                cx.emit(*cx.key());
                Ok(())
            })
        }
    }
    for options in ways() {
        let mut h = options.build_two(|input: Stream<u64>, other: Stream<u64>| {
            input.key_by(|n| *n).connect(other.broadcast()).process("seen", |states| {
                Seen(states.value(StateSpec::new("seen").with_ttl(Ttl::new(100))))
            })
        });
        h.push(1, 0);
        h.push(3, 0);
        h.advance(Duration::from_millis(60));
        h.push(2, 0);
        h.push(3, 0);
        h.advance(Duration::from_millis(60));
        h.push_second(0, 0);
        assert_eq!(h.outputs(), [2, 3], "{options:?}");
    }
}

/// Pairs numbers of one key, the first stream's with the second's; a timer gives up.
struct Pairs {
    waiting: ListState<u64>,
    count: ValueState<u64>,
}

impl KeyedCoProcess<u64, (u64, u64), (u64, String)> for Pairs {
    type Out = Said;

    fn process_first(
        &mut self,
        (_, n): (u64, u64),
        cx: &mut ProcessContext<'_, u64, Said>,
    ) -> crate::Result<()> {
        self.waiting.push(n);
        cx.register_event_timer(cx.timestamp() + 10);
        Ok(())
    }

    fn process_second(
        &mut self,
        (key, text): (u64, String),
        cx: &mut ProcessContext<'_, u64, Said>,
    ) -> crate::Result<()> {
        *self.count.or_default() += 1;
        let all: Vec<u64> = self.waiting.to_vec();
        self.waiting.clear();
        all.into_iter().for_each(|n| cx.emit((text.clone(), key, n)));
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, cx: &mut ProcessContext<'_, u64, Said>) -> crate::Result<()> {
        let left = self.waiting.len() as u64;
        cx.emit((format!("left of {}", *self.count.or_default()), *cx.key(), left));
        Ok(())
    }
}

fn pairs(options: HarnessOptions) -> Harness<(u64, u64), Said, (u64, String)> {
    options.build_two(|input: Stream<(u64, u64)>, second: Stream<(u64, String)>| {
        let second = second.key_by(|(key, _)| *key);
        input.key_by(|(key, _)| *key).connect(second).process("pairs", |states| Pairs {
            waiting: states.list("waiting"),
            count: states.value("count"),
        })
    })
}

#[test]
fn two_keyed_streams_share_the_states_of_a_key() {
    for options in ways() {
        let mut h = pairs(options);
        for (key, n) in [(1, 10), (2, 20), (1, 11)] {
            h.push((key, n), 0);
        }
        h.watermark(100);
        assert_eq!(h.outputs(), [], "{options:?}");
        h.push_second((1, "x".to_owned()), 5);
        assert_eq!(h.outputs(), [said("x", 1, 10), said("x", 1, 11)], "{options:?}");
        h.push_second((3, "y".to_owned()), 5);
        h.watermark_second(10);
        assert_eq!(h.outputs(), [said("left of 1", 1, 0), said("left of 0", 2, 1)], "{options:?}");
        h.push_second((2, "z".to_owned()), 11);
        assert_eq!(h.outputs(), [said("z", 2, 20)]);
        h.end();
        assert_eq!(h.outputs(), []);
    }
}

/// With tiny tables both gates' pages need rows that the other one would let go.
#[test]
fn pages_of_both_gates_are_served_with_cold_rows() {
    for options in ways().filter(|options| *options != options.restarting()) {
        let mut h = pairs(options.channels(2).batched());
        for n in 0..600 {
            h.push_on(n as usize % 2, (n % 97, n), 0);
        }
        let _ = h.outputs();
        for n in 0..97 {
            h.push_second_on(n as usize % 2, (n, String::new()), 0);
            h.push_on(1 - n as usize % 2, (n + 1000, n), 0);
        }
        let mut paired: Vec<_> = h.outputs().into_iter().map(|(_, _, n)| n).collect();
        paired.sort_unstable();
        assert!(paired == (0..600).collect::<Vec<_>>(), "{options:?}: {}", paired.len());
    }
}

#[test]
fn a_stream_may_be_connected_with_itself() {
    struct Both(ValueState<u64>);
    impl KeyedCoProcess<u64, u64, u64> for Both {
        type Out = (char, u64);
        fn process_first(
            &mut self,
            _: u64,
            cx: &mut ProcessContext<'_, u64, Self::Out>,
        ) -> crate::Result<()> {
            *self.0.or_default() += 1;
            cx.emit(('1', *self.0.or_default()));
            Ok(())
        }
        fn process_second(
            &mut self,
            _: u64,
            cx: &mut ProcessContext<'_, u64, Self::Out>,
        ) -> crate::Result<()> {
            *self.0.or_default() += 10;
            cx.emit(('2', *self.0.or_default()));
            Ok(())
        }
    }
    for options in ways() {
        let mut h = options.build_restartable(|input: Stream<u64>| {
            let keyed = input.key_by(|n| *n);
            keyed.clone().connect(keyed).process("both", |states| Both(states.value("n")))
        });
        h.push(7, 1);
        assert_eq!(h.outputs(), [('1', 1), ('2', 11)], "{options:?}");
        h.push(7, 2);
        h.end();
        assert_eq!(h.outputs(), [('1', 12), ('2', 22)], "{options:?}");
    }
}

#[test]
#[should_panic(expected = "belong to a key")]
fn an_element_has_no_key() {
    struct Keyless(ValueState<u64>);
    impl KeyedBroadcastProcess<u64, u64, u64> for Keyless {
        type Out = u64;
        fn process(&mut self, _: u64, _: &mut ProcessContext<'_, u64, u64>) -> crate::Result<()> {
            Ok(())
        }
        fn process_broadcast(
            &mut self,
            n: u64,
            _: &mut BroadcastContext<'_, u64, u64>,
        ) -> crate::Result<()> {
            self.0.set(n);
            Ok(())
        }
    }
    let mut h = HarnessOptions::new().build_two(|input: Stream<u64>, other: Stream<u64>| {
        let keyed = input.key_by(|n| *n).connect(other.broadcast());
        keyed.process("keyless", |states| Keyless(states.value("n")))
    });
    h.push_second(1, 0);
}

/// Plans a job that connects in a certain way.
fn planned(wrong: &'static str) -> crate::Result<crate::graph::JobGraph> {
    let job = move |flow: &Dataflow, _: &Args| {
        let numbers = flow.from_iter("numbers", [(1u64, 1u64)]).key_by(|(key, _)| *key);
        let rules = flow.from_iter("rules", [Rule::Show]);
        let (numbers, rules) = match wrong {
            "partitioner" => (numbers, rules.rebalance()),
            "cores" => (numbers.parallelism(2), rules.broadcast()),
            _ => (numbers, rules.broadcast()),
        };
        let judged = numbers.connect(rules).process("judge", move |states| Judge {
            sum: states.value("sum"),
            all: states.list("all"),
            by_rest: states.map("by rest"),
            limits: states.broadcast(if wrong == "names" { "sum" } else { "limits" }),
        });
        judged.sink("out", Print::new());
        Ok(())
    };
    crate::plan(&job, &Args::default(), 4)
}

#[test]
fn a_plan_shows_both_inputs_and_refuses_what_cannot_be() {
    let graph = planned("").unwrap();
    let text = "\
task 1, on 4 cores
  source numbers (iterator)
    => hash to task 2
task 2, on 4 cores
  key_by-1 -> [0] judge (keyed_broadcast_process) -> sink out (print)
    state judge.sum (value)
    state judge.all (list)
    state judge.by rest (map)
    state judge.limits (broadcast)
task 3, on 4 cores
  source rules (iterator)
    => broadcast to task 4
task 4, on 4 cores
  broadcast-3
    -> [1] judge (task 2)
";
    assert_eq!(graph.text(), text);
    let ports: Vec<_> = graph.edges.iter().filter(|edge| edge.to == 4).map(|e| e.port).collect();
    assert_eq!(ports, [0, 1]);
    assert!(graph.dot("job").contains("n3 -> n4 [label=\"input 1\"];"));
    let mut swapped = graph.clone();
    swapped.edges.iter_mut().filter(|edge| edge.to == 4).for_each(|edge| edge.port = 1 - edge.port);
    assert_ne!(graph.digest(), swapped.digest());
    let fewer = planned("cores").unwrap();
    assert_eq!(fewer.nodes[3].parallelism, 2, "the broadcast goes where the operator is");
    let error = |wrong| planned(wrong).unwrap_err().to_string();
    assert!(error("partitioner").contains("with \"rebalance-3\", which is no broadcast"));
    assert!(error("names").contains("two states of the operator are named \"sum\""));
}
