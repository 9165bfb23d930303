//! What many aggregates at once take of memory, and what becomes of those that the bound does not let in.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use integration::measure::load::Work;
use integration::measure::poll::Poll;
use integration::measure::response::Reader;
use integration::measure::system::{Outcome, go_on, now, settle};
use rustix::event::epoll::EventFlags;

use super::Setup;
use super::cost::verdict;
use super::gateway;
use super::services::{NAMES, Part};
use super::side::Side;

/// What each part is. Two answer at once and are held until the third is there, so that all aggregates are under way together.
const QUICK: Part = Part { bytes: 100 * 1024, delay: 0 };
const LATE: Part = Part { delay: 1000, ..QUICK };

/// The bound of all aggregates under way, in MiB (decision of the issue; `[[compose]]` has no setting for it).
const BOUND: f64 = 64.0;

/// How long all answers may take, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;

/// What a crowd was answered, and what it took.
struct Crowd {
    /// By status; 0 where the connection broke.
    answers: BTreeMap<u16, Answers>,
    /// Resident memory before, at its peak and after, in MiB.
    before: f64,
    peak: f64,
    after: f64,
}

/// Answers with one status.
#[derive(Default)]
struct Answers {
    count: usize,
    /// When the last was there, in seconds after all had asked.
    last: f64,
}

/// A connection with one request.
struct Client {
    socket: TcpStream,
    reader: Reader,
    answered: bool,
}

/// Prints what both took, and what that says of the bar.
pub(super) fn measure(setup: &Setup) -> Outcome<()> {
    let aggregator = match gateway::aggregator(setup, [QUICK, QUICK, LATE]) {
        Ok(side) => side,
        Err(why) => {
            println!("NOT MEASURED: many aggregates at once: {why}");
            return Ok(());
        }
    };
    let many = setup.options.crowd;
    println!("\n{many} at once, each on a connection of its own:\n");
    let whole = crowd(&aggregator, many)?;
    drop(aggregator);
    // What connections and answers take that are only passed on.
    let part = crowd(&gateway::proxy(setup, &[(NAMES[2], LATE)])?, many)?;
    println!("| | answers | MiB before | at its peak | after |\n| --- | --- | ---: | ---: | ---: |");
    for (name, crowd) in [("aggregates of 3 x 100 KiB", &whole), ("requests for one part", &part)] {
        let Crowd { answers, before, peak, after } = crowd;
        let words = |(status, answers): (&u16, &Answers)| {
            format!("{} x {status}, the last after {:.2} s", answers.count, answers.last)
        };
        let answers: Vec<_> = answers.iter().map(words).collect();
        println!("| {name} | {} | {before:.1} | {peak:.1} | {after:.1} |", answers.join("; "));
    }
    let (grown, passed) = (whole.peak - whole.before, part.peak - part.before);
    let others = whole.answers.keys().filter(|status| ![200, 503].contains(*status)).count();
    println!(
        "\n{}: {grown:.0} MiB more at the peak, of which {passed:.0} are as for requests that are passed on; the bound is \
         {BOUND:.0}\n{}: every answer is 200 or 503",
        verdict(grown - passed.max(0.0) <= BOUND),
        verdict(others == 0),
    );
    Ok(())
}

/// Asks once on each of so many connections, all at the same time.
fn crowd(side: &Side, many: usize) -> Outcome<Crowd> {
    let work = side.work();
    // Allocations that the first requests make, and no other, are made before anything is compared.
    ask(&mut connect(&work, 64)?, &work)?;
    let mut clients = connect(&work, many)?;
    settle(0.5)?;
    let before = side.program.memory() / 1024.0;
    side.program.forget_peak()?;
    let answers = ask(&mut clients, &work)?;
    let peak = side.program.peak() / 1024.0;
    drop(clients);
    settle(1.0)?;
    Ok(Crowd { answers, before, peak, after: side.program.memory() / 1024.0 })
}

fn connect(work: &Work, many: usize) -> Outcome<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..many {
        let socket = TcpStream::connect(work.address).map_err(|error| format!("connecting: {error}"))?;
        clients.push(Client { socket, reader: Reader::default(), answered: false });
    }
    Ok(clients)
}

/// Sends a request on each connection, and reads all answers.
fn ask(clients: &mut [Client], work: &Work) -> Outcome<BTreeMap<u16, Answers>> {
    for client in clients.iter_mut() {
        client.socket.write_all(&work.requests[0]).map_err(|error| format!("sending: {error}"))?;
    }
    let (start, mut poll, mut answers) = (now(), Poll::new()?, BTreeMap::<u16, Answers>::new());
    for (number, Client { socket, .. }) in clients.iter().enumerate() {
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        poll.add(socket, number, EventFlags::IN)?;
    }
    let (mut missing, mut ready, mut buffer) = (clients.len(), Vec::new(), vec![0; 256 * 1024]);
    while missing > 0 {
        go_on()?;
        if now() > start + PATIENCE {
            return Err(format!("{missing} of {} were not answered", clients.len()));
        }
        poll.wait(&mut ready)?;
        for number in &ready {
            let Client { socket, reader, answered } = &mut clients[*number];
            if *answered {
                // A connection that has broken is reported again and again.
                continue;
            }
            let status = match socket.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(length) if length > 0 => reader.take(&buffer[..length])?.1.map(|response| response.status),
                _ => Some(reader.end().map_or(0, |response| response.status)),
            };
            if let Some(status) = status {
                let of_status = answers.entry(status).or_default();
                of_status.count += 1;
                of_status.last = (now() - start) as f64 / 1e9;
                missing -= 1;
                *answered = true;
            }
        }
    }
    Ok(answers)
}
