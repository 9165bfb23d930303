//! Whether what Redis says of itself (`INFO`) fits what it is for, pure: <https://redis.io/docs/latest/commands/info/>.

use super::status::Serves;

/// What of it matters here. What it does not say, because the gateway may not ask, is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// `master` or `slave`.
    pub(super) role: Option<String>,
    /// The most memory that it takes; 0 for no bound.
    pub(super) maxmemory: Option<u64>,
    /// What it does when that is full.
    pub(super) policy: Option<String>,
    /// Whether it is a node of a cluster.
    pub(super) is_node: bool,
}

impl Info {
    /// Reads lines of the form `name:value`.
    pub(super) fn read(text: &str) -> Info {
        let mut info = Info::default();
        for (name, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
            match name {
                "role" => info.role = Some(value.to_owned()),
                "cluster_enabled" => info.is_node = value == "1",
                "maxmemory" => info.maxmemory = value.parse().ok(),
                "maxmemory_policy" => info.policy = Some(value.to_owned()),
                _ => {}
            }
        }
        info
    }

    /// What will go wrong, and what to do about it. `is_cluster` says whether the configuration takes it for one.
    pub(super) fn warning(&self, serves: Serves, is_cluster: bool) -> Option<String> {
        if self.role.as_deref() == Some("slave") {
            return Some("it is a replica, which refuses writes: name the master, or its sentinels".to_owned());
        }
        if self.is_node && !is_cluster {
            let why = "it is a node of a cluster, which refuses the keys of others (MOVED): write cluster = […] instead of its address";
            return Some(why.to_owned());
        }
        let bounded = self.maxmemory.is_some_and(|most| most > 0);
        let policy = self.policy.as_deref().filter(|_| bounded)?;
        let evicts = policy != "noeviction";
        Some(match (serves, evicts) {
            (Serves::Limits, true) => format!(
                "maxmemory-policy {policy} evicts limits when memory is full, so that clients begin anew: set noeviction"
            ),
            (Serves::Both, true) => format!(
                "maxmemory-policy {policy} evicts limits when memory is full, so that clients begin anew: set noeviction, and give \
                 answers a server of their own in [redis.cache]"
            ),
            (Serves::Both, false) => {
                "maxmemory-policy noeviction refuses writes when memory is full, and answers fill it: give them \
                                      a server of their own in [redis.cache]"
                    .to_owned()
            }
            (Serves::Answers, false) => {
                "maxmemory-policy noeviction refuses new answers when memory is full: set allkeys-lfu".to_owned()
            }
            (Serves::Limits, false) | (Serves::Answers, true) => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(maxmemory: u64, policy: &str) -> Info {
        Info::read(&format!("# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_policy:{policy}\r\nused_memory:1\r\n"))
    }

    #[test]
    fn a_policy_that_would_lose_limits_or_refuse_answers_is_said_where_memory_is_bounded() {
        let says = |serves, policy: &str| info(1 << 20, policy).warning(serves, false).unwrap_or_default();
        for policy in ["allkeys-lru", "allkeys-random", "volatile-ttl"] {
            assert!(says(Serves::Limits, policy).contains("evicts limits"), "{policy}");
            assert!(says(Serves::Both, policy).contains("[redis.cache]"), "{policy}");
            assert_eq!(says(Serves::Answers, policy), "");
        }
        assert_eq!(says(Serves::Limits, "noeviction"), "");
        assert!(says(Serves::Answers, "noeviction").contains("set allkeys-lfu"));
        assert!(says(Serves::Both, "noeviction").contains("refuses writes"));
        for serves in [Serves::Both, Serves::Limits, Serves::Answers] {
            assert_eq!(info(0, "allkeys-lru").warning(serves, false), None);
            assert_eq!(Info::read("").warning(serves, false), None, "what it does not say is not judged");
        }
    }

    #[test]
    fn a_replica_is_said_to_be_one() {
        let replica = Info::read("role:slave\r\nmaster_host:10.0.0.1\r\n");
        assert!(replica.warning(Serves::Limits, false).expect("a warning").contains("name the master"));
        assert_eq!(Info::read("role:master\r\n").warning(Serves::Limits, false), None);
    }

    #[test]
    fn a_node_of_a_cluster_is_said_to_be_one_where_the_configuration_takes_it_for_a_server() {
        let node = Info::read("# Cluster\r\ncluster_enabled:1\r\n");
        assert!(node.warning(Serves::Limits, false).expect("a warning").contains("write cluster ="));
        assert_eq!(node.warning(Serves::Limits, true), None);
        assert_eq!(Info::read("cluster_enabled:0\r\n").warning(Serves::Limits, false), None);
    }
}
