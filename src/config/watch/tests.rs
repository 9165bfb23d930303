//! Reading again: what changes at once, what waits, what a mistake does.

use super::*;

fn env() -> Environment {
    Environment::of(&[("LICTOR_API_KEY", "k")])
}

fn config(text: &str) -> Config {
    parse(Some(text), "test", Overrides::default(), &env()).expect("a valid configuration")
}

#[test]
fn what_only_a_start_can_change_is_kept_and_named() {
    let old = config("workers = 2\n[pool]\nidle = 5\n");
    let mut new = config("workers = 3\n[pool]\nidle = 6\n[timeouts]\nfirst_byte = \"3s\"\n");
    assert_eq!(keep(&old, &mut new), ["workers", "[pool]"]);
    assert_eq!((new.workers, new.pool.idle), (2, 5));
    assert_eq!(new.policy.timeouts.first_byte, Duration::from_secs(3));
    assert!(keep(&old, &mut config("workers = 2\n[pool]\nidle = 5\n")).is_empty());
}

#[test]
fn files_for_redis_that_cannot_be_read_are_warned_of_and_keep_nothing_from_starting() {
    let cache = "[redis.cache]\naddress = \"localhost\"\npassword = { file = \"/nowhere/password\" }\n";
    let config =
        with_objections(config(&format!("[redis]\naddress = \"rediss://a\"\nca_file = \"/nowhere/ca.pem\"\n{cache}")));
    let [ca, password] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(ca.starts_with("[redis] ca_file: /nowhere/ca.pem cannot be read: No such file"), "{ca}");
    assert!(password.starts_with("[redis.cache] password: /nowhere/password cannot be read"), "{password}");
}

#[test]
fn aggregates_and_what_they_may_take_hold_at_once() {
    let compose = |shape: &str, memory: &str| {
        let call = "[[compose.call]]\nname = \"b\"\nservice = \"s\"\npath = \"/\"\n";
        let route = "[[route]]\npath = { exact = \"/a\" }\ncompose = \"a\"\n";
        let aggregates = format!("[aggregates]\nmemory = \"{memory}\"\n");
        config(&format!("{aggregates}[[compose]]\nname = \"a\"\nanswer = \"{shape}\"\n{call}{route}"))
    };
    let (old, mut new) = (compose("b", "8MiB"), compose("b.id", "16MiB"));
    assert!(keep(&old, &mut new).is_empty());
    assert_eq!((new.aggregates.memory, &*new.composes[0].name), (16 << 20, "a"));
    assert_ne!(new.routes, old.routes, "the route has the new shape");
    assert_eq!(compose("b", "16MiB").routes, old.routes);
}

/// A file that is followed, on paused time.
struct Followed {
    file: PathBuf,
    reload: Arc<Notify>,
    config: watch::Receiver<Arc<Config>>,
    status: watch::Receiver<Status>,
    task: tokio::task::JoinHandle<()>,
}

impl Followed {
    fn new(name: &str, text: &str) -> Followed {
        let file = std::env::temp_dir().join(format!("lictor-watch-{}-{name}.toml", std::process::id()));
        write(&file, text);
        let mut source = Source::new(Some(file.clone()), Overrides::default(), &env());
        let (newest, config) = watch::channel(Arc::new(source.load().expect("valid")));
        let (reports, status) = watch::channel(source.status());
        let reload = Arc::new(Notify::new());
        let requested = reload.clone();
        let task = tokio::spawn(async move { follow(&mut source, &requested, &newest, &reports).await });
        Followed { file, reload, config, status, task }
    }

    async fn looks(&self, times: u32) {
        for _ in 0..times {
            // Paused time: what is due runs, nothing waits.
            tokio::time::sleep(LOOK + Duration::from_millis(1)).await;
        }
    }

