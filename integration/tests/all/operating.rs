//! What an operator writes and types: the README's installation, the commands, and their messages when something is wrong.

use std::process::{Command, Output};

use http::Method;
use integration::client::{KEY, Response};
use integration::process::{built, root};
use integration::training::train;
use integration::websocket::WebSocket;
use integration::world::{World, config, service};
use lictor::config::{Config, Environment, Overrides, digest, parse};
use mock_services::{Kind, Mock};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const KEYS: [&str; 3] = ["partner-key", "app-key", "staff-key"];

/// The README's installation, with its addresses and keys replaced by those of a test, and mocks for its five services.
fn installation(mocks: &[Mock]) -> Config {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let text = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a toml block");
    let mut keys = KEYS.iter();
    let line = |line: &str| match line {
        _ if line.starts_with("keys = ") => {
            let digest = digest(keys.next().expect("three consumers"));
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("keys = [\"sha256:{digits}\"]\n")
        }
        _ if line.starts_with("token = ") || line == "[consul]" => String::new(),
        "name = \"search_service\"" => format!("{line}\ninstances = [\"{}\"]\n", mocks[4].address),
        _ => format!("{line}\n"),
    };
    let mut text: String = text.lines().map(line).collect();
    text = text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("10.0.0.0/24", "127.0.0.0/8");
    for (name, mock) in ["product_service", "order_service", "chat_service", "user_service"].iter().zip(mocks) {
        text += &service(name, &[mock]);
    }
    text += "[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = false\n[shutdown]\nannounce = \"0s\"\n";
    parse(Some(&text), "README.md", Overrides::default(), &Environment::default())
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_installation_does_what_the_readme_says() {
    let mut mocks = Vec::new();
    for kind in [Kind::Product, Kind::Order, Kind::User, Kind::User, Kind::User] {
        mocks.push(Mock::start(kind, 0).await.expect("a mock"));
    }
    let world = World::start(installation(&mocks)).await;
    let ask = async |method: Method, host: &str, path: &str, more: &[(&str, &str)], body: &str| -> Response {
        let headers: Vec<_> = [("host", host)].iter().chain(more).copied().collect();
        world.client.ask(method, path, &headers, body).await
    };
    let (shop, api) = ("shop.example.com", "api.example.com");
    let key = |name| ("x-api-key", name);

    // Product pages need no key, are cached, and are limited for each visitor.
    let visitor = ("x-forwarded-for", "192.0.2.1");
    for status in ["lictor; fwd=uri-miss; stored", "lictor; hit; ttl=30"] {
        let page = ask(Method::GET, shop, "/products", &[visitor], "").await;
        assert_eq!((page.status, page.header("cache-status")), (200, status));
    }
    let mut refused = 0;
    for _ in 0..40 {
        refused += u32::from(ask(Method::GET, shop, "/products", &[visitor], "").await.status == 429);
    }
    assert!(refused > 0, "40 at once are more than 20/s");
    assert_eq!(ask(Method::GET, shop, "/products", &[("x-forwarded-for", "192.0.2.2")], "").await.status, 200);

    // The checkout needs a key, and may be called by a page of the shop's origin.
    let order = "{\"user_id\": 1, \"items\": []}";
    assert_eq!(ask(Method::POST, shop, "/checkout/orders", &[], order).await.status, 401);
    let made =
        ask(Method::POST, shop, "/checkout/orders", &[key("app-key"), ("origin", "https://shop.example.com")], order)
            .await;
    assert_eq!((made.status, made.header("access-control-allow-origin")), (201, "https://shop.example.com"));
    assert!(made.header("location").starts_with("/checkout/orders/"), "{}", made.header("location"));
    let large = ask(Method::POST, shop, "/checkout/orders", &[key("app-key")], &"x".repeat(65_537)).await;
    assert_eq!(large.status, 413);

    // The chat is a WebSocket; the address of the old shop redirects.
    let mut chat = WebSocket::open(world.address, "/chat", &[("host", shop), key("app-key")]).await.expect("101");
    assert_eq!(chat.next().await, Some(format!("{} echoes", mocks[2].name())));
    let moved = ask(Method::GET, shop, "/shop/x", &[], "").await;
    assert_eq!((moved.status, moved.header("location")), (301, "https://shop.example.com/products"));

    // The API needs a key, rewrites paths, and limits consumers by their plan.
    assert_eq!(ask(Method::GET, api, "/v1/users/1", &[key("app-key")], "").await.status, 200);
    assert_eq!(mocks[3].seen().pop().expect("it was asked").line, "GET /users/1");
    for (more, line) in [(("x-alpha", "1"), "GET /users?q=1"), (("x-beta", "1"), "GET /echo/beta/users?q=1")] {
        assert_eq!(ask(Method::GET, api, "/v1/search/users?q=1", &[key("app-key"), more], "").await.status, 200);
        assert_eq!(mocks[4].seen().pop().expect("it was asked").line, line);
    }
    assert_eq!(ask(Method::GET, api, "/products", &[key("app-key")], "").await.status, 404);
    assert_eq!(ask(Method::GET, shop, "/api/user_service/users", &[key("app-key")], "").await.status, 404);
    let mut statuses = Vec::new();
    for _ in 0..8 {
        statuses.push(ask(Method::GET, api, "/v1/users/1", &[key("partner-key")], "").await.status);
    }
    assert!(statuses[..5].iter().all(|&status| status == 200) && statuses.contains(&429), "{statuses:?}");
    let admin = async |name| world.admin.ask(Method::GET, "/admin/rate-limits", &[key(name)], "").await.status;
    assert_eq!((admin("staff-key").await, admin("app-key").await), (200, 403));
}

/// Runs the gateway's program to its end.
fn lictor(arguments: &[&str], key: &str) -> Output {
    let program = built(&["lictor"]).expect("it builds").remove(0);
    let mut command = Command::new(program);
    command.args(arguments).env_remove("LICTOR_ADMIN").env_remove("LICTOR_CONFIG").env_remove("CONSUL_HTTP_ADDR");
    command.env("LICTOR_API_KEY", key).output().expect("it runs")
}

/// Runs the gateway's program. Returns whether it succeeded, and what it printed.
async fn outcome(arguments: &[&str], key: &str) -> (bool, String) {
    let (arguments, key) = (arguments.iter().map(ToString::to_string).collect::<Vec<_>>(), key.to_owned());
    let run = move || lictor(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &key);
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_shows_services_limits_and_cache_and_clears_it() {
    let mock = Mock::start(Kind::User, 0).await.expect("a mock");
    let more = "[api]\nlimits = [\"9/h\"]\ncache = { ttl = \"1m\" }\n";
    let world = World::of(&format!("{}{more}", service("user_service", &[&mock]))).await;
    assert_eq!(world.client.get("/api/user_service/users").await.status, 200);
    let admin = world.gateway.as_ref().expect("it runs").admin.to_string();
    let ask = async |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--admin", &admin]).collect();
        outcome(&arguments, KEY).await
    };
    let (ok, services) = ask(&["services"]).await;
    let row = services.lines().find(|line| line.starts_with("user_service")).unwrap_or_default();
    let cells: Vec<_> = row.split_whitespace().collect();
    let address = mock.address.to_string();
    assert!(ok, "{services}");
    assert_eq!(cells, ["user_service", &address, "passing", "closed", "1", "0", "1", "0"], "{services}");
    let (ok, limits) = ask(&["limits"]).await;
    assert!(ok && limits.contains("tests") && limits.contains("9/h") && limits.contains(" 8 "), "{limits}");
    let (ok, json) = ask(&["limits", "tests", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(ok && json["usage"][0]["remaining"] == 8, "{json}");
    let (ok, cache) = ask(&["cache", "show"]).await;
    assert!(ok && cache.starts_with("1 answer, "), "{cache}");
    assert_eq!(ask(&["cache", "clear", "--path", "/nowhere"]).await, (true, "0 answers cleared\n".into()));
    assert_eq!(ask(&["cache", "clear", "--service", "user_service"]).await, (true, "1 answer cleared\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_explains_why_there_is_no_answer() {
    let world = World::start(config("[[service]]\nname = \"x\"\ninstances = [\"127.0.0.1:1\"]\n")).await;
    let admin = world.gateway.as_ref().expect("it runs").admin.to_string();
    let (ok, output) = outcome(&["services", "--admin", &admin], "guess").await;
    assert!(!ok && output.contains("does not know this key") && output.contains("LICTOR_API_KEY"), "{output}");
    let (ok, output) = outcome(&["services", "--admin", &admin], "").await;
    assert!(!ok && output.contains("whose key?"), "{output}");
    let (ok, output) = outcome(&["limits", "--admin", "127.0.0.1:1"], KEY).await;
    assert!(
        !ok && output.contains("127.0.0.1:1") && output.contains("refused") && output.contains("--admin"),
        "{output}"
    );
    let (ok, output) = outcome(&["services", "--admin", &world.address.to_string()], KEY).await;
    assert!(!ok && output.contains("is it the admin address"), "{output}");
    let (ok, output) = outcome(&["cache", "clear", "--path", "x", "--admin", &admin], KEY).await;
    assert!(!ok && output.contains("begins with /"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminal_takes_no_other_programs_answer_for_a_page() {
    for (answer, command, why) in [
        ("200 OK\r\n\r\n<html>Welcome", "services", "is not JSON"),
        ("200 OK\r\n\r\n{\"status\":\"ok\"}", "services", "no `services`"),
        ("200 OK\r\n\r\n{\"limits\":7}", "limits", "--json shows it"),
        ("503 Service Unavailable\r\n\r\n{\"detail\":\"Too much is asked\"}", "limits", "503: Too much is asked"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await?;
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
            stream
                .write_all(format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1)).as_bytes())
                .await
        });
        let (ok, output) = outcome(&[command, "--admin", &address], KEY).await;
        assert!(!ok && output.contains(why), "{answer}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_every_mistake_at_once_and_takes_what_defaults_prints() {
    let file = std::env::temp_dir().join(format!("lictor-check-{}.toml", std::process::id()));
    let path = file.display().to_string();
    std::fs::write(&file, "worker = 2\n[timeouts]\nconnect = 1\n[[route]]\npath = { prefix = \"a\" }\n")
        .expect("a file");
    let (ok, output) = outcome(&["check", "--config", &path], KEY).await;
    assert!(!ok);
    let wanted = [
        ":1: worker: is not a key here; did you mean `workers`?",
        ":3: timeouts.connect: is a duration with its unit, in quotes, not a number",
        ":4: route[0].service: is needed",
        ":5: route[0].path.prefix: `a` does not begin with /: write \"/a\"",
        "4 mistakes in the configuration",
    ];
    for part in wanted {
        assert!(output.contains(part), "{part} in\n{output}");
    }
    let (ok, defaults) = outcome(&["defaults"], KEY).await;
    std::fs::write(&file, defaults).expect("a file");
    let (checked, output) = outcome(&["check", "--config", &path], KEY).await;
    assert!(ok && checked, "{output}");
    let (ok, schema) = outcome(&["schema"], KEY).await;
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert!(ok && schema["properties"]["route"]["items"]["properties"]["cache"].is_object());
    let _ = std::fs::remove_file(file);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_configuration_is_valid_and_its_keys_are_those_of_the_examples() {
    let text = include_str!("../../src/demo.toml");
    let demo = parse(Some(text), "demo.toml", Overrides::default(), &Environment::default());
    let demo = demo.unwrap_or_else(|errors| panic!("{errors}"));
    let keys: Vec<_> = demo.consumers.iter().map(|consumer| consumer.keys[0]).collect();
    assert_eq!(keys, [digest(KEY), digest(integration::examples::GUEST)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_aggregate_is_the_demos_and_answers_as_the_readme_shows() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let section = readme.split("### Aggregates\n").nth(1).expect("a section on aggregates");
    let aggregate = section.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a toml block");
    assert!(include_str!("../../src/demo.toml").contains(aggregate), "the demo has another one");
    let mut mocks = Vec::new();
    let mut text = aggregate.to_owned();
    for kind in Kind::ALL {
        let mock = Mock::start(kind, 0).await.expect("a mock");
        text += &service(kind.service(), &[&mock]);
        mocks.push(mock);
    }
    let world = World::of(&text).await;
    let shown = [
        ("/api/shop/orders/1", "browser", ""),
        ("/api/shop/orders/1", "phone", ""),
        ("/api/shop/orders/2", "browser", "products;reason=status;status=404;count=1"),
    ];
    for (path, who, partial) in shown {
        let page = world.client.ask(Method::GET, path, &[("x-api-key", KEY), ("x-client", who)], "").await;
        assert_eq!((page.status, page.header("lictor-partial")), (200, partial), "{path}: {}", page.body);
        assert!(readme.contains(&format!("\n{}\n", page.body)), "the README does not show {}", page.body);
        assert!(readme.contains(&format!("lictor-partial: {partial}")), "the README does not show {partial}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_traffic_that_cargo_pgo_counts_is_answered_and_the_program_ends_by_itself() {
    let folder = std::env::temp_dir().join(format!("lictor-training-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let lictor = tokio::task::block_in_place(|| built(&["lictor"])).expect("it builds").remove(0);
    assert_eq!(train(&lictor, &folder, 50).await, Ok(()), "each kind of request, once at least");
    let _ = std::fs::remove_dir_all(folder);
}
