//! The thread that watches over the cores of an attempt.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::Sender;
use thalweg_checkpoint::fail_point;

use super::RunOptions;
use super::seat::{Seated, Thread};
use crate::console::{Asked, Checkpoints, Console, Counts};
use crate::job::Planned;
use crate::metrics::CoreReport;
use crate::runtime::drive::Command;
use crate::runtime::keeping::{Keeping, ToKeeper};
use crate::runtime::pulse::Watchdog;
use crate::runtime::voice::{Ear, Event, Heard};
use crate::runtime::{Stopped, Summary, Totals};
use crate::time::{Clock, MachineClock};
use crate::{Error, Result};

/// How often the watching thread looks at its cores if they say nothing: each time it takes some
/// CPU away from one of them.
const WATCH: Duration = Duration::from_millis(250);

/// How often cores are asked for what they have counted, in nanoseconds.
const PROGRESS: u64 = 1_000_000_000;

/// How long cores may take to say what they have counted, in nanoseconds.
const COUNTING: u64 = 20_000_000;

/// How long a core may take to stop after the attempt has ended.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// The watching thread's part of an attempt.
pub(super) struct Watch<'a> {
    pub(super) planned: &'a Planned,
    pub(super) clock: MachineClock,
    pub(super) cores: Vec<Seated>,
    pub(super) ear: Ear<Event>,
    pub(super) options: &'a RunOptions,
    /// Who keeps the checkpoints; `None`: there are none.
    pub(super) keeping: Option<Keeping>,
    pub(super) beginning: Beginning,
    /// Who asks from outside, if anybody can.
    pub(super) console: Option<&'a Console>,
}

/// How an attempt began.
#[derive(Clone, Copy)]
pub(super) struct Beginning {
    /// Its number.
    pub(super) attempt: u64,
    /// Whether earlier attempts may have left something behind.
    pub(super) is_resumed: bool,
    /// Output of checkpoints above this one is void.
    pub(super) from: u64,
}

/// What has become of the cores so far.
struct Course {
    left: usize,
    ready: Vec<(usize, u64)>,
    reports: Vec<Option<CoreReport>>,
    failure: Option<Error>,
    /// The signal that stops the job; 0: none.
    stopping: i32,
    /// Whether a core stopped before its end.
    is_stopped: bool,
    /// Whether no attempt may follow in this process.
    is_final: bool,
    /// Who has ended it from outside, and waits for the end.
    stopped: Option<(Stopped, Sender<Result<(), String>>)>,
    /// Who wants to know the counts, and since when.
    counting: Vec<(Sender<Counts>, u64)>,
}

/// How an attempt has ended.
pub(super) enum Outcome {
    Ended {
        summary: Box<Summary>,
        /// Who has asked for the end, and waits for it.
        asker: Option<Sender<Result<(), String>>>,
    },
    /// `is_final`: no attempt may follow in this process.
    Failed { error: Error, is_final: bool },
}

