//! Declared states: what they hold, and for how long.

use std::time::Duration;

use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// What to do with a state, and with which entry and value.
type Order = (String, char, u64, u64);

struct Lists {
    list: ListState<u64>,
}

impl KeyedProcess<String, Order> for Lists {
    type Out = (String, Vec<u64>);

    fn process(
        &mut self,
        (key, order, _, value): Order,
        cx: &mut ProcessContext<'_, String, Self::Out>,
    ) -> crate::Result<()> {
        match order {
            'p' => self.list.push(value),
            'e' => self.list.extend([value, value + 1]),
            's' => self.list.set([value]),
            'c' => self.list.clear(),
            'i' => {
                let values = self.list.to_vec();
                assert_eq!(self.list.len(), values.len());
                assert_eq!(self.list.is_empty(), values.is_empty());
                cx.emit((key, values));
            }
            other => panic!("no order {other}"),
        }
        Ok(())
    }
}

struct Maps {
    map: MapState<u64, String>,
}

impl KeyedProcess<String, Order> for Maps {
    type Out = (String, Vec<(u64, String)>);

    fn process(
        &mut self,
        (key, order, entry, value): Order,
        cx: &mut ProcessContext<'_, String, Self::Out>,
    ) -> crate::Result<()> {
        let value = value.to_string();
        match order {
            'p' => drop(self.map.insert(entry, value)),
            'a' => self.map.or_default(&entry).push_str(&value),
            'r' => drop(self.map.remove(&entry)),
            'c' => self.map.clear(),
            'g' => {
                let found = self.map.value(&entry);
                assert_eq!(self.map.contains(&entry), found.is_some());
                cx.emit((key, found.into_iter().map(|value| (entry, value)).collect()));
            }
            'i' => {
                let entries = self.map.iter().map(|(entry, value)| (entry, value.clone()));
                cx.emit((key, entries.collect()));
            }
            other => panic!("no order {other}"),
        }
        Ok(())
    }
}

fn lists(options: &HarnessOptions, ttl: Option<Ttl>) -> Harness<Order, (String, Vec<u64>)> {
    options.build(move |input: Stream<Order>| {
        input.key_by(|order| order.0.clone()).process("lists", |states| {
            let list = ttl.map_or("l".into(), |ttl| StateSpec::new("l").with_ttl(ttl));
            Lists { list: states.list(list) }
        })
    })
}

type Entries = (String, Vec<(u64, String)>);

fn maps(options: &HarnessOptions, ttl: Option<Ttl>) -> Harness<Order, Entries> {
    options.build(move |input: Stream<Order>| {
        input.key_by(|order| order.0.clone()).process("maps", |states| {
            let map = ttl.map_or("m".into(), |ttl| StateSpec::new("m").with_ttl(ttl));
            Maps { map: states.map(map) }
        })
    })
}

fn order(key: &str, order: char, entry: u64, value: u64) -> Order {
    (key.to_owned(), order, entry, value)
}

fn entries(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(entry, value)| (*entry, (*value).to_owned())).collect()
}

#[test]
fn a_list_keeps_its_order_per_key() {
    for options in HarnessOptions::matrix() {
        let mut h = lists(&options, None);
        for (key, what, value) in
            [("a", 'p', 3), ("b", 'e', 7), ("a", 'p', 1), ("a", 'i', 0), ("b", 'i', 0)]
        {
            h.push(order(key, what, 0, value), 0);
        }
        let both = [("a".to_owned(), vec![3, 1]), ("b".to_owned(), vec![7, 8])];
        assert_eq!(h.outputs(), both, "{options:?}");
        for (what, value) in [('s', 5), ('p', 6), ('i', 0), ('c', 0), ('i', 0), ('p', 2), ('i', 0)]
        {
            h.push(order("a", what, 0, value), 0);
        }
        h.push(order("b", 'i', 0, 0), 0);
        let lists: Vec<_> = h.outputs().into_iter().map(|(_, list)| list).collect();
        assert_eq!(lists, [vec![5, 6], vec![], vec![2], vec![7, 8]]);
    }
}

#[test]
fn a_map_iterates_in_the_order_of_insertion() {
    for options in HarnessOptions::matrix() {
        let mut h = maps(&options, None);
        for (what, entry, value) in
            [('p', 5, 1), ('p', 2, 2), ('p', 9, 3), ('p', 5, 4), ('a', 2, 0)]
        {
            h.push(order("a", what, entry, value), 0);
        }
        h.push(order("b", 'p', 2, 7), 0);
        h.push(order("a", 'i', 0, 0), 0);
        h.push(order("a", 'r', 2, 0), 0);
        h.push(order("a", 'r', 77, 0), 0);
        h.push(order("a", 'a', 1, 6), 0);
        h.push(order("a", 'i', 0, 0), 0);
        h.push(order("a", 'r', 5, 0), 0);
        h.push(order("a", 'r', 1, 0), 0);
        h.push(order("a", 'i', 0, 0), 0);
        h.push(order("a", 'c', 0, 0), 0);
        h.push(order("a", 'i', 0, 0), 0);
        h.push(order("b", 'g', 2, 0), 0);
        let maps: Vec<_> = h.outputs().into_iter().map(|(_, map)| map).collect();
        let expected = [
            entries(&[(5, "4"), (2, "20"), (9, "3")]),
            entries(&[(5, "4"), (9, "3"), (1, "6")]),
            entries(&[(9, "3")]),
            entries(&[]),
            entries(&[(2, "7")]),
        ];
        assert_eq!(maps, expected, "{options:?}");
    }
}

