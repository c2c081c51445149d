//! Answering, on threads of its own.

use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::net::{Shutdown, shutdown};

use super::{Answer, Checkpoints, JobStatus, LINE_MAX, Request, SOCKET};
use crate::runtime::{SideCpus, Stopped, WatchLine};
use crate::time::{Clock, MachineClock, pause_until};

/// How long a stranger may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a job may take to count.
const COUNTING: Duration = Duration::from_secs(2);

/// Connections that are answered at once; more are closed.
const CONNECTIONS_MAX: usize = 16;

/// How long the end waits until answers that are on their way are with their readers.
const LINGER_MS: u64 = 1_000;

/// The pause before connections are taken again after one failed.
const PAUSE_MS: u64 = 100;

/// What an attempt is asked; the answer goes back on the line.
pub(crate) enum Asked {
    Counts(Sender<Counts>),
    Checkpoint(Sender<Result<u64, String>>),
    End(Stopped, Sender<Result<(), String>>),
}

/// What an attempt has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) records_in: u64,
    pub(crate) records_out: u64,
}

/// The socket of a run, over all of its attempts.
pub(crate) struct Console {
    shared: Arc<Shared>,
    listener: Arc<UnixListener>,
    path: PathBuf,
    /// The socket's file: another process may put its own in the place.
    inode: u64,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    status: Mutex<JobStatus>,
    line: Mutex<Option<WatchLine>>,
    /// Who wants the job to end, and came between two attempts.
    waiting: Mutex<Option<(Stopped, Sender<Result<(), String>>)>>,
    clock: MachineClock,
    started: u64,
    connections: AtomicUsize,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Console {
    /// Listens in a job's own directory, which is made.
    #[allow(clippy::disallowed_methods, reason = "this is the rim")]
    pub(crate) fn open(directory: &Path, status: JobStatus, cpus: SideCpus) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        // Nobody else may write to it from its first moment on.
        let aside = directory.join(format!("{SOCKET}.{}", std::process::id()));
        let path = directory.join(SOCKET);
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside)?;
        std::fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
        let inode = std::fs::metadata(&aside)?.ino();
        std::fs::rename(&aside, &path)?;
        let listener = Arc::new(listener);
        let clock = MachineClock::new();
        let shared = Arc::new(Shared {
            status: Mutex::new(status),
            line: Mutex::new(None),
            waiting: Mutex::new(None),
            started: clock.nanos(),
            clock,
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let (server, own) = (Arc::clone(&shared), Arc::clone(&listener));
        let body = move || {
            cpus.settle();
            server.serve(&own);
        };
        let thread = std::thread::Builder::new().name("console".into()).spawn(body)?;
        Ok(Self { shared, listener, path, inode, thread: Some(thread) })
    }

    /// An attempt begins: it answers from now on.
    pub(crate) fn attach(&self, attempt: u64, line: WatchLine) {
        let mut own = lock(&self.shared.line);
        if let Some((how, asker)) = lock(&self.shared.waiting).take() {
            line.ask(Asked::End(how, asker));
        }
        *own = Some(line);
        drop(own);
        let mut status = lock(&self.shared.status);
        (status.attempt, status.state) = (attempt, "running".to_owned());
    }

    /// The attempt is over.
    pub(crate) fn detach(&self) {
        *lock(&self.shared.line) = None;
        lock(&self.shared.status).state = "restarting".to_owned();
    }

    /// Whether somebody wants the job to end while no attempt runs.
    pub(crate) fn is_waited_on(&self) -> bool {
        lock(&self.shared.waiting).is_some()
    }

    /// Who that is.
    pub(crate) fn take_waiting(&self) -> Option<(Stopped, Sender<Result<(), String>>)> {
        lock(&self.shared.waiting).take()
    }

    /// Where the keeper of checkpoints leaves what it has done.
    pub(crate) fn board(&self) -> Board {
        Board(Arc::clone(&self.shared))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.detach();
        lock(&self.shared.waiting).take();
        self.shared.over.store(true, Ordering::SeqCst);
        // The listening thread looks up.
        let _ = shutdown(&*self.listener, Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        pause_until(LINGER_MS, || self.shared.connections.load(Ordering::SeqCst) == 0);
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
        if let Some(directory) = self.path.parent() {
            // Stays if something else is kept there.
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// Where checkpoints are shown.
#[derive(Clone)]
pub(crate) struct Board(Arc<Shared>);

impl Board {
    /// Changes what is shown.
    pub(crate) fn show(&self, change: impl FnOnce(&mut Checkpoints)) {
        change(lock(&self.0.status).checkpoints.get_or_insert_default());
    }
}

impl Shared {
    fn serve(self: Arc<Self>, listener: &UnixListener) {
        for stream in listener.incoming() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                // No descriptor is left, say: it would fail again at once.
                pause_until(PAUSE_MS, || self.over.load(Ordering::SeqCst));
                continue;
            };
            if self.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
                self.connections.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let own = Arc::clone(&self);
            let body = move || {
                own.answer(&stream);
                own.connections.fetch_sub(1, Ordering::SeqCst);
            };
            #[allow(clippy::disallowed_methods, reason = "this is the rim")]
            let spawned = std::thread::Builder::new().name("console".into()).spawn(body);
            if spawned.is_err() {
                self.connections.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Answers one request; whoever says nothing sensible is told so.
    fn answer(&self, mut stream: &UnixStream) {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_write_timeout(Some(PATIENCE));
        let mut line = String::new();
        if BufReader::new(stream.take(LINE_MAX)).read_line(&mut line).is_err() {
            return;
        }
        let answer = match serde_json::from_str(&line) {
            Ok(request) => self.carry_out(request),
            Err(error) => Answer::Refused(format!("it is no request: {error}")),
        };
        let mut text = serde_json::to_string(&answer).unwrap_or_default();
        text.push('\n');
        let _ = stream.write_all(text.as_bytes());
    }

    fn carry_out(&self, request: Request) -> Answer {
        match request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Checkpoint => self.checkpoint(),
            Request::Stop => self.end(Stopped::Stop),
            Request::Cancel => self.end(Stopped::Cancel),
        }
    }

    fn checkpoint(&self) -> Answer {
        let (sender, answer) = bounded(1);
        match &*lock(&self.line) {
            Some(line) => line.ask(Asked::Checkpoint(sender)),
            None => return Answer::Refused("it is between two attempts: try again".to_owned()),
        }
        heard(&answer).map_or_else(Answer::Refused, Answer::Checkpoint)
    }

    /// Ends the attempt, or the wait for the next one.
    fn end(&self, how: Stopped) -> Answer {
        let (sender, answer) = bounded(1);
        match &*lock(&self.line) {
            Some(line) => line.ask(Asked::End(how, sender)),
            None => *lock(&self.waiting) = Some((how, sender)),
        }
        heard(&answer).map_or_else(Answer::Refused, |()| Answer::Ended)
    }

    fn status(&self) -> JobStatus {
        let (sender, answer) = bounded(1);
        let line = lock(&self.line).clone();
        match &line {
            Some(line) => line.ask(Asked::Counts(sender)),
            None => drop(sender),
        }
        drop(line);
        // Without a line the sender is gone, and nobody is waited for.
        let counts = answer.recv_timeout(COUNTING).unwrap_or_default();
        let up_ms = self.clock.nanos().saturating_sub(self.started) / 1_000_000;
        let Counts { records_in, records_out } = counts;
        JobStatus { up_ms, records_in, records_out, ..lock(&self.status).clone() }
    }
}

/// What an attempt says; it may end before it says anything.
fn heard<T>(answer: &Receiver<Result<T, String>>) -> Result<T, String> {
    answer.recv().unwrap_or_else(|_| Err("its attempt has ended meanwhile".to_owned()))
}
