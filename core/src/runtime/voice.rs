//! How cores speak to the threads that watch them and keep their checkpoints.
//!
//! A listening thread sleeps until it is woken. A channel's own wait would first yield some ten
//! times, and each time a core that spins loses its CPU.

use std::thread::Thread;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};

use super::preflight;
use crate::Error;
use crate::console::Asked;
use crate::metrics::{CoreReport, CoreSnapshot};

/// What a core says to the watching thread.
pub(super) enum Event {
    /// A core stands, restored if there was something to restore, and waits for the word to
    /// begin; with the highest checkpoint that it has heard of.
    Ready(usize, u64),
    /// All is kept that a stop of the job has to keep.
    Kept,
    /// It could not be kept, and why: the job goes on.
    NotKept(String),
    /// Somebody asks from outside.
    Asked(Asked),
    Counts(CoreSnapshot),
    Done(Box<CoreReport>),
    Failed(Error),
    /// Another attempt of the job has begun: this one is over.
    Superseded(Error),
    /// A core was told to stop.
    Stopped(Box<CoreReport>),
}

/// The listening thread's end.
pub(crate) struct Ear<T>(Receiver<T>);

/// What was heard.
pub(crate) enum Heard<T> {
    Event(T),
    Nothing,
    /// No voice is left.
    NobodyLeft,
}

/// Makes the voices of cores, for this thread to hear.
pub(super) fn ear() -> (Voices, Ear<Event>) {
    let (line, ear) = line();
    (Voices(line), ear)
}

/// Makes a line on which this thread is spoken to.
pub(crate) fn line<T>() -> (Line<T>, Ear<T>) {
    let (sender, receiver) = unbounded();
    let listener = std::thread::current();
    (Line { sender: Some(sender), listener }, Ear(receiver))
}

impl<T> Ear<T> {
    /// Waits until something is said, at most so long.
    pub(crate) fn listen(&self, at_most: Duration) -> Heard<T> {
        match self.look() {
            Heard::Nothing => {
                std::thread::park_timeout(at_most);
                self.look()
            }
            heard => heard,
        }
    }

    fn look(&self) -> Heard<T> {
        match self.0.try_recv() {
            Ok(event) => Heard::Event(event),
            Err(TryRecvError::Empty) => Heard::Nothing,
            Err(TryRecvError::Disconnected) => Heard::NobodyLeft,
        }
    }
}

/// A way to a listening thread.
pub(crate) struct Line<T> {
    /// There until it is dropped: the listener wakes after that.
    sender: Option<Sender<T>>,
    listener: Thread,
}

impl<T> Line<T> {
    /// Says something; never blocks.
    pub(crate) fn say(&self, event: T) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(event);
        }
        self.listener.unpark();
    }
}

impl<T> Clone for Line<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), listener: self.listener.clone() }
    }
}

impl<T> Drop for Line<T> {
    fn drop(&mut self) {
        self.sender = None;
        self.listener.unpark();
    }
}

/// The line of those who ask from outside.
#[derive(Clone)]
pub(crate) struct WatchLine(Line<Event>);

impl WatchLine {
    pub(crate) fn ask(&self, asked: Asked) {
        self.0.say(Event::Asked(asked));
    }
}

/// Where the voices of cores come from.
pub(super) struct Voices(Line<Event>);

impl Voices {
    /// A line for somebody who is no core.
    pub(super) fn line(&self) -> Line<Event> {
        self.0.clone()
    }

    /// A line for those who ask from outside.
    pub(super) fn watch_line(&self) -> WatchLine {
        WatchLine(self.0.clone())
    }

    /// The voice of a core.
    pub(super) fn of_core(&self, index: usize) -> Voice {
        Voice { line: self.0.clone(), index, ended: false }
    }
}

/// A core's voice. A thread that dies before its core has ended is heard too: glommio may refuse to
/// start in it.
pub(super) struct Voice {
    line: Line<Event>,
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
