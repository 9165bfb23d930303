//! A stream of the process, stderr or stdout, with a thread of its own that writes to it. Whoever has lines for the stream hands them
//! over and goes on: nobody waits for a reader, and no error of a write reaches anybody. Lines that find no room, or cannot be
//! written, are lost and counted.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, ThreadId};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The log says at most this often that lines were lost.
const NOTICES: Duration = Duration::from_secs(1);

/// Where lines for one stream go.
#[derive(Clone, Debug)]
pub struct Output {
    queue: Sender<Message>,
    counts: Arc<Counts>,
    /// The thread that writes.
    writer: ThreadId,
}

#[derive(Debug)]
struct Counts {
    /// Bytes that wait to be written.
    waiting: AtomicUsize,
    /// How many bytes may wait.
    room: usize,
    /// Lines that were lost.
    lost: AtomicU64,
}

#[derive(Debug)]
enum Message {
    /// Whole lines, and how many they are.
    Lines(Vec<u8>, u64),
    /// The sender is dropped when everything before this message was written.
    Mark(SyncSender<()>),
}

impl Output {
    /// Starts the thread that writes to `out`. `stream` is what the log calls it, and at most `room` bytes wait to be written. The
    /// thread ends when the last clone of this output is dropped.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(stream: &'static str, room: usize, out: impl Write + Send + 'static) -> io::Result<Output> {
        let (queue, messages) = channel();
        let counts = Arc::new(Counts { waiting: AtomicUsize::new(0), room, lost: AtomicU64::new(0) });
        let writer =
            Writer { stream, counts: counts.clone(), out, torn: false, failing: false, said: 0, noticed: None };
        let thread = Builder::new().name(format!("lictor-{stream}")).spawn(move || writer.run(&messages))?;
        Ok(Output { queue, counts, writer: thread.thread().id() })
    }

    /// Hands whole lines over; without room for them they are lost.
    pub fn send(&self, text: Vec<u8>, lines: u64) {
        let counts = &self.counts;
        // The memory that waits is counted, and a line that is longer than the room still finds an empty queue.
        let bytes = text.capacity();
        let before = counts.waiting.fetch_add(bytes, Ordering::Relaxed);
        // The thread that writes says what was lost, for which there must be room.
        let fits = before == 0 || before + bytes <= counts.room || std::thread::current().id() == self.writer;
        if !fits || self.queue.send(Message::Lines(text, lines)).is_err() {
            counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            counts.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// How many lines were lost: there was no room for them, or they could not be written.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything that was handed over so far has been written, or until `patience` is over. Returns whether it was written.
    pub fn flush(&self, patience: Duration) -> bool {
        let (mark, passed) = sync_channel(0);
        let sent = self.queue.send(Message::Mark(mark)).is_ok();
        sent && passed.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }
}

/// For whoever writes a whole line at once, as the log does.
impl Write for &Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line.to_vec(), 1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the thread has.
struct Writer<W> {
    stream: &'static str,
    counts: Arc<Counts>,
    out: W,
    /// The last write ended within a line.
    torn: bool,
    /// The last write failed.
    failing: bool,
    /// Of how many lost lines the log was told.
    said: u64,
    /// When it was told last.
    noticed: Option<Instant>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = if self.unsaid() > 0 {
                messages.recv_timeout(NOTICES)
            } else {
                messages.recv().map_err(RecvTimeoutError::from)
            };
            match message {
                Ok(Message::Lines(text, lines)) => self.write(&text, lines),
                Ok(Message::Mark(mark)) => drop(mark),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.notice();
        }
    }

    /// Writes lines, or counts those that cannot be written.
    fn write(&mut self, text: &Vec<u8>, lines: u64) {
        // A line that was torn is ended first, so that it spoils no other.
        let ended = if self.torn { write_all(&mut self.out, b"\n").map_err(|(_, why)| (0, why)) } else { Ok(()) };
        self.torn &= ended.is_err();
        let written = ended.and_then(|()| write_all(&mut self.out, text));
        let failed = written.and_then(|()| self.out.flush().map_err(|why| (text.len(), why)));
        self.counts.waiting.fetch_sub(text.capacity(), Ordering::Relaxed);
        let failing = failed.is_err();
        if let Err((written, why)) = failed {
            let missing = text[written..].iter().filter(|&&byte| byte == b'\n').count() as u64;
            self.counts.lost.fetch_add(missing.min(lines), Ordering::Relaxed);
            self.torn |= written > 0 && text[written - 1] != b'\n';
            if !self.failing {
                tracing::warn!("{} cannot be written, its lines are lost: {why}", self.stream);
            }
        }
        self.failing = failing;
    }

    /// Says once what was lost, as soon as lines can be written again.
    fn notice(&mut self) {
        let unsaid = self.unsaid();
        if unsaid > 0 && !self.failing && self.noticed.is_none_or(|before| before.elapsed() >= NOTICES) {
            (self.said, self.noticed) = (self.said + unsaid, Some(Instant::now()));
            tracing::warn!(
                lines = unsaid,
                "lines for {} were lost: they could not be written, or not fast enough",
                self.stream
            );
        }
    }

    fn unsaid(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed) - self.said
    }
}

/// Writes all of it; an error comes with how many bytes were written before it.
fn write_all(out: &mut impl Write, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return Err((written, ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) => return Err((written, why)),
        }
    }
    Ok(())
}

/// A descriptor, written without the lock that the standard library keeps for its stream: who holds that lock while a write stands
/// still makes everybody wait who prints. A descriptor that does not block, because another process has set it so, is waited for.
#[derive(Debug)]
pub struct Descriptor<T>(pub T);

impl<T: AsFd> Write for Descriptor<T> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, text) {
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