    fn first_byte(&self) -> u64 {
        self.config.borrow().policy.timeouts.first_byte.as_secs()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.file);
    }
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).expect("a temporary file");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_holds_once_two_looks_agree_on_it() {
    let followed = Followed::new("changed", "[timeouts]\nfirst_byte = \"1s\"\n");
    followed.looks(3).await;
    assert_eq!((followed.first_byte(), followed.status.borrow().reloads), (1, 0));
    write(&followed.file, "[timeouts]\nfirst_byte = \"2s\"\n");
    followed.looks(1).await;
    assert_eq!(followed.first_byte(), 1, "it may still be being written");
    followed.looks(1).await;
    assert_eq!((followed.first_byte(), followed.status.borrow().reloads), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_mistake_changes_nothing_is_told_and_is_over_when_it_is_mended() {
    let followed = Followed::new("mistake", "[timeouts]\nfirst_byte = \"1s\"\n");
    write(&followed.file, "[timeouts]\nfirst_byte = \"2s\"\nidel = \"3s\"\n[breaker]\nprobes = 0\n");
    followed.looks(2).await;
    assert_eq!(followed.first_byte(), 1);
    let errors = followed.status.borrow().errors.clone();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].contains(":3: timeouts.idel: ") && errors[0].contains("did you mean `idle`"), "{errors:?}");
    followed.looks(5).await;
    assert_eq!(followed.status.borrow().failures, 1, "counted once");
    write(&followed.file, "[timeouts]\nfirst_byte = \"1s\"\n");
    followed.looks(2).await;
    assert!(followed.status.borrow().errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_text_that_the_reader_panics_on_is_told_as_a_mistake_and_the_next_one_is_read() {
    let followed = Followed::new("panic", "[timeouts]\nfirst_byte = \"1s\"\n");
    write(&followed.file, "[timeouts]\nfirst_byte = \"2s\" # panic on command\n");
    followed.looks(5).await;
    assert_eq!((followed.first_byte(), followed.status.borrow().failures), (1, 1));
    assert!(followed.status.borrow().errors[0].contains("a fault"), "{:?}", followed.status.borrow().errors);
    write(&followed.file, "[timeouts]\nfirst_byte = \"3s\"\n");
    followed.looks(2).await;
    assert_eq!((followed.first_byte(), followed.status.borrow().errors.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_vanishes_changes_nothing_and_is_told() {
    let followed = Followed::new("vanished", "[timeouts]\nfirst_byte = \"1s\"\n");
    std::fs::remove_file(&followed.file).expect("it was there");
    followed.looks(2).await;
    assert_eq!(followed.first_byte(), 1);
    assert!(followed.status.borrow().errors[0].contains("cannot read"));
}

#[tokio::test(start_paused = true)]
async fn the_operators_word_reads_at_once() {
    let followed = Followed::new("requested", "[timeouts]\nfirst_byte = \"1s\"\n");
    followed.looks(1).await;
    write(&followed.file, "[timeouts]\nfirst_byte = \"4s\"\n");
    let mut config = followed.config.clone();
    let before = tokio::time::Instant::now();
    followed.reload.notify_one();
    config.changed().await.expect("it is followed");
    assert_eq!((followed.first_byte(), before.elapsed()), (4, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_emptied_changes_nothing_and_is_told() {
    let followed = Followed::new("emptied", "[timeouts]\nfirst_byte = \"1s\"\n");
    write(&followed.file, " \n");
    followed.looks(2).await;
    assert_eq!(followed.first_byte(), 1);
    assert!(followed.status.borrow().errors[0].contains("it is empty"));
    // And neither does one that vanished before.
    std::fs::remove_file(&followed.file).expect("it was there");
    followed.looks(2).await;
    write(&followed.file, "");
    followed.looks(2).await;
    assert_eq!((followed.first_byte(), followed.config.borrow().version), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_judged_by_the_listeners_that_there_are_not_by_those_of_the_new_file() {
    let listener = |address: &str| format!("[[listener]]\naddress = \"{address}\"\n");
    let followed = Followed::new("exposed", &listener("0.0.0.0:7200"));
    write(&followed.file, &format!("{}[api]\nauth = false\n", listener("127.0.0.1:7200")));
    followed.looks(2).await;
    assert!(followed.config.borrow().routes[0].policy.auth.is_some(), "the door to the world still asks for a key");
    assert!(followed.status.borrow().errors[0].contains("0.0.0.0:7200 is not loopback"));
}

#[tokio::test(start_paused = true)]
async fn another_file_for_revocations_waits_for_a_restart_because_only_that_reads_it() {
    let admin = |file: &str| format!("[admin]\nrevocations = {{ file = \"{file}\" }}\n");
    let followed = Followed::new("revocations", &admin("a.json"));
    for (text, waiting) in [(admin("b.json"), 1), (String::from("[timeouts]\n"), 1), (admin("a.json"), 0)] {
        write(&followed.file, &text);
        followed.looks(2).await;
        assert_eq!(followed.config.borrow().admin.revocations, Some("a.json".into()));
        assert_eq!(followed.status.borrow().needs_restart, vec!["[admin] revocations"; waiting], "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_listeners_keep_from_the_start_is_told_for_as_long_as_it_differs() {
    let idle = |seconds: u64, rest: &str| format!("[timeouts]\nidle = \"{seconds}s\"\n{rest}");
    let followed = Followed::new("idle", &idle(60, ""));
    for (seconds, rest, count) in [(5, "", 1), (5, "connect = \"2s\"\n", 1), (60, "", 0)] {
        write(&followed.file, &idle(seconds, rest));
        followed.looks(2).await;
        assert_eq!(followed.status.borrow().needs_restart.len(), count, "{seconds} {rest}");
    }
}

#[test]
fn a_pipe_is_read_once_and_never_again() {
    use std::os::fd::AsRawFd;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"[timeouts]\nfirst_byte = \"1s\"\n").expect("there is room");
    drop(writer);
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut source = Source::new(Some(path.into()), Overrides::default(), &env());
    assert_eq!(source.load().expect("valid").policy.timeouts.first_byte, Duration::from_secs(1));
    assert!(!source.rereadable);
}

#[test]
fn a_place_for_a_file_of_our_own_that_is_missing_or_open_to_others_is_worth_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let place = std::env::temp_dir().join(format!("lictor-place-{}", std::process::id()));
    std::fs::create_dir(&place).expect("a directory");
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).expect("it is ours");
    let warnings = |directory: &std::path::Path| {
        let file = place.join("lictor.toml");
        let catalog = directory.join("catalog.json");
        std::fs::write(&file, format!("[consul]\nsnapshot = {{ file = {catalog:?} }}\n")).expect("a file");
        let env = Environment::of(&[("LICTOR_API_KEY", "k")]);
        Source::new(Some(file), Overrides::default(), &env).load().expect("it is valid").warnings
    };
    assert_eq!(warnings(&place), [""; 0]);
    for mode in [0o777, 0o1777, 0o775] {
        std::fs::set_permissions(&place, PermissionsExt::from_mode(mode)).expect("it is ours");
        assert!(warnings(&place)[0].contains("others than its owner"), "{mode:o}");
    }
    assert!(warnings(&place.join("nowhere"))[0].contains("No such file"));
    assert!(warnings(&place.join("lictor.toml"))[0].contains("no directory"));
    let text = format!("[admin]\nrevocations = {{ file = {:?} }}\n", place.join("nowhere/revocations.json"));
    let file = place.join("lictor.toml");
    write(&file, &text);
    let warnings = Source::new(Some(file), Overrides::default(), &env()).load().expect("it is valid").warnings;
    assert!(warnings[0].starts_with("[admin] revocations: ") && warnings[0].contains("No such file"), "{warnings:?}");
    std::fs::remove_dir_all(&place).expect("it is ours");
}

#[test]
fn a_gateway_has_the_name_of_its_file_again_whatever_was_read_between_and_whatever_differs_on_its_host_alone() {
    let file = std::env::temp_dir().join(format!("lictor-digest-{}.toml", std::process::id()));
    let service = "[[service]]\nname = \"a\"\ninstances = [\"127.0.0.1:1\"]\n";
    write(&file, service);
    let mut source = Source::new(Some(file.clone()), Overrides::default(), &env());
    let start = source.load().expect("it is valid");
    let mut running = start.clone();
    let mut after = |text: &str| {
        write(&file, &format!("{text}\n{service}"));
        running = load_beside(&mut source, &running).expect("it is valid").0;
        running.digest
    };
    let waits = after("[pool]\nidle = 7");
    assert_ne!(waits, start.digest);
    // Read again, it is the same; and so it is after another one.
    assert_eq!(after("[pool]\nidle = 7"), waits);
    assert_ne!(after("[pool]\nidle = 8"), waits);
    assert_eq!(after("[pool]\nidle = 7"), waits);
    assert_eq!(after("workers = 3"), start.digest);
    let retry = after("[retry]\nmore = 1");
    assert_eq!(after("workers = 3\n[retry]\nmore = 1"), retry);
    std::fs::remove_file(file).expect("it is ours");
}
