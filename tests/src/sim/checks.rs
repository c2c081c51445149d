//! Invariants of a cluster, checked after every step, and the interesting situations that it gets
//! into.

use std::collections::BTreeMap;

use thalweg::graph::{JobGraph, Partitioner};
use thalweg::metrics::StateCounts;
use thalweg::runtime::{GateView, InputView, OutputView, Progress, Worker};
use thalweg::testing::Cluster;
use thalweg_state::OwnerTable;

use super::trace::Trace;
use crate::seen;

/// Bytes of a page's directory entry.
const ENTRY_BYTES: usize = thalweg_net::batch::ENTRY_BYTES;

/// What was true of each core after its last step.
pub struct Checks {
    cores: Vec<Seen>,
    /// Owners of key groups, by keyed edge.
    owners: BTreeMap<u32, OwnerTable>,
    buffer_size: usize,
    overdraft: u64,
}

#[derive(Default)]
struct Seen {
    outputs: Vec<OutputView>,
    gates: Vec<GateView>,
    state: StateCounts,
    done: bool,
}

impl Checks {
    /// Looks at a cluster that has not been stepped.
    pub fn new(cluster: &Cluster, buffer_size: usize, overdraft: usize) -> Self {
        let see = |worker: &Worker| Seen {
            outputs: worker.outputs().collect(),
            gates: worker.gates().collect(),
            state: StateCounts::default(),
            done: false,
        };
        Self {
            cores: cluster.workers.iter().map(see).collect(),
            owners: keyed_edges(&cluster.graph),
            buffer_size: buffer_size.next_multiple_of(64),
            overdraft: overdraft as u64,
        }
    }

    /// Checks everything that the step of `core` may have changed.
    pub fn after_step(
        &mut self,
        cluster: &Cluster,
        core: usize,
        progress: Progress,
        trace: &mut Trace,
    ) {
        let worker = &cluster.workers[core];
        let outputs: Vec<_> = worker.outputs().collect();
        let gates: Vec<_> = worker.gates().collect();
        for (before, now) in self.cores[core].outputs.iter().zip(&outputs) {
            self.check_output(core, before, now);
            trace.number(now.records ^ now.frames << 32);
        }
        let without_credit = outputs.iter().any(|output| !output.has_credit);
        for (before, now) in self.cores[core].gates.iter().zip(&gates) {
            self.check_gate(core, before, now, without_credit);
            trace.number(now.watermark as u64);
        }
        self.check_arrivals(core, &gates);
        for (before, now) in self.cores[core].gates.iter().zip(&gates) {
            let frames =
                |gate: &GateView| gate.inputs.iter().map(|input| input.frames).sum::<u64>();
            if frames(before) != frames(now) {
                self.check_pages(worker, core, now.edge);
            }
        }
        let queued = gates.iter().any(|gate| gate.inputs.iter().any(|input| input.pages > 0));
        seen!(
            "a core had work and could do nothing",
            if queued && without_credit && !progress.worked
        );
        self.check_state(worker, core);
        let seen = &mut self.cores[core];
        assert!(progress.done || !seen.done, "core {core} was done and is no more");
        if progress.done && !seen.done {
            let others =
                self.cores.iter().enumerate().any(|(other, seen)| other != core && !seen.done);
            seen!("a core was done before another", if others);
        }
        let state = self.cores[core].state;
        self.cores[core] = Seen { outputs, gates, state, done: progress.done };
        cluster.check_credits();
    }

