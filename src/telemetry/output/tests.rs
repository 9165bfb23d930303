//! What a stream promises to those who have lines for it, whatever its reader does.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A reader that takes what it is told to take: so many bytes of a write, or an error.
struct Reader {
    takes: Receiver<Result<usize, ErrorKind>>,
    read: Sender<Vec<u8>>,
}

impl Write for Reader {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let taken = self.takes.recv().unwrap_or(Err(ErrorKind::BrokenPipe))?.min(text.len());
        let _ = self.read.send(text[..taken].to_vec());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output with room for so many bytes; what its reader takes; what it read.
fn output(room: usize) -> (Output, SyncSender<Result<usize, ErrorKind>>, Receiver<Vec<u8>>) {
    let (takes, taken) = sync_channel(100);
    let (read, texts) = channel();
    let output = Output::start("test", room, Reader { takes: taken, read }).expect("a thread");
    (output, takes, texts)
}

/// Lines that take exactly as much memory as they have bytes.
fn lines(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn text(read: &Receiver<Vec<u8>>) -> String {
    read.try_iter().map(|part| String::from_utf8(part).expect("UTF-8")).collect()
}

#[test]
fn a_reader_that_stands_still_holds_nobody_up_and_what_finds_no_room_is_counted() {
    let (output, takes, read) = output(8);
    for line in ["one\n", "two\n", "three\nfour\n", "five\n"] {
        output.send(lines(line), line.matches('\n').count() as u64);
    }
    assert_eq!(output.lost(), 3);
    assert!(!output.flush(Duration::from_millis(1)), "nothing was written yet");
    for _ in 0..2 {
        takes.send(Ok(100)).expect("the thread lives");
    }
    assert!(output.flush(LONG));
    assert_eq!(text(&read), "one\ntwo\n");
    takes.send(Ok(100)).expect("the thread lives");
    output.send(lines("six\n"), 1);
    assert!(output.flush(LONG));
    assert_eq!((text(&read).as_str(), output.lost()), ("six\n", 3));
}

#[test]
fn a_line_longer_than_the_room_finds_an_empty_queue() {
    let (output, takes, read) = output(2);
    takes.send(Ok(100)).expect("the thread lives");
    output.send(lines("long\n"), 1);
    assert!(output.flush(LONG));
    assert_eq!((text(&read).as_str(), output.lost()), ("long\n", 0));
}

#[test]
fn an_error_costs_the_lines_that_it_met_and_no_others() {
    let (output, takes, read) = output(1000);
    let disk_full = Err(ErrorKind::StorageFull);
    // Of the first three lines one is written and one is torn; what comes after the error begins on a line of its own.
    for take in [Ok(6), disk_full, disk_full, Ok(1), Ok(100)] {
        takes.send(take).expect("the thread lives");
    }
    output.send(lines("one\ntwo\nthree\n"), 3);
    output.send(lines("four\n"), 1);
    output.send(lines("five\n"), 1);
    assert!(output.flush(LONG));
    assert_eq!((text(&read).as_str(), output.lost()), ("one\ntw\nfive\n", 3));
}

#[test]
fn an_interrupted_write_and_a_write_of_a_part_lose_nothing() {
    let (output, takes, read) = output(1000);
    for take in [Ok(1), Err(ErrorKind::Interrupted), Ok(2), Ok(100)] {
        takes.send(take).expect("the thread lives");
    }
    output.send(lines("one\n"), 1);
    assert!(output.flush(LONG));
    assert_eq!((text(&read).as_str(), output.lost()), ("one\n", 0));
}

#[test]
fn a_descriptor_that_does_not_block_is_waited_for() {
    let (mut reader, writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    writer.set_nonblocking(true).expect("it is set");
    let output = Output::start("test", usize::MAX, Descriptor(writer)).expect("a thread");
    let line = format!("{}\n", "x".repeat(1 << 20));
    output.send(lines(&line), 1);
    assert!(!output.flush(Duration::from_millis(1)), "no socket holds as much");
    let mut read = vec![0; line.len()];
    io::Read::read_exact(&mut reader, &mut read).expect("all of it comes");
    assert!(output.flush(LONG) && read == line.as_bytes() && output.lost() == 0);
}
