//! What the log says of an agent that fails, each change once and a lasting fault once a minute, and of crowds of suspects.

use std::time::Duration;

use tokio::time::Instant;

use super::super::guard::News;
use crate::catalog::ProviderStatus;

/// How often a lasting fault is said.
const REMINDER: Duration = Duration::from_secs(60);

/// The most changes that are said in that time: an agent that answers every other request is one lasting fault.
const CHANGES: u32 = 5;

/// What is to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    /// It fails from now on.
    Fails,
    /// It still fails, or fails again and again: for how long, and with how many errors since the line before.
    Lasts { since: Duration, errors: u64 },
    /// It answers again: how long it failed, and how many errors that were.
    Answers { after: Duration, errors: u64 },
}

/// The agent's fault, as far as it was logged.
#[derive(Debug)]
pub(super) struct Faults {
    failing: bool,
    /// Since when it fails, or fails again and again, and how many errors there were before that.
    since: Option<(Instant, u64)>,
    /// When a reminder is due, and how many errors there were at the last one.
    next: Instant,
    errors: u64,
    changes: u32,
}

impl Faults {
    /// Nothing has failed yet.
    pub(super) fn new(now: Instant) -> Faults {
        Faults { failing: false, since: None, next: now + REMINDER, errors: 0, changes: 0 }
    }

    /// Takes whether the agent fails, and how many errors there were since the start; the line that is due.
    fn take(&mut self, failing: bool, errors: u64, now: Instant) -> Option<Line> {
        let reminder = now >= self.next;
        if reminder {
            (self.next, self.changes) = (now + REMINDER, 0);
        }
        let changed = std::mem::replace(&mut self.failing, failing) != failing;
        if failing && self.since.is_none() {
            // The error that made it fail is counted already.
            (self.since, self.errors) = (Some((now, errors.saturating_sub(1))), errors);
            self.next = now + REMINDER;
        }
        if changed && self.changes < CHANGES {
            self.changes += 1;
            if failing {
                return Some(Line::Fails);
            }
            let (since, count) = self.since.take()?;
            return Some(Line::Answers { after: now - since, errors: errors - count });
        }
        let (since, count) = self.since?;
        if !reminder {
            return None;
        }
        let news = errors - std::mem::replace(&mut self.errors, errors);
        if !failing && news == 0 {
            self.since = None;
            return Some(Line::Answers { after: now - since, errors: errors - count });
        }
        Some(Line::Lasts { since: now - since, errors: news })
    }

    /// Logs what has changed with the agent and with crowds.
    pub(super) fn log(&mut self, status: &ProviderStatus, news: &[News]) {
        let agent = &status.source;
        let error = status.error.as_deref().unwrap_or_default();
        match self.take(status.error.is_some(), status.errors, Instant::now()) {
            Some(Line::Fails) => tracing::warn!(error, agent, "consul fails; what is known stays"),
            Some(Line::Lasts { since, errors }) => {
                let since = since.as_secs();
                tracing::warn!(
                    error,
                    agent,
                    "consul has failed for {since} s, {errors} errors since the last line; what is known stays"
                );
            }
            Some(Line::Answers { after, errors }) => {
                tracing::info!(agent, "consul answers again after {} s and {errors} errors", after.as_secs());
            }
            None => {}
        }
        for news in news {
            match news {
                News::Began { reason, instances, services } => {
                    tracing::warn!(
                        agent,
                        "{instances} instances of {services} services are suspect, not gone: {reason}"
                    );
                }
                News::Over { reason, lasted, confirmed, refused, accepted, given_up } => {
                    let lasted = lasted.as_secs();
                    tracing::info!(
                        agent,
                        "suspects are settled after {lasted} s ({reason}): {confirmed} confirmed, {refused} refused, {accepted} accepted, \
                         {given_up} given up"
                    );
                }
            }
        }
    }

    /// When there may be something to say although nothing happens.
    pub(super) fn due(&self) -> Option<Instant> {
        self.since.map(|_| self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once_and_a_lasting_fault_once_a_minute() {
        let start = Instant::now();
        let mut faults = Faults::new(start);
        let mut lines = Vec::new();
        for second in 0..200 {
            let (failing, errors) = (second < 150, 2 * second.min(149) + 1);
            lines.extend(faults.take(failing, errors, start + Duration::from_secs(second)).map(|line| (second, line)));
        }
        let seconds = Duration::from_secs;
        let expected = [
            (0, Line::Fails),
            (60, Line::Lasts { since: seconds(60), errors: 120 }),
            (120, Line::Lasts { since: seconds(120), errors: 120 }),
            (150, Line::Answers { after: seconds(150), errors: 299 }),
        ];
        assert_eq!(lines, expected);
        assert_eq!(faults.due(), None);
    }

    #[test]
    fn an_agent_that_fails_again_and_again_is_a_few_lines_a_minute_and_its_recovery_is_said() {
        let start = Instant::now();
        let mut faults = Faults::new(start);
        let (mut lines, mut errors) = (Vec::new(), 0);
        for tenth in 0_u64..6_000 {
            let failing = tenth % 2 == 0 && tenth < 3_000;
            errors += u64::from(failing);
            lines.extend(faults.take(failing, errors, start + Duration::from_millis(100 * tenth)));
        }
        // Five changes and a reminder in each of five minutes, and the end.
        assert!((10..=31).contains(&lines.len()), "{lines:?}");
        assert!(matches!(lines.last(), Some(Line::Answers { .. })), "{lines:?}");
    }
}