    /// Checks that nothing is left anywhere and every record that was sent was consumed.
    pub fn at_end(&self, cluster: &Cluster) {
        for (from, worker) in cluster.workers.iter().enumerate() {
            for output in worker.outputs() {
                let (edge, to, counts) = (output.edge, output.to, output.counts);
                let place = format!("edge {edge} from core {from} to core {to}");
                assert!(output.ended, "{place}: not ended");
                assert_eq!(output.queued, 0, "{place}: frames left behind");
                assert_eq!(
                    counts.free, counts.granted,
                    "{place}: not all credits are home: {counts:?}"
                );
                assert_eq!(
                    counts.borrowed, 0,
                    "{place}: borrowed buffers are not home: {counts:?}"
                );
                let input = input(&cluster.workers[to], edge, from);
                assert_eq!(input.frames, output.frames, "{place}: frames lost");
                assert_eq!(input.records, output.records, "{place}: records lost or doubled");
            }
            for gate in worker.gates() {
                let edge = gate.edge;
                assert!(gate.ended, "edge {edge} on core {from}: the gate has not ended");
                assert_eq!(gate.watermark, i64::MAX, "edge {edge} on core {from}: last watermark");
            }
        }
    }

    /// Counts what happened to the state of a core.
    fn check_state(&mut self, worker: &Worker, core: usize) {
        let (before, now) = (self.cores[core].state, worker.core().metrics.state.snapshot());
        seen!("rows of state left for the cold tier", if now.evicted > before.evicted);
        seen!("rows of state were fetched ahead of their use", if now.fetched > before.fetched);
        let waited = now.blocking_reads > before.blocking_reads;
        seen!("user code waited for a row of state", if waited);
        seen!("tasks waited because the cold tier was behind", if now.stalls > before.stalls);
        self.cores[core].state = now;
    }

    fn check_output(&self, core: usize, before: &OutputView, now: &OutputView) {
        let (counts, to) = (now.counts, now.to);
        let place = format_args!("edge {} from core {core} to core {to}", now.edge);
        let (was, is) = (before.watermark, now.watermark);
        assert!(is >= was, "{place}: watermark {is} after {was}");
        assert!(now.records >= before.records, "{place}: records taken back");
        assert!(now.frames >= before.frames, "{place}: frames taken back");
        assert!(now.ended || !before.ended, "{place}: open again after its end");
        assert!(!before.ended || now.records == before.records, "{place}: a record after the end");
        let slack = counts.granted * self.buffer_size as u64;
        let most = slack + self.overdraft;
        assert!(counts.borrowed_bytes <= most, "{place}: borrowed above {most}: {counts:?}");
        let buffers = counts.granted + counts.borrowed;
        let most = 3 * buffers + 4;
        assert!(now.queued as u64 <= most, "{place}: {} frames for {buffers} buffers", now.queued);
        seen!("a channel went beyond its credits", if counts.borrowed > before.counts.borrowed);
        seen!("a link was full", if now.queued > 0);
        seen!("a channel fell idle", if now.idle && !before.idle);
        seen!("an idle channel woke up", if !now.idle && before.idle && !now.ended);
    }

    fn check_gate(&self, core: usize, before: &GateView, now: &GateView, without_credit: bool) {
        let place = format_args!("the gate of edge {} on core {core}", now.edge);
        let (was, is) = (before.watermark, now.watermark);
        assert!(is >= was, "{place}: watermark {is} after {was}");
        assert!(now.ended || !before.ended, "{place}: open again after its end");
        check_merge(now, place);
        for (from, (before, now)) in before.inputs.iter().zip(&now.inputs).enumerate() {
            let (was, is) = (before.watermark, now.watermark);
            assert!(is >= was, "{place} from core {from}: watermark {is} after {was}");
            assert!(now.records >= before.records, "{place} from core {from}: records taken back");
            let most = 3 * (now.pages + 1) + 4;
            assert!(now.queued <= most, "{place} from core {from}: {} frames queued", now.queued);
            seen!("control frames merged at the receiver", if now.merged > before.merged);
            if now.open.is_some_and(|(at, len)| at > 0 && at < len) && now.open != before.open {
                seen!(
                    "a task stopped in the middle of a page by lack of credit",
                    if without_credit
                );
                seen!(
                    "a task stopped in the middle of a page with credit left",
                    if !without_credit
                );
            }
        }
        seen!("one consumer of a gate was ahead of another", if now.apart && !before.apart);
        seen!("a gate fell idle", if now.idle && !before.idle);
        seen!("an idle gate woke up", if !now.idle && before.idle && !now.ended);
        let done = |input: &InputView| input.watermark == i64::MAX;
        let ended = now.inputs.iter().filter(|input| done(input)).count();
        let newly = ended > before.inputs.iter().filter(|input| done(input)).count();
        seen!("an input ended while others went on", if newly && ended < now.inputs.len());
    }