impl Watch<'_> {
    pub(super) fn run(mut self) -> Outcome {
        let started = self.clock.nanos();
        let count = self.cores.len();
        let graph = &self.planned.graph;
        let mut watchdog = Watchdog::new(count);
        let mut course = Course {
            left: count,
            ready: Vec::new(),
            reports: (0..count).map(|_| None).collect(),
            failure: None,
            stopping: 0,
            is_stopped: false,
            is_final: false,
            stopped: None,
            counting: Vec::new(),
        };
        let (mut asked_at, mut shown) = (started, true);
        let mut totals = Totals::new(count, graph.expected());
        while course.left > 0 && course.failure.is_none() {
            let wait = if course.counting.is_empty() { WATCH } else { WATCH / 50 };
            match self.ear.listen(wait) {
                Heard::Event(Event::Counts(counts)) => totals.add(counts),
                Heard::Event(event) => self.hear(event, &mut course),
                Heard::Nothing | Heard::NobodyLeft => {}
            }
            let now = self.clock.nanos();
            watchdog.look(now, self.cores.iter().map(|core| &*core.pulse), graph);
            self.look_for_signal(&mut course);
            answer_counts(&mut course, &totals, now);
            if let Some(show) = &self.options.progress {
                if now - asked_at >= PROGRESS {
                    (asked_at, shown) = (now, false);
                    self.command(&Command::Report);
                } else if !shown && now - asked_at >= PROGRESS / 20 {
                    shown = true;
                    totals.nanos = now - started;
                    show(&totals);
                }
            }
        }
        let seconds = self.clock.nanos() - started;
        self.end(course, seconds)
    }

    fn hear(&self, event: Event, course: &mut Course) {
        match event {
            Event::Counts(_) => {}
            Event::Ready(core, highest) => {
                course.ready.push((core, highest));
                if course.ready.len() == self.cores.len()
                    && let Err(error) = self.begin(&course.ready)
                {
                    course.failure.get_or_insert(error);
                }
            }
            Event::Done(report) => {
                course.left -= 1;
                let core = report.core;
                course.reports[core] = Some(*report);
            }
            Event::Stopped(report) => {
                course.left -= 1;
                course.is_stopped = true;
                let core = report.core;
                course.reports[core] = Some(*report);
            }
            Event::Kept => self.command(&Command::Abort),
            Event::NotKept(reason) => {
                if let Some((_, asker)) = course.stopped.take() {
                    let _ = asker.send(Err(reason));
                }
            }
            Event::Asked(asked) => self.asked(asked, course),
            Event::Failed(error) => {
                course.failure.get_or_insert(error);
            }
            Event::Superseded(error) => {
                course.failure = Some(error);
                course.is_final = true;
            }
        }
        if course.failure.is_some() {
            self.command(&Command::Abort);
        }
    }

    /// All cores are restored, and what they had sealed is visible: what else earlier attempts have
    /// written can go, and the cores begin.
    fn begin(&self, ready: &[(usize, u64)]) -> Result<()> {
        fail_point!("cores-ready");
        let Beginning { attempt, is_resumed, from } = self.beginning;
        if is_resumed {
            self.planned.resume(attempt, from)?;
        }
        if let Some(keeping) = &self.keeping {
            for (core, highest) in ready {
                keeping.line.say(ToKeeper::Ready(*core, *highest));
            }
        }
        fail_point!("before-start");
        self.command(&Command::Start);
        Ok(())
    }

    /// A signal ends a job in order: its sources end, or with checkpoints it can be gone on with
    /// from the last of them.
    fn look_for_signal(&self, course: &mut Course) {
        let signal = self.options.stop.load(Ordering::Relaxed);
        if signal == 0 || course.stopping != 0 {
            return;
        }
        course.stopping = signal;
        match &self.keeping {
            Some(keeping) => keeping.line.say(ToKeeper::Stop { drain: false }),
            None => self.command(&Command::Stop),
        }
    }

    /// Somebody asks from outside.
    fn asked(&self, asked: Asked, course: &mut Course) {
        match (asked, &self.keeping) {
            (Asked::Counts(asker), _) => {
                self.command(&Command::Report);
                course.counting.push((asker, self.clock.nanos()));
            }
            (Asked::Checkpoint(asker), Some(keeping)) => {
                keeping.line.say(ToKeeper::Trigger(asker));
            }
            (Asked::Checkpoint(asker), None) => {
                let why = "it makes no checkpoints: run it with -D checkpoint.interval=1s";
                let _ = asker.send(Err(why.to_owned()));
            }
            (Asked::End(Stopped::Cancel, asker), _) => {
                self.command(&Command::Abort);
                course.stopped = Some((Stopped::Cancel, asker));
            }
            (Asked::End(_, asker), _) if course.stopping != 0 || course.stopped.is_some() => {
                let _ = asker.send(Err("it is being stopped already".to_owned()));
            }
            (Asked::End(how, asker), keeping) => {
                match keeping {
                    Some(keeping) => keeping.line.say(ToKeeper::Stop { drain: true }),
                    None => self.command(&Command::Stop),
                }
                course.stopped = Some((how, asker));
            }
        }
    }

    fn end(&mut self, course: Course, nanos: u64) -> Outcome {
        let Course { reports, failure, stopping, is_stopped, is_final, stopped, .. } = course;
        // Its line would keep the ear open.
        self.console.into_iter().for_each(Console::detach);
        let keeping = self.keeping.take();
        let with_checkpoints = keeping.is_some();
        let is_over = failure.is_none() && !is_stopped;
        // Its line would keep the ear open; an attempt that has finished waits for its last word.
        let end = |keeping: Keeping| if is_over { keeping.finish() } else { keeping.end() };
        let kept = keeping.map_or(Ok(Checkpoints::default()), end);
        let joined = self.join(failure.is_some());
        // What cannot be joined may still write, and an end that cannot be written would not be the
        // second time either: no other attempt then.
        let is_final = is_final || !joined || (is_over && kept.is_err());
        match failure.map_or(kept, Err) {
            Err(error) => Outcome::Failed { error, is_final },
            Ok(checkpoints) => {
                let signal = if is_over && with_checkpoints { 0 } else { stopping };
                let mut summary = Summary::new(&reports, nanos).stopped_by(signal);
                let is_stopped = is_stopped || !with_checkpoints;
                let directory = self.options.checkpoints.as_ref().map(|it| &it.directory);
                let directory = directory.map_or_else(String::new, |it| it.display().to_string());
                summary.checkpoints = Checkpoints { directory, ..checkpoints };
                summary.stopped = stopped.as_ref().filter(|_| is_stopped).map(|(how, _)| *how);
                let asker = stopped.map(|(_, asker)| asker);
                Outcome::Ended { summary: Box::new(summary), asker }
            }
        }
    }

    fn command(&self, command: &Command) {
        for core in &self.cores {
            let _ = core.commands.try_send(command.clone());
            core.doorbell.ring();
        }
    }

    /// Waits for the threads; false if one of a failed attempt does not return within a bound.
    fn join(&mut self, failed: bool) -> bool {
        let deadline = self.clock.nanos() + STOP_BOUND.as_nanos() as u64;
        if failed {
            loop {
                match self.ear.listen(WATCH) {
                    Heard::NobodyLeft => break,
                    _ if self.clock.nanos() > deadline => return false,
                    _ => {}
                }
            }
        }
        for core in &mut self.cores {
            match core.thread.take() {
                Some(Thread::Glommio(handle)) => drop(handle.join()),
                Some(Thread::Plain(handle)) => drop(handle.join()),
                None => {}
            }
        }
        true
    }
}

/// Tells those who asked what was counted, once all cores have had the time to say it.
fn answer_counts(course: &mut Course, totals: &Totals, now: u64) {
    let ripe = |(_, since): &mut (Sender<Counts>, u64)| now.saturating_sub(*since) >= COUNTING;
    for (asker, _) in course.counting.extract_if(.., ripe) {
        let (records_in, records_out) = (totals.records_in(), totals.records_out());
        let _ = asker.send(Counts { records_in, records_out });
    }
}