#[test]
fn entries_expire_one_by_one_at_the_very_millisecond() {
    let ttl = Some(Ttl::new(100));
    for options in HarnessOptions::matrix() {
        let mut h = maps(&options, ttl);
        let mut l = lists(&options, ttl);
        for entry in 0..3 {
            h.push(order("a", 'p', entry, entry), 0);
            l.push(order("a", 'p', 0, entry), 0);
            h.advance(Duration::from_millis(10));
            l.advance(Duration::from_millis(10));
        }
        h.push(order("a", 'p', 1, 9), 0);
        h.advance(Duration::from_millis(69));
        l.advance(Duration::from_millis(69));
        for what in ['i', 'g'] {
            h.push(order("a", what, 0, 0), 0);
        }
        l.push(order("a", 'i', 0, 0), 0);
        let all = entries(&[(0, "0"), (1, "9"), (2, "2")]);
        assert_eq!(h.outputs()[0].1, all, "{options:?}");
        assert_eq!(l.outputs()[0].1, [0, 1, 2]);
        h.advance(Duration::from_millis(1));
        l.advance(Duration::from_millis(1));
        for what in ['g', 'i'] {
            h.push(order("a", what, 0, 0), 0);
        }
        l.push(order("a", 'i', 0, 0), 0);
        let seen: Vec<_> = h.outputs().into_iter().map(|(_, map)| map).collect();
        assert_eq!(seen, [entries(&[]), entries(&[(1, "9"), (2, "2")])]);
        assert_eq!(l.outputs()[0].1, [1, 2]);
        h.advance(Duration::from_millis(20));
        h.push(order("a", 'i', 0, 0), 0);
        assert_eq!(h.outputs()[0].1, entries(&[(1, "9")]));
    }
}

#[test]
fn bytes_return_to_the_baseline_when_all_has_expired_or_is_cleared() {
    let ttl = Some(Ttl::new(1000));
    let mut h = maps(&HarnessOptions::new(), ttl);
    let mut l = lists(&HarnessOptions::new(), ttl);
    let baseline = (h.state_bytes(), l.state_bytes());
    for n in 0..5000 {
        let key = format!("a key that lies on the heap {}", n % 500);
        h.push(order(&key, 'p', n, n), 0);
        l.push(order(&key, 'p', 0, n), 0);
    }
    assert!(h.state_bytes() > 20 * baseline.0, "{} bytes", h.state_bytes());
    assert!(l.state_bytes() > 20 * baseline.1, "{} bytes", l.state_bytes());
    h.advance(Duration::from_secs(1));
    l.advance(Duration::from_secs(1));
    let slack = 4 * (baseline.0 + baseline.1);
    assert!(h.state_bytes() < slack, "{} bytes of {baseline:?}", h.state_bytes());
    assert!(l.state_bytes() < slack, "{} bytes of {baseline:?}", l.state_bytes());
}

struct Values {
    value: ValueState<Vec<u64>>,
    sum: ReducingState<u64>,
    mean: AggregatingState<u64, Mean>,
}

struct Mean;

impl AggregateFn<u64> for Mean {
    type Acc = (u64, u64);
    type Out = u64;
    fn create(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, acc: &mut (u64, u64), n: u64) {
        *acc = (acc.0 + n, acc.1 + 1);
    }
    fn result(&self, acc: &(u64, u64)) -> u64 {
        acc.0 / acc.1
    }
}

/// The value's elements, the sum, the mean.
type Seen = (Vec<u64>, Option<u64>, Option<u64>);

impl KeyedProcess<u8, (u8, u64)> for Values {
    type Out = Seen;

    fn process(
        &mut self,
        (_, n): (u8, u64),
        cx: &mut ProcessContext<'_, u8, Seen>,
    ) -> crate::Result<()> {
        match n {
            0 => {
                let value = self.value.get().map(|value| value.clone()).unwrap_or_default();
                cx.emit((value, self.sum.get(), self.mean.get()));
            }
            1 => {
                self.value.clear();
                self.sum.clear();
                self.mean.clear();
            }
            n => {
                self.value.or_default().push(n);
                self.sum.add(n);
                self.mean.add(n);
            }
        }
        Ok(())
    }
}

