//! Errors of the engine.
//!
//! An error says what was attempted, with what value, and what the user can do. Its kind decides
//! the exit code and its stable code (`THW-0123`); a code is never reused.

use std::fmt;

/// What user code returns when it fails: any error that may cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine: one pointer wide, so that the data path can return it at no cost.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    hint: Option<String>,
    operator: Option<String>,
    core: Option<usize>,
    source: Option<BoxError>,
}

/// What kind of failure an error is: decides exit code and stable code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag, key, number or path that cannot be used as given.
    Usage,
    /// The job's graph is not one that can run.
    Graph,
    /// An unknown job or a missing input.
    NotFound,
    /// A record or line that the job refuses (`--strict`), or an error of user code.
    User,
    /// User code panicked.
    Panic,
    /// Reading or writing outside failed.
    Io,
    /// A checkpoint is not what it was when it was made.
    Damaged,
    /// State, a key or a page could not be encoded or decoded.
    State,
    /// The machine lacks something: io_uring, memlock, cores.
    Preflight,
    /// A wait ended without its condition.
    Timeout,
    /// A rule of the engine was broken; the attempt ends.
    Invariant,
    /// No failure: help was asked for, and the message is its text.
    Help,
    /// The run was stopped by a signal; the number is the signal's.
    Stopped(i32),
}

impl Kind {
    /// The process exit code of this kind (documented in `docs/cli.md`).
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Help => 0,
            Kind::Usage | Kind::Graph => 2,
            Kind::NotFound => 3,
            Kind::Timeout => 4,
            Kind::Preflight => 7,
            Kind::User | Kind::Panic | Kind::Io | Kind::Damaged | Kind::State | Kind::Invariant => {
                1
            }
            Kind::Stopped(signal) => 128 + signal,
        }
    }

    /// The stable code of this kind, as printed in `error[THW-0101]`.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Usage => "THW-0001",
            Kind::NotFound => "THW-0002",
            Kind::Timeout => "THW-0003",
            Kind::Stopped(_) => "THW-0004",
            Kind::Help => "THW-0005",
            Kind::Graph => "THW-0101",
            Kind::User => "THW-0102",
            Kind::Panic => "THW-0103",
            Kind::State => "THW-0201",
            Kind::Io => "THW-0601",
            Kind::Damaged => "THW-0602",
            Kind::Preflight => "THW-0701",
            Kind::Invariant => "THW-0901",
        }
    }
}

impl Error {
    /// An error of `kind` with what was attempted: lower case, no full stop.
    #[cold]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            hint: None,
            operator: None,
            core: None,
            source: None,
        }))
    }

    /// A usage error.
    #[cold]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// An input or output error with what was attempted, and what to do about the usual causes.
    #[cold]
    pub fn io(attempt: impl Into<String>, source: std::io::Error) -> Self {
        use rustix::io::Errno;
        use std::io::ErrorKind;
        let hint = match source.kind() {
            ErrorKind::PermissionDenied => Some("the user that runs this needs the right to it"),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Some("make room on that disk"),
            ErrorKind::ReadOnlyFilesystem => Some("choose a place that can be written to"),
            _ if source.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
                Some("too many files are open: raise the limit (ulimit -n)")
            }
            _ => None,
        };
        let error = Self::new(Kind::Io, attempt).with_source(source);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// An error of user code.
    #[cold]
    pub fn user(source: impl Into<BoxError>) -> Self {
        Self::new(Kind::User, "user code failed").with_source(source)
    }

    /// Adds what the user can do about it, a line of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause below this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Names the operator in which it happened, unless one is named already.
    #[must_use]
    pub fn in_operator(mut self, operator: &str) -> Self {
        self.0.operator.get_or_insert_with(|| operator.to_owned());
        self
    }

    /// Names the core on which it happened, unless one is named already.
    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.0.core.get_or_insert(core);
        self
    }

    /// The kind of this error.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The hint, if there is one.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The operator in which it happened, if it happened in one.
    pub fn operator(&self) -> Option<&str> {
        self.0.operator.as_deref()
    }

    /// The core on which it happened, if it happened on one.
    pub fn core(&self) -> Option<usize> {
        self.0.core
    }

    /// The whole text for a person: code, message, causes and hint, one line each.
    pub fn report(&self) -> String {
        let mut text = format!("error[{}]: {self}", self.0.kind.code());
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!("\ncaused by: {error}"));
            cause = error.source();
        }
        if let Some(hint) = &self.0.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.operator, self.0.core) {
            (Some(operator), Some(core)) => {
                write!(f, "operator \"{operator}\" on core {core}: {}", self.0.message)
            }
            (Some(operator), None) => write!(f, "operator \"{operator}\": {}", self.0.message),
            (None, Some(core)) => write!(f, "core {core}: {}", self.0.message),
            (None, None) => f.write_str(&self.0.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

impl From<thalweg_net::ChannelError> for Error {
    #[cold]
    fn from(error: thalweg_net::ChannelError) -> Self {
        Self::new(Kind::State, "cannot send a record to another core").with_source(error)
    }
}

impl From<thalweg_state::KeyError> for Error {
    #[cold]
    fn from(error: thalweg_state::KeyError) -> Self {
        Self::new(Kind::State, "cannot decode a key").with_source(error)
    }
}

impl From<thalweg_state::segment::SegmentError> for Error {
    #[cold]
    fn from(error: thalweg_state::segment::SegmentError) -> Self {
        let thalweg_state::segment::SegmentError { attempted, found, hint } = error;
        Self::new(Kind::Io, format!("cannot {attempted}: {found}")).with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_says_what_to_do_about_its_cause() {
        use rustix::io::Errno;
        let io = |errno: Errno| Error::io("cannot read \"a\"", errno.into());
        let denied = io(Errno::ACCESS);
        assert_eq!(denied.hint(), Some("the user that runs this needs the right to it"));
        let many = io(Errno::MFILE);
        assert!(many.hint().is_some_and(|hint| hint.contains("ulimit -n")), "{many:?}");
        assert_eq!(io(Errno::IO).hint(), None);
    }

    #[test]
    fn a_report_names_operator_core_cause_and_hint() {
        let error = Error::user(std::io::Error::other("no such card"))
            .in_operator("profile")
            .on_core(1)
            .in_operator("other")
            .with_hint("fix the card");
        assert_eq!(
            error.report(),
            "error[THW-0102]: operator \"profile\" on core 1: user code failed\n\
             caused by: no such card\nhint: fix the card"
        );
    }

    #[test]
    fn an_error_is_one_pointer_wide() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }
}
