//! Lines from a TCP connection.
//!
//! Core 0 connects once and reads until the peer closes, which ends the source; the other cores are
//! idle at once. Nothing is connected again by itself: lines that were sent meanwhile would be
//! missing without a word, and a peer that has closed has ended the stream. A connection that
//! breaks ends the attempt.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::file::{Cut, Cutter, LINE_MAX};
use super::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::operator::SplitEvent;
use crate::runtime::{Chore, SideThread};
use crate::time::MIN;
use crate::{Error, Result};

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// How long each address of the host may take to answer.
const CONNECT: Duration = Duration::from_secs(5);

/// A source that reads lines of text from `host:port`; it ends when the peer closes the connection.
///
/// Lines end with LF or CRLF; bytes that are not UTF-8 are replaced. A line above 16 MiB ends the
/// attempt.
#[derive(Debug, Clone)]
pub struct SocketSource {
    address: String,
}

impl SocketSource {
    /// Connects to `host:port`.
    pub fn lines(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }
}

impl Source for SocketSource {
    type Out = String;
    type Split = ();
    type Reader = SocketReader;

    fn kind(&self) -> &'static str {
        "socket"
    }

    fn validate(&self) -> Result<()> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) {
            return Err(Error::usage(format!("cannot connect to \"{}\"", self.address))
                .with_hint("an address is host:port, for example localhost:9999"));
        }
        Ok(())
    }

    fn bounded(&self) -> bool {
        true
    }

    fn guarantee(&self) -> Option<String> {
        Some(format!(
            "socket {} cannot be read again: at most once for what came after the checkpoint",
            self.address
        ))
    }

    fn splits(&self, _parallelism: usize) -> Result<Vec<()>> {
        Ok(vec![()])
    }

    fn reader(self, splits: Vec<(u32, ())>, cx: SourceContext) -> Result<SocketReader> {
        let (shared, inline) = (Arc::default(), cx.aside.is_none());
        let peer = Peer { address: self.address, stream: None, shared: Arc::clone(&shared) };
        let wire = (!splits.is_empty()).then(|| SideThread::start(peer, cx.aside)).transpose()?;
        Ok(SocketReader { wire, shared, cutter: Cutter::default(), inline })
    }
}

/// The connection, for the core to end it while its thread waits for input.
type SharedStream = Arc<Mutex<Connection>>;

#[derive(Debug, Default)]
struct Connection {
    stream: Option<TcpStream>,
    /// The core has gone: a connection that is made now has nobody to end it.
    closed: bool,
}

/// Reads the connection on its core.
pub struct SocketReader {
    /// `None` on cores without the split. Inline it reads when nothing else is left to do, else
    /// ahead.
    wire: Option<SideThread<Peer>>,
    shared: SharedStream,
    cutter: Cutter,
    inline: bool,
}

impl SocketReader {
    /// Gives the cutter its next chunk; false: it is not there yet.
    fn feed(&mut self) -> Result<bool> {
        let Some(wire) = &mut self.wire else { return Ok(true) };
        if wire.outstanding() == 0 {
            wire.order(Vec::new());
        }
        let Some(chunk) = wire.outcome()? else { return Ok(false) };
        if chunk.is_empty() {
            self.cutter.end();
        } else {
            let spare = self.cutter.feed(chunk);
            if !self.inline {
                wire.order(spare);
            }
        }
        Ok(true)
    }
}

impl SourceReader for SocketReader {
    type Out = String;
    type Split = ();

    fn open<O: SourceOutput<String>>(&mut self, out: &mut O) -> Result<()> {
        if self.wire.is_none() {
            return out.idle(true);
        }
        out.split(SplitEvent::Added(0))?;
        out.split(SplitEvent::Current(0))
    }

