//! Whose doing it was, over real sockets: an instance is not blamed for its clients.

use std::net::SocketAddr;
use std::time::Duration;

use integration::world::World;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// An instance as many servers are: it gives an upload up when it must wait for it, without a word, and reflects what it finds in the
/// query into a header. Everything else is answered with 200.
async fn instance() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let answer = match head.split_once("?next=") {
            _ if head.starts_with("POST") => {
                let mut body = [0; 10];
                match tokio::time::timeout(Duration::from_millis(1500), stream.read_exact(&mut body)).await {
                    Ok(read) => drop(read?),
                    Err(_) => return Ok(()),
                }
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
            }
            Some((_, next)) if next.starts_with("%01") => {
                "HTTP/1.1 302 Found\r\nLocation: /\u{1}\r\nContent-Length: 0\r\n\r\n"
            }
            Some((_, next)) if next.starts_with("twice") => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn world(instances: &[SocketAddr]) -> World {
    let instances: Vec<_> = instances.iter().map(|address| format!("\"{address}\"")).collect();
    let service = format!("[[service]]\nname = \"user_service\"\ninstances = [{}]\n", instances.join(", "));
    World::of(&format!("{service}[api]\nauth = false\n")).await
}

/// The states of all breakers of the service.
async fn breakers(world: &World) -> Vec<String> {
    let service = world.service("user_service").await;
    let instances = service["instances"].as_array().expect("instances").clone();
    instances.iter().map(|instance| instance["breaker"]["state"].as_str().expect("a state").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_stand_still_or_trickle_trip_nobody() {
    let world = world(&[instance().await, instance().await]).await;
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..16 {
        let address = world.address;
        uploads.spawn(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let (mut reading, mut writing) = stream.into_split();
            let head = "POST /api/user_service/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1";
            writing.write_all(head.as_bytes()).await.expect("it is taken");
            // Half of them send another byte again and again, and never enough of them.
            let trickle = async {
                for _ in 0..if number % 2 == 0 { 8 } else { 0 } {
                    tokio::time::sleep(Duration::from_millis(400)).await; // the pace of a slow client
                    let _ = writing.write_all(b"1").await;
                }
                std::future::pending::<()>().await
            };
            let mut answer = [0; 2048];
            let length = tokio::select! {
                read = reading.read(&mut answer) => read.expect("an answer"),
                () = trickle => 0,
            };
            String::from_utf8_lossy(&answer[..length]).into_owned()
        });
    }
    while let Some(answer) = uploads.join_next().await {
        let answer = answer.expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"upload_stalled\""), "{answer}");
    }
    assert_eq!(breakers(&world).await, ["closed", "closed"]);
    assert_eq!(world.client.get("/api/user_service/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_a_client_provokes_and_we_refuse_trip_neither_the_only_instance_nor_one_of_two() {
    for instances in [vec![instance().await], vec![instance().await, instance().await]] {
        let world = world(&instances).await;
        for next in ["%01", "twice"] {
            for _ in 0..30 {
                let answer = world.client.get(&format!("/api/user_service/x?next={next}")).await;
                assert_eq!((answer.status, &*answer.reason()), (502, "bad_answer"), "{}", answer.body);
            }
        }
        assert!(breakers(&world).await.iter().all(|state| state == "closed"));
        assert_eq!(world.client.get("/api/user_service/x").await.status, 200);
    }
}
