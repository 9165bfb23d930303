//! The steps, each bounded in time, and what they print.

mod backend;
mod crowd;
mod gateway;
mod load;
mod spread;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use integration::fake_agent::FakeAgent;
use integration::process::{self, pause};

use self::crowd::Crowd;
use self::gateway::Gateway;

/// Measures the gateway beside an agent with many services.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure; else the one of this workspace, built as this program was.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// How many services there are.
    #[arg(long, default_value_t = 5000)]
    services: usize,
    /// How many instances each has.
    #[arg(long, default_value_t = 10)]
    instances: usize,
    /// How many nodes carry them.
    #[arg(long, default_value_t = 300)]
    nodes: usize,
    /// For how many seconds the idle gateway is looked at.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// How many changes of a service are followed to the last worker.
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// How many pairs of windows, one without and one with changes.
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// How long a window is, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests a second in such a window.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
}

type Outcome<T> = Result<T, String>;

/// What the steps share: the agent, the instances that answer, and the program.
struct Bench {
    options: Options,
    program: PathBuf,
    agent: Arc<FakeAgent>,
    /// For all but the agent, whose runtime is another.
    runtime: tokio::runtime::Runtime,
    backends: Vec<u16>,
}

pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let options = Options::parse();
    let program = match &options.gateway {
        Some(program) => program.clone(),
        None => process::built(&["lictor"])?.remove(0),
    };
    let (runtime, apart) = (runtime(idle)?, runtime(|| ())?);
    let agent = Arc::new(runtime.block_on(FakeAgent::start()));
    let backends = apart.block_on(backend::start(2 * crowd::REAL))?;
    let bench = Bench { options, program, agent, runtime: apart, backends };
    let none = bench.empty()?;
    let crowd = Crowd::new(&bench.agent, &bench.backends, &bench.options);
    bench.ready(none)?;
    for workers in [2, 16] {
        bench.spread(workers)?;
    }
    if bench.options.pairs == 0 { Ok(()) } else { bench.changing(&crowd) }
}

/// A runtime of one thread.
fn runtime(on_start: fn()) -> Outcome<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().on_thread_start(on_start);
    runtime.build().map_err(|error| error.to_string())
}

/// Lets this thread run only where no other wants to, and any other take its place at once: what the agent computes is another machine's as a
/// rule. A priority alone would not do: Linux lets a thread run for up to 3 ms before one that has just woken.
fn idle() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let done = std::process::Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !done.is_ok_and(|status| status.success()) {
        say("the agent runs as any other thread, because chrt failed: requests wait for it, too");
    }
}

impl Bench {
    /// A gateway that is ready, and how long that took.
    fn start(&self, workers: usize) -> Outcome<(Gateway, Duration)> {
        let begun = Instant::now();
        let gateway = Gateway::start(&self.program, &self.agent.url(), workers)?;
        gateway.until_ready(Duration::from_secs(60))?;
        Ok((gateway, begun.elapsed()))
    }

    /// What a gateway takes of memory where there are no services, in KiB.
    fn empty(&self) -> Outcome<u64> {
        let (gateway, ready) = self.start(2)?;
        pause(Duration::from_secs(3));
        let memory = gateway.memory()?;
        say(&format!("no services: ready after {} ms, {memory} KiB resident", ready.as_millis()));
        Ok(memory)
    }

    /// How soon it is ready, what it takes of memory, and what it does while nothing happens.
    fn ready(&self, none: u64) -> Outcome<()> {
        let (gateway, ready) = self.start(2)?;
        let instances = self.options.services * self.options.instances;
        let busy = gateway.cpu()?;
        say(&format!(
            "{instances} instances: ready after {} ms, {} ms of CPU until then, {} requests",
            ready.as_millis(),
            busy.as_millis(),
            self.agent.count("/")
        ));
        pause(Duration::from_secs(5));
        let (cpu, asked, begun) = (gateway.cpu()?, self.agent.count("/"), Instant::now());
        pause(Duration::from_secs(self.options.idle));
        let took = begun.elapsed().as_secs_f64();
        let memory = gateway.memory()?;
        let busy = (gateway.cpu()? - cpu).as_secs_f64() / took * 100.0;
        let each = (memory.saturating_sub(none) * 1024) as f64 / instances as f64;
        let asked = (self.agent.count("/") - asked) as f64 / took;
        say(&format!("  {memory} KiB resident, {each:.0} bytes an instance"));
        say(&format!("  idle over {took:.0} s: {busy:.2} % of a core, {asked:.1} requests/s to the agent"));
        Ok(())
    }

