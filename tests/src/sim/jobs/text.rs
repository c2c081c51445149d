//! Records with strings: words, records larger than a buffer, one record that becomes a thousand.

use std::collections::BTreeMap;

use thalweg::prelude::*;

use super::{Instance, Item, manners, rows};
use crate::seen;
use crate::sim::oracle::Equality;
use crate::sim::probe::{Outputs, Probe};
use crate::sim::{Random, trap};

/// Counts words of lines: a key that is a string, one split, so the order per word is fixed.
pub(super) fn words(random: &Random) -> Instance {
    let mut draw = random.fork("lines");
    let vocabulary = draw.magnitude(200);
    let lines: Vec<String> =
        (0..draw.between(0, 200)).map(|_| line(&mut draw, vocabulary)).collect();
    let (outputs, manners) = (Outputs::default(), manners(random));
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let fold = lines.iter().flat_map(|line| line.split(' ')).map(|word| {
        let count = counts.entry(word).or_default();
        *count += 1;
        row(&(word.to_owned(), *count))
    });
    let fold = rows("words", fold.collect::<Vec<_>>());
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        flow.from_iter("lines", lines.clone())
            .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .key_by(|word| word.clone())
            .flat_map_with_state("count", ValueSpec::new("n"), |word: &String, _, n: &mut u64| {
                *n += 1;
                Some((word.clone(), *n))
            })
            .sink("words", Probe::new("words", &kept, &manners, row));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::PerKey, fold: Some(fold), judge: None }
}

fn line(draw: &mut Random, vocabulary: u64) -> String {
    let word = |word: u64| format!("w{word}{}", "x".repeat((word % 40) as usize));
    let words = draw.between(1, 20);
    (0..words).map(|_| word(draw.below(vocabulary))).collect::<Vec<_>>().join(" ")
}

fn row((word, count): &(String, u64)) -> (u64, String) {
    trap::call();
    (thalweg::key::hash(word.as_bytes()), format!("{word} {count}"))
}

/// Texts of any length, up to many buffers, and a thousand records out of one.
pub(super) fn explosion(random: &Random) -> Instance {
    let mut draw = random.fork("items");
    let text_max = draw.pick(&[1, 300, 20_000]);
    let items: Vec<Item> = (0..draw.between(1, 12))
        .map(|n| Item { key: draw.below(4), n, text: text(draw.magnitude(text_max), n) })
        .collect();
    let copies = if text_max > 1_000 { draw.between(1, 20) } else { draw.pick(&[3, 1_000]) };
    let (outputs, manners) = (Outputs::default(), manners(random));
    let fold = items.iter().flat_map(|item| copied(item.clone(), copies));
    let fold = rows("copies", fold.map(|item| item.row()).collect::<Vec<_>>());
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        flow.from_iter("items", items.clone())
            .key_by(|item| item.key)
            .flat_map_with_state("copy", ValueSpec::new("n"), move |_, item, n: &mut u64| {
                *n += 1;
                seen!("one record became a thousand", if copies == 1_000);
                copied(item, copies)
            })
            .key_by(|item| (item.key, item.text.clone()))
            .flat_map_with_state("check", ValueSpec::new("n"), |key, item, n: &mut u64| {
                assert_eq!(*key, (item.key, item.text.clone()));
                *n += 1;
                Some(item)
            })
            .sink("copies", Probe::new("copies", &kept, &manners, Item::row));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: Some(fold), judge: None }
}

fn copied(item: Item, copies: u64) -> Vec<Item> {
    (0..copies).map(|copy| Item { n: item.n * 1_000 + copy, ..item.clone() }).collect()
}

fn text(len: u64, n: u64) -> String {
    char::from(b'a' + (n % 26) as u8).to_string().repeat(len as usize)
}