    fn poll<O: SourceOutput<String>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        if self.wire.is_none() {
            return Ok(SourceStatus::Finished);
        }
        while !out.is_full() {
            match self.cutter.cut() {
                Cut::Line(cutting) if cutting.too_long() => {
                    return Err(Error::usage(format!(
                        "cannot take a line of more than {} MiB from a socket",
                        LINE_MAX >> 20
                    )));
                }
                Cut::Line(cutting) => {
                    let line = String::from_utf8_lossy(cutting.line).into_owned();
                    let now = out.now();
                    out.collect(line, MIN, now)?;
                }
                Cut::Wanted => {
                    if !self.feed()? {
                        return Ok(SourceStatus::Wait);
                    }
                }
                Cut::End => {
                    out.split(SplitEvent::Finished(0))?;
                    return Ok(SourceStatus::Finished);
                }
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<(u32, ())> {
        self.wire.iter().map(|_| (0, ())).collect()
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.closed = true;
        if let Some(stream) = &shared.stream {
            // Ends the read that the side thread is in.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The connection as its side thread has it.
struct Peer {
    address: String,
    stream: Option<TcpStream>,
    shared: SharedStream,
}

impl Peer {
    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut last = ErrorKind::AddrNotAvailable.into();
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn stream(&mut self) -> Result<&mut TcpStream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        Ok(self.stream.insert(stream))
    }

    fn open(&self) -> Result<TcpStream> {
        let stream = self.connect().map_err(|error| {
            Error::io(format!("cannot connect to \"{}\"", self.address), error)
                .with_hint("start the other side first, for example: nc -lk 9999")
        })?;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.closed {
            // Reads as a peer that has closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
        shared.stream = stream.try_clone().ok();
        Ok(stream)
    }
}

impl Chore for Peer {
    /// A buffer to fill.
    type Order = Vec<u8>;
    /// What has come; nothing: the peer has closed.
    type Outcome = Vec<u8>;
    const NAME: &'static str = "socket";
    // A name server may take its time.
    const JOIN: bool = false;

    fn carry_out(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        buffer.resize(CHUNK, 0);
        let stream = self.stream()?;
        let read = loop {
            match stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read
            .map_err(|error| Error::io(format!("cannot read from \"{}\"", self.address), error))?;
        buffer.truncate(read);
        Ok(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::config::Rim;
    use crate::error::Kind;
    use crate::prelude::*;
    use crate::runtime::RunOptions;

    /// Runs a job that reads from a peer which sends `text` in pieces and closes.
    fn receive(text: &'static [u8], piece: usize) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let all = Collected::new();
        let out = all.clone();
        let job = move |flow: &Dataflow, _: &Args| {
            flow.source("lines", SocketSource::lines(&address)).collect_into("all", &out);
            Ok(())
        };
        let send = std::thread::Builder::new().spawn(move || {
            let mut peer = listener.accept().unwrap().0;
            text.chunks(piece).for_each(|piece| peer.write_all(piece).unwrap());
        });
        let mut options = RunOptions::new(1);
        options.runtime.rim = Rim::Thread;
        crate::run(job, &Args::default(), &options).unwrap();
        send.unwrap().join().unwrap();
        all.take()
    }

    #[test]
    fn lines_come_as_they_were_sent_until_the_peer_closes() {
        assert_eq!(receive(b"a\nbc\r\n\nlast", 2), ["a", "bc", "", "last"]);
        assert_eq!(receive("\u{e9}\n".as_bytes(), 1), ["\u{e9}"]);
        assert_eq!(receive(b"a\xff\n", 9), ["a\u{fffd}"]);
        assert!(receive(b"", 1).is_empty());
    }

    #[test]
    fn a_quiet_peer_does_not_keep_a_stopped_job() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let job = move |flow: &Dataflow, _: &Args| {
            flow.source("lines", SocketSource::lines(&address)).sink("out", Print::new());
            Ok(())
        };
        let mut options = RunOptions::new(1);
        options.runtime.rim = Rim::Thread;
        let stop = Arc::clone(&options.stop);
        let peer = std::thread::Builder::new().spawn(move || {
            let mut peer = listener.accept().unwrap().0;
            stop.store(2, std::sync::atomic::Ordering::Relaxed);
            // Ends when the other side closes.
            peer.read(&mut [0]).unwrap()
        });
        assert_eq!(crate::run(job, &Args::default(), &options).unwrap().signal, 2);
        assert_eq!(peer.unwrap().join().unwrap(), 0);
    }

    #[test]
    fn a_bad_address_and_a_refused_connection_are_told_apart() {
        for address in ["", "localhost", "localhost:", ":99", "localhost:0", "localhost:99999"] {
            let error = SocketSource::lines(address).validate().unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{address}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let job = move |flow: &Dataflow, _: &Args| {
            flow.source("lines", SocketSource::lines(&free)).sink("out", Print::new());
            Ok(())
        };
        let error = crate::run_local(job, 1).unwrap_err();
        assert_eq!((error.kind(), error.operator()), (Kind::Io, Some("lines")));
    }

    #[test]
    fn the_guarantee_is_in_the_plan() {
        let job = |flow: &Dataflow, _: &Args| {
            flow.source("lines", SocketSource::lines("a:1")).sink("out", Print::new());
            Ok(())
        };
        let graph = crate::plan(&job, &Args::default(), 1).unwrap();
        assert_eq!(graph.guarantees.len(), 2);
        assert!(graph.guarantees[0].starts_with("socket a:1 cannot be read again: at most once"));
    }
}