    /// From an answer of the agent to the last worker's adoption.
    fn spread(&self, workers: usize) -> Outcome<()> {
        let (gateway, _) = self.start(workers)?;
        let (times, round) = spread::measure(&gateway, &self.agent, self.backends[0], workers, self.options.changes)?;
        let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        say(&format!(
            "{workers} workers, {} changes, from the agent's answer to the last worker: median {:.2} ms, 99 % {:.2} ms, longest {:.2} ms; to ask all of them once takes {:.2} ms",
            times.len(),
            of(0.5),
            of(0.99),
            of(1.0),
            round.as_secs_f64() * 1000.0
        ));
        Ok(())
    }

    /// What requests notice of 100 changes a second, and what the agent is asked meanwhile.
    fn changing(&self, crowd: &Crowd) -> Outcome<()> {
        let (gateway, _) = self.start(2)?;
        let window = Duration::from_secs(self.options.seconds);
        load::run(gateway.address, window / 4, self.options.rate)?;
        self.settle(&gateway)?;
        let mut ratios = Vec::new();
        for pair in 0..self.options.pairs {
            let quiet_first = pair % 2 == 0;
            let mut p99 = [0.0; 2];
            for which in if quiet_first { [0, 1] } else { [1, 0] } {
                let (asked, cpu, begun) = (self.asked(), gateway.cpu()?, Instant::now());
                let changes = (which == 1).then(|| crowd.change(self.agent.clone()));
                let figures = load::run(gateway.address, window, self.options.rate)?;
                let made = changes.map_or(0, crowd::Changes::end);
                let took = begun.elapsed().as_secs_f64();
                let busy = (gateway.cpu()? - cpu).as_secs_f64() / took * 100.0;
                let after = self.asked();
                let of = |kind: usize| (after[kind] - asked[kind]) as f64 / took;
                p99[which] = figures.p99;
                say(&format!(
                    "  {made} changes: p50 {:.3} ms, p99 {:.3} ms, longest {:.1} ms, {} failed of {}; {busy:.1} % of a core; a second {:.1} reads, {:.1} of watches",
                    figures.p50,
                    figures.p99,
                    figures.longest,
                    figures.failed,
                    figures.requests,
                    of(0),
                    of(1)
                ));
                // What was changed is read to its end, so that the next window is quiet.
                if which == 1 {
                    self.settle(&gateway)?;
                }
            }
            ratios.push(p99[1] / p99[0]);
        }
        ratios.sort_by(f64::total_cmp);
        let all: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        say(&format!("p99 with changes / quiet: median {:.2} of {}", ratios[ratios.len() / 2], all.join(" ")));
        let plan = self.runtime.block_on(gateway.discovery())["plan"].clone();
        say(&format!("plan {plan}; {:?} connections, {} queries wait", self.agent.connections(), self.agent.waiting()));
        Ok(())
    }

    /// How often the agent was asked: by reads, and by queries that wait.
    fn asked(&self) -> [u64; 2] {
        let (all, waited) = (self.agent.count("/"), self.agent.waited());
        [all - waited, waited]
    }

    /// Waits until nothing is left to do.
    fn settle(&self, gateway: &Gateway) -> Outcome<()> {
        let deadline = Instant::now() + Duration::from_secs(240);
        // Between two sweeps it pauses for nine times as long as one takes.
        let mut calm = 0;
        while calm < 6 {
            if Instant::now() > deadline {
                return Err("the gateway does not come to rest".into());
            }
            let (asked, cpu) = (self.agent.count("/"), gateway.cpu()?);
            pause(Duration::from_secs(2));
            let busy = gateway.cpu()? - cpu;
            calm = if self.agent.count("/") - asked < 40 && busy < Duration::from_millis(100) { calm + 1 } else { 0 };
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "a program that prints what it measures")]
fn say(text: &str) {
    println!("{text}");
}
