//! Asking a running job.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, LINE_MAX, Request, SOCKET};

/// Why there is no answer.
#[derive(Debug)]
pub enum Refused {
    /// Nobody listens: no process runs the job.
    Nobody,
    /// The connection failed.
    Failed(io::Error),
    /// The process ended or hung up, or said something that is no answer.
    NoAnswer,
}

/// Sockets of jobs below a data directory, whether somebody listens or not.
pub fn find(data: &Path) -> Vec<PathBuf> {
    let jobs = std::fs::read_dir(data).into_iter().flatten().flatten();
    let mut sockets: Vec<_> =
        jobs.map(|job| job.path().join(SOCKET)).filter(|path| path.exists()).collect();
    sockets.sort_unstable();
    sockets
}

/// Sends a request and waits for the answer, for ever without `patience`.
///
/// # Errors
/// Nobody listens, or the connection ends without an answer.
pub fn ask(socket: &Path, request: Request, patience: Option<Duration>) -> Result<Answer, Refused> {
    let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Refused::Nobody,
        _ => Refused::Failed(error),
    })?;
    let answer = exchange(&stream, request, patience).map_err(Refused::Failed)?;
    serde_json::from_str(&answer).map_err(|_| Refused::NoAnswer)
}

fn exchange(
    mut stream: &UnixStream,
    request: Request,
    patience: Option<Duration>,
) -> io::Result<String> {
    stream.set_read_timeout(patience)?;
    let mut line = serde_json::to_string(&request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut answer)?;
    Ok(answer)
}