    /// Nothing has arrived that was not sent.
    fn check_arrivals(&self, core: usize, gates: &[GateView]) {
        for gate in gates {
            for (from, input) in gate.inputs.iter().enumerate() {
                // The own core's view is not yet replaced, so its last frames are unknown.
                if from == core {
                    continue;
                }
                let sent = self.cores[from].outputs.iter();
                let sent = sent.filter(|output| output.edge == gate.edge && output.to == core);
                let (frames, records) =
                    sent.fold((0, 0), |(f, r), o| (f + o.frames, r + o.records));
                let place = format_args!("edge {} from core {from} to core {core}", gate.edge);
                assert!(input.frames <= frames, "{place}: {} frames of {frames}", input.frames);
                assert!(
                    input.records <= records,
                    "{place}: {} records of {records}",
                    input.records
                );
            }
        }
    }

    /// Every record at a keyed gate belongs to its core.
    fn check_pages(&self, worker: &Worker, core: usize, edge: u32) {
        let owners = self.owners.get(&edge);
        worker.pages(edge, &mut |page| {
            let count = page.count();
            assert!(count > 0, "edge {edge} on core {core}: an empty page");
            for head in page.heads() {
                let owner = owners.map_or(core, |owners| owners.owner_of_hash(head.hash) as usize);
                assert_eq!(owner, core, "edge {edge}: a record of core {owner} is on core {core}");
            }
            let used = page.payload_bytes() + count * ENTRY_BYTES;
            let partly = used + 2 * used.div_ceil(count) <= page.capacity();
            seen!("a page left partly filled", if partly);
            seen!("a page left full", if !partly && count > 1);
            seen!("a page held one record", if count == 1);
            seen!("a record was larger than a buffer", if page.capacity() > self.buffer_size);
            let moved = page.head(0).watermark != page.head(count - 1).watermark;
            seen!("the watermark moved in the middle of a page", if moved);
        });
    }
}

/// The watermark is what those inputs allow that are neither idle nor closed; an input that is
/// behind the output because it was idle has been passed for good.
fn check_merge(gate: &GateView, place: std::fmt::Arguments<'_>) {
    let open = |input: &&InputView| input.watermark < i64::MAX;
    let watermark = |input: &InputView| input.watermark;
    let active = gate.inputs.iter().filter(open).filter(|input| !input.idle).map(watermark).min();
    let least = match active {
        Some(lowest) => lowest,
        None => gate.inputs.iter().filter(open).map(watermark).max().unwrap_or(i64::MAX),
    };
    let merged = gate.watermark;
    assert!(merged >= least, "{place}: watermark {merged} is held back, {least} is due");
    let most = gate.inputs.iter().filter(open).map(watermark).max().unwrap_or(i64::MAX);
    // Inputs that are closed by now may have carried the output beyond those that are not.
    let closed = gate.inputs.iter().any(|input| input.watermark == i64::MAX);
    assert!(merged <= most || closed, "{place}: watermark {merged}, the inputs are at {most}");
    let all = gate.inputs.iter().all(|input| input.watermark == i64::MAX);
    assert_eq!(merged == i64::MAX, all, "{place}: the end of time with inputs open, or not");
}

fn input(worker: &Worker, edge: u32, from: usize) -> InputView {
    let gate = worker.gates().find(|gate| gate.edge == edge);
    gate.expect("an output leads to a gate").inputs[from]
}

fn keyed_edges(graph: &JobGraph) -> BTreeMap<u32, OwnerTable> {
    let keyed = graph.edges.iter().filter(|edge| edge.partitioner == Partitioner::Hash);
    let owners =
        |to: usize| OwnerTable::new(graph.nodes[to].parallelism as u32, graph.max_parallelism);
    keyed.filter_map(|edge| Some((edge.channel?, owners(edge.to)))).collect()
}
