//! The big catalog, and what changes in it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration::fake_agent::{FakeAgent, Instance};
use integration::process::pause;

use super::Options;

/// The first services, which are asked for; their instances answer, and are on the agent's own node.
pub(super) const ASKED: usize = 8;

/// How many instances of such a service answer; each may be at one of two ports.
pub(super) const REAL: usize = 10;

/// The time between two changes.
const EVERY: Duration = Duration::from_millis(10);

/// The most instances that are critical at once.
const CRITICAL: usize = 50;

/// The services.
pub(super) struct Crowd {
    known: Arc<Mutex<Known>>,
}

/// How they are now.
struct Known {
    instances: Vec<Vec<Instance>>,
    ports: Vec<u16>,
    /// How many changes were made.
    made: usize,
    /// Instances that are critical, oldest first.
    critical: VecDeque<String>,
}

/// Changes that are made until they are ended.
pub(super) struct Changes {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Crowd {
    /// Registers all of it.
    pub(super) fn new(agent: &FakeAgent, ports: &[u16], options: &Options) -> Crowd {
        let instance = |service: usize, number: usize| {
            let name = format!("service-{service}");
            let id = format!("{name}-{number}");
            if service < ASKED {
                return Instance::new(&name, &id, SocketAddr::from(([127, 0, 0, 1], ports[number % REAL])));
            }
            let at = service * options.instances + number;
            let [_, high, middle, low] = u32::try_from(at).unwrap_or(u32::MAX).to_be_bytes();
            let node = format!("node-{}", at % options.nodes);
            Instance::new(&name, &id, SocketAddr::from(([10, high, middle, low], 8080))).on(&node)
        };
        let all = |service| (0..options.instances).map(|number| instance(service, number)).collect();
        let instances: Vec<Vec<Instance>> = (0..options.services).map(all).collect();
        agent.change(|catalog| instances.iter().flatten().for_each(|instance| catalog.register(instance.clone())));
        let known = Known { instances, ports: ports.to_vec(), made: 0, critical: VecDeque::new() };
        Crowd { known: Arc::new(Mutex::new(known)) }
    }

    /// Changes 100 instances a second from now on: half of them the address, half the health, in services all over the catalog.
    pub(super) fn change(&self, agent: Arc<FakeAgent>) -> Changes {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, known) = (stop.clone(), self.known.clone());
        let thread = std::thread::spawn(move || {
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            let (begun, mut made) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                known.step(&agent);
                made += 1;
                pause((EVERY * made).saturating_sub(begun.elapsed()));
            }
            made
        });
        Changes { stop, thread }
    }
}

impl Known {
    fn step(&mut self, agent: &FakeAgent) {
        // A prime: one service after the other would be neighbours in the catalog.
        let service = self.made * 1999 % self.instances.len();
        self.made += 1;
        if self.made.is_multiple_of(2) {
            let instance = &mut self.instances[service][0];
            let port = &mut instance.address.1;
            *port = match self.ports.iter().position(|other| other == port) {
                Some(place) => self.ports[(place + REAL) % self.ports.len()],
                None => 16161 - *port,
            };
            agent.register(instance.clone());
            return;
        }
        let heals = self.critical.len() >= CRITICAL;
        let healed = if heals { self.critical.pop_front() } else { None };
        let (id, status) = match healed {
            Some(id) => (id, "passing"),
            None => (self.instances[service][1].id.clone(), "critical"),
        };
        agent.change(|catalog| catalog.set_check(&id, status));
        if !heals {
            self.critical.push_back(id);
        }
    }
}

impl Changes {
    /// Ends them; how many there were.
    pub(super) fn end(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}
