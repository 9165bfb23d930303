//! Many aggregates at once: what they take of memory, who waits, who is refused, and what other requests notice of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use integration::client::{Client, Response};
use integration::eventually;
use integration::instance::{Instance, Step, json};
use integration::program::Program;
use integration::world::{self, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;

fn call(name: &str, path: &str) -> String {
    format!("[[compose.call]]\nname = \"{name}\"\nservice = \"s\"\npath = \"{path}\"\n")
}

/// A gateway with an aggregate at `/page`, and what all aggregates may take.
fn text(instance: &Instance, aggregates: &str, calls: &str) -> String {
    let route = "[[route]]\nname = \"page\"\npath = { prefix = \"/page\" }\ncompose = \"page\"\nauth = false\n";
    let service = instance.service("s") + "[breaker]\nenabled = false\n";
    format!("{service}[aggregates]\n{aggregates}[[compose]]\nname = \"page\"\ndeadline = \"60s\"\n{calls}{route}")
}

/// Asks so many times at once.
fn ask(client: &Client, path: &'static str, times: usize) -> JoinSet<Response> {
    let mut asking = JoinSet::new();
    for _ in 0..times {
        let client = client.clone();
        asking.spawn(async move { client.get(path).await });
    }
    asking
}

/// What came of them: how many by status and reason.
async fn all(mut asking: JoinSet<Response>) -> BTreeMap<(u16, String), usize> {
    let mut said = BTreeMap::new();
    while let Some(page) = asking.join_next().await {
        let page = page.expect("no panic");
        *said.entry((page.status, page.reason())).or_default() += 1;
    }
    said
}

/// An instance that answers nobody until it may: a permit lets one answer go.
async fn waiting(go: &Arc<Semaphore>) -> Instance {
    let go = go.clone();
    Instance::start(move |asked| match asked.last() {
        "part" => vec![Step::Permit(go.clone()), Step::Send(small())],
        _ => json("1"),
    })
    .await
}

fn small() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1".to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_in_time_is_503_and_what_leaves_makes_room() {
    let go = Arc::new(Semaphore::new(0));
    let instance = waiting(&go).await;
    let world = World::of(&text(&instance, "memory = \"4MiB\"\nwait = \"50ms\"\n", &call("a", "/part"))).await;
    let mut asking = ask(&world.client, "/page", 100);
    let mut refused = 0;
    // Those that have room wait for the instance, which answers nobody; all others are refused.
    while instance.under_way() + refused < 100 {
        tokio::select! {
            page = asking.join_next() => {
                let page = page.expect("some are under way").expect("no panic");
                assert_eq!((page.status, page.reason().as_str()), (503, "overloaded"), "{}", page.body);
                assert_eq!(page.header("retry-after"), "1");
                refused += 1;
            }
            // To look at the instance again.
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    assert!(refused > 0 && instance.hits() == 100 - refused, "{refused} were refused");
    assert_eq!(world.client.get("/api/s/x").await.status, 200, "other requests need no room");
    go.add_permits(100);
    assert_eq!(all(asking).await, BTreeMap::from([((200, String::new()), 100 - refused)]));
    assert_eq!(world.client.get("/page").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_waits_for_it_in_turn() {
    let go = Arc::new(Semaphore::new(0));
    let instance = waiting(&go).await;
    let world = World::of(&text(&instance, "memory = \"4MiB\"\nwait = \"50s\"\n", &call("a", "/part"))).await;
    let asking = ask(&world.client, "/page", 100);
    eventually("some have room", || async { instance.under_way() > 1 }).await;
    go.add_permits(100);
    assert_eq!(all(asking).await, BTreeMap::from([((200, String::new()), 100)]));
    assert!(instance.most_at_once() < 100, "all had room at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_waits_or_is_served_leaves_its_room() {
    let go = Arc::new(Semaphore::new(0));
    let instance = waiting(&go).await;
    let world = World::of(&text(&instance, "memory = \"4MiB\"\nwait = \"50s\"\n", &call("a", "/part"))).await;
    for _ in 0..3 {
        let asking = ask(&world.client, "/page", 60);
        eventually("some have room", || async { instance.under_way() > 1 }).await;
        drop(asking);
        eventually("all have left", || async { instance.under_way() == 0 }).await;
    }
    // Who had waited may get room for a moment before its leaving is noticed, and ask: that must not take the only permit.
    go.add_permits(100);
    assert_eq!(world.client.get("/page").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_has_room_for_whatever_its_bounds_allow() {
    let instance = Instance::start(|_| json(items(MIB - 1000))).await;
    // No less is accepted for these bounds.
    let calls = "size = \"2MiB\"\n".to_owned() + &call("a", "/a") + "object = \"1MiB\"\n";
    let world = World::of(&text(&instance, "memory = \"2MiB\"\nwait = \"200ms\"\n", &calls)).await;
    for _ in 0..3 {
        let page = world.client.get("/page").await;
        assert_eq!((page.status, page.reason()), (200, String::new()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_aggregates_take_no_room_of_those_under_way() {
    let instance = Instance::start(|_| {
        let fields = [("Content-Type", "application/json"), ("Cache-Control", "max-age=600")];
        integration::instance::answer(200, &fields, items(100 << 10))
    })
    .await;
    let route = "[[route]]\npath = { pattern = \"/kept/{id}\" }\ncompose = \"kept\"\ncache = { ttl = \"60s\" }\n[[compose]]\n\
                 name = \"kept\"\nsize = \"1MiB\"\n";
    let calls = call("a", "/a") + route + &call("b", "/{id}");
    let world = World::of(&text(&instance, "memory = \"8MiB\"\nwait = \"1s\"\n", &calls)).await;
    for number in 0..100 {
        let page = world.client.get(&format!("/kept/{number}")).await;
        assert_eq!((page.status, page.reason()), (200, String::new()), "{number}");
    }
    let first = world.client.get("/kept/0").await;
    assert!(first.header("cache-status").contains("hit"), "{}", first.header("cache-status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bounds_hold_when_the_configuration_is_read_again() {
    let go = Arc::new(Semaphore::new(0));
    let instance = waiting(&go).await;
    let config = |memory: &str, route: &str| {
        let calls = call("a", "/part") + route;
        world::text(&format!("workers = 1\n{}", text(&instance, &format!("memory = \"{memory}\"\n"), &calls)))
    };
    let file = std::env::temp_dir().join(format!("lictor-crowding-{}.toml", std::process::id()));
    std::fs::write(&file, config("4MiB", "")).expect("a temporary file");
    let world = World::following(&file).await;
    let there = "[[route]]\npath = { exact = \"/there\" }\nrespond = { body = \"there\" }\nauth = false\n";
    std::fs::write(&file, config("1GiB", there)).expect("a temporary file");
    eventually("the worker has it", || async { world.client.get("/there").await.status == 200 }).await;
    let _ = std::fs::remove_file(file);
    let asking = ask(&world.client, "/page", 200);
    eventually("all have room", || async { instance.under_way() == 200 }).await;
    go.add_permits(200);
    assert_eq!(all(asking).await, BTreeMap::from([((200, String::new()), 200)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_large_parts_are_read_and_shaped_the_same_worker_answers_others() {
    let part = items(MIB - 1000);
    let instance = Instance::start(move |_| json(&part)).await;
    let plain = "[[route]]\npath = { exact = \"/here\" }\nrespond = { body = \"here\" }\nauth = false\n";
    let shape = "answer = \"length(a.items[?count > `3`].product) && sort_by(b.items, &product)\"\n";
    let calls = shape.to_owned() + &call("a", "/a") + &call("b", "/b") + plain;
    let world = World::of(&format!("workers = 1\n{}", text(&instance, "", &calls))).await;
    let mut most = 0;
    // Once is enough: this machine has other things to do, too.
    for _ in 0..8 {
        let mut asking = ask(&world.client, "/page", 1);
        let mut here = 0;
        while asking.try_join_next().is_none() {
            assert_eq!(world.client.get("/here").await.status, 200);
            here += 1;
        }
        most = most.max(here);
        if most >= 30 {
            return;
        }
    }
    panic!("while one aggregate is made, {most} other requests are answered");
}

/// JSON of about so many bytes as services send it: a list of small objects.
fn items(bytes: usize) -> String {
    let item = |number: usize| format!("{{\"product\":{},\"count\":{}}}", 1000 + number % 9000, number % 10);
    let list: Vec<_> = (0..bytes / 27).map(item).collect();
    format!("{{\"items\":[{}]}}", list.join(","))
}

/// The most memory that a process had since the last time that this was reset, in bytes.
fn peak(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.trim().parse::<usize>().ok()).expect("Linux says it") * 1024
}

fn reset_peak(process: u32) {
    std::fs::write(format!("/proc/{process}/clear_refs"), "5").expect("it is this user's process");
}

/// Sends a request on a connection of its own, and reads the whole answer. Returns its status.
async fn status(program: &Program, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(program.address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let line = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    Ok(line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0))
}

/// Asks so many times at once for three parts of this text, and says by how many bytes the gateway grew, and what it answered.
async fn grown(part: String, times: usize) -> (usize, BTreeMap<u16, usize>) {
    let instance = Instance::start(move |_| json(&part)).await;
    let plain = "[[route]]\npath = { prefix = \"/plain\" }\nservice = \"s\"\nauth = false\n";
    let calls = ["a", "b", "c"].map(|name| call(name, &format!("/{name}"))).concat() + plain;
    let program = Arc::new(Program::start(&text(&instance, "memory = \"64MiB\"\nwait = \"1s\"\n", &calls)).await);
    // So many connections, and what the allocator keeps of them, are not what aggregates take.
    crowd(&program, "/plain", times).await;
    assert_eq!(status(&program, "/page").await.expect("an answer"), 200);
    reset_peak(program.id());
    let before = peak(program.id());
    let said = crowd(&program, "/page", times).await;
    let grown = peak(program.id()).saturating_sub(before);
    assert_eq!(status(&program, "/page").await.expect("an answer"), 200, "it is over");
    assert!(said.keys().all(|status| [200, 503].contains(status)) && said[&200] > 0, "{said:?}");
    (grown, said)
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_of_three_parts_of_100_kib_take_no_more_memory_than_is_configured() {
    let (grown, said) = grown(items(100 << 10), 1000).await;
    assert!(grown <= 64 * MIB, "{} MiB more, of 64 that are allowed: {said:?}", grown / MIB);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn parts_whose_values_take_many_times_their_text_take_no_more_memory_than_is_configured() {
    let list = |item: &str| format!("[{}]", vec![item; (100 << 10) / (item.len() + 1)].join(","));
    let mut wrong = Vec::new();
    for item in ["1", "{\"a\":{\"b\":{}}}"] {
        let (grown, said) = grown(list(item), 60).await;
        if grown > 64 * MIB {
            wrong.push(format!("{item}: {} MiB more, of 64 that are allowed: {said:?}", grown / MIB));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Asks so many times at once, and counts what is answered.
async fn crowd(program: &Arc<Program>, path: &'static str, times: usize) -> BTreeMap<u16, usize> {
    let mut asking = JoinSet::new();
    for _ in 0..times {
        let program = program.clone();
        asking.spawn(async move { status(&program, path).await });
    }
    let mut said = BTreeMap::new();
    while let Some(status) = asking.join_next().await {
        *said.entry(status.expect("no panic").unwrap_or(0)).or_default() += 1;
    }
    said
}