fn values(options: &HarnessOptions, ttl: Option<Ttl>) -> Harness<(u8, u64), Seen> {
    options.build(move |input: Stream<(u8, u64)>| {
        let spec = |name: &str| StateSpec { ttl, ..StateSpec::new(name) };
        input.key_by(|record| record.0).process("values", |states| Values {
            value: states.value(spec("value")),
            sum: states.reducing(spec("sum"), |a, b| a + b),
            mean: states.aggregating(spec("mean"), Mean),
        })
    })
}

#[test]
fn values_sums_and_means_are_kept_per_key_until_cleared() {
    for options in HarnessOptions::matrix() {
        let mut h = values(&options, None);
        let baseline = h.state_bytes();
        for (key, n) in [(1, 10), (2, 4), (1, 20), (1, 0), (2, 0), (3, 0)] {
            h.push((key, n), 0);
        }
        let expected =
            [(vec![10, 20], Some(30), Some(15)), (vec![4], Some(4), Some(4)), (vec![], None, None)];
        assert_eq!(h.outputs(), expected, "{options:?}");
        assert!(h.state_bytes() > baseline);
        for (key, n) in [(1, 1), (2, 1), (1, 0)] {
            h.push((key, n), 0);
        }
        assert_eq!(h.outputs(), [(vec![], None, None)]);
        // With cold rows, what is known of those that are not in the table takes a little, too, and
        // so does a run that is put together.
        let most = if options.cold { 2 * baseline + 4_096 } else { baseline };
        assert!(h.state_bytes() <= most, "{} of {baseline} bytes", h.state_bytes());
    }
}

#[test]
fn reads_restart_the_time_to_live_only_if_they_are_to() {
    for (update, at_150) in [
        (UpdateType::OnCreateAndWrite, (vec![], None, None)),
        (UpdateType::OnReadAndWrite, (vec![5], Some(5), Some(5))),
        (UpdateType::Disabled, (vec![5], Some(5), Some(5))),
    ] {
        for options in HarnessOptions::matrix() {
            let mut h = values(&options, Some(Ttl::new(100).with_update(update)));
            h.push((1, 5), 0);
            h.advance(Duration::from_millis(99));
            h.push((1, 0), 0);
            assert_eq!(h.outputs(), [(vec![5], Some(5), Some(5))], "{update:?} {options:?}");
            h.advance(Duration::from_millis(51));
            h.push((1, 0), 0);
            assert_eq!(h.outputs(), std::slice::from_ref(&at_150), "{update:?} {options:?}");
        }
    }
}

#[test]
fn a_flat_map_with_state_starts_anew_when_its_value_has_expired() {
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<u64>| {
            let spec = ValueSpec::new("n").with_ttl(Ttl::new(100));
            input.key_by(|key| *key).flat_map_with_state("count", spec, |key, _, n: &mut u64| {
                *n += 1;
                Some((*key, *n))
            })
        });
        h.push(7, 0);
        h.advance(Duration::from_millis(60));
        h.push(7, 0);
        h.advance(Duration::from_millis(99));
        h.push(7, 0);
        h.advance(Duration::from_millis(100));
        h.push(7, 0);
        assert_eq!(h.outputs(), [(7, 1), (7, 2), (7, 3), (7, 1)], "{options:?}");
    }
}

#[test]
fn live_bytes_of_a_flat_map_return_to_the_baseline() {
    let mut h = Harness::new(|input: Stream<u64>| {
        let spec = ValueSpec::new("seen").with_ttl(Ttl::new(1000));
        input.key_by(|key| *key).flat_map_with_state("seen", spec, |_, n, all: &mut Vec<u64>| {
            all.push(n);
            None::<u64>
        })
    });
    let baseline = h.state_bytes();
    h.push_all((0..10_000).map(|key| (key, 0)));
    assert!(h.state_bytes() > 100 * baseline, "{} bytes", h.state_bytes());
    h.advance(Duration::from_millis(999));
    assert!(h.state_bytes() > 100 * baseline, "{} bytes", h.state_bytes());
    h.advance(Duration::from_millis(1));
    h.advance(Duration::from_millis(500));
    assert!(h.state_bytes() <= 4 * baseline, "{} of {baseline} bytes", h.state_bytes());
}

#[test]
fn rolling_reduce_and_aggregate_emit_behind_every_record() {
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<(u8, u64)>| {
            input.key_by(|record| record.0).reduce("max", |a, b| if a.1 > b.1 { a } else { b })
        });
        let mut means =
            options.build(|input: Stream<u64>| input.key_by(|_| 0u8).aggregate("mean", Mean));
        for record in [(1, 3), (2, 9), (1, 7), (1, 5)] {
            h.push(record, 0);
            means.push(record.1, 0);
        }
        assert_eq!(h.outputs(), [(1, 3), (2, 9), (1, 7), (1, 7)], "{options:?}");
        assert_eq!(means.outputs(), [3, 6, 6, 6]);
    }
}
