//! How cores speak to the thread that watches them.
//!
//! The watching thread sleeps until it is woken. A channel's own wait would first yield some ten
//! times, and each time a core that spins loses its CPU.

use std::thread::Thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};

use super::preflight;
use crate::Error;
use crate::metrics::{CoreReport, CoreSnapshot};

/// What a core says to the watching thread.
pub(super) enum Event {
    Counts(CoreSnapshot),
    Done(Box<CoreReport>),
    Failed(Error),
    Stopped,
}

/// The watching thread's end.
pub(super) struct Ear(Receiver<Event>);

/// What was heard.
pub(super) enum Heard {
    Event(Event),
    Nothing,
    /// No voice is left.
    NobodyLeft,
}

/// Makes the voices of cores, for this thread to hear.
pub(super) fn ear() -> (Voices, Ear) {
    let (sender, receiver) = unbounded();
    let watcher = std::thread::current();
    (Voices(Line { sender: Some(sender), watcher }), Ear(receiver))
}

impl Ear {
    /// Waits until something is said, at most so long.
    pub(super) fn listen(&self, at_most: Duration) -> Heard {
        match self.look() {
            Heard::Nothing => {
                std::thread::park_timeout(at_most);
                self.look()
            }
            heard => heard,
        }
    }

    fn look(&self) -> Heard {
        match self.0.try_recv() {
            Ok(event) => Heard::Event(event),
            Err(TryRecvError::Empty) => Heard::Nothing,
            Err(TryRecvError::Disconnected) => Heard::NobodyLeft,
        }
    }
}

/// A way to the watching thread.
#[derive(Clone)]
struct Line {
    /// There until it is dropped: the watcher wakes after that.
    sender: Option<Sender<Event>>,
    watcher: Thread,
}

impl Line {
    fn say(&self, event: Event) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(event);
        }
        self.watcher.unpark();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.sender = None;
        self.watcher.unpark();
    }
}

/// Where the voices of cores come from.
pub(super) struct Voices(Line);

impl Voices {
    /// The voice of a core.
    pub(super) fn of_core(&self, index: usize) -> Voice {
        Voice { line: self.0.clone(), index, ended: false }
    }
}

/// A core's voice. A thread that dies before its core has ended is heard too: glommio may refuse to
/// start in it.
pub(super) struct Voice {
    line: Line,
    index: usize,
    ended: bool,
}

impl Voice {
    pub(super) fn say(&self, event: Event) {
        self.line.say(event);
    }

    /// The last word.
    pub(super) fn end(&mut self, event: Event) {
        self.ended = true;
        self.say(event);
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if !self.ended {
            self.say(Event::Failed(preflight::cannot_start().on_core(self.index)));
        }
    }
}
