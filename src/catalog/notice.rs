//! What the rest of the gateway tells discovery: which services are asked for, what became of suspects, what an operator accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::{Key, ServiceName};

/// Something that discovery is told.
#[derive(Debug)]
pub enum Notice {
    /// A request asked for this service, for the first time in this period.
    Asked(ServiceName),
    /// A suspect endpoint refused a connection: it is gone.
    Refused(Key),
    /// An operator accepts that suspect endpoints are gone: those of a service, or all. The answer is how many they were.
    Accept(Option<ServiceName>, oneshot::Sender<usize>),
}

/// Where discovery is told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notices {
    sender: mpsc::UnboundedSender<Notice>,
    /// The number of the period that runs.
    pub period: Arc<AtomicU32>,
}

/// Where discovery hears it.
#[derive(Debug)]
pub struct Heard {
    /// What it is told. It needs no bound: there is at most one notice per service and period, one per suspect, and one per request of an
    /// operator.
    pub notices: mpsc::UnboundedReceiver<Notice>,
    period: Arc<AtomicU32>,
}

/// The period in which a service was asked for last; 0 is never. Whoever finds the number of the period that runs here need not tell again.
#[derive(Debug, Default)]
pub struct Asked(pub AtomicU32);

/// A way to tell discovery something.
#[expect(clippy::disallowed_methods, reason = "what may wait is bounded: see `Heard::notices`")]
pub fn channel() -> (Notices, Heard) {
    let (sender, notices) = mpsc::unbounded_channel();
    let period = Arc::new(AtomicU32::new(1));
    (Notices { sender, period: period.clone() }, Heard { notices, period })
}

impl Notices {
    /// Notes that a request asks for a service; the first one in each period is told.
    pub fn asked(&self, name: &ServiceName, asked: &Asked) {
        let now = self.period.load(Ordering::Relaxed);
        if asked.0.load(Ordering::Relaxed) != now && asked.0.swap(now, Ordering::Relaxed) != now {
            self.tell(Notice::Asked(name.clone()));
        }
    }

    /// Tells something. Without discovery, nobody hears it.
    pub fn tell(&self, notice: Notice) {
        let _ = self.sender.send(notice);
    }
}

impl Heard {
    /// Begins a period: from now on, the next request for each service is told again.
    pub fn begin(&self) {
        self.period.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_for_a_service_in_each_period_is_told() {
        let (notices, mut heard) = channel();
        let (name, asked) = (ServiceName::new("web").expect("a name"), Asked::default());
        for period in 0..2 {
            notices.asked(&name, &asked);
            notices.asked(&name, &asked);
            assert!(matches!(heard.notices.try_recv(), Ok(Notice::Asked(told)) if told == name), "{period}");
            assert!(heard.notices.try_recv().is_err(), "{period}");
            heard.begin();
        }
    }
}
