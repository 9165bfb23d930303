//! Connections that are asked to move while the end is announced.

use std::time::Duration;

use super::*;

#[test]
fn one_connection_after_the_other_is_asked_to_move_while_the_end_is_announced_and_none_is_closed_unasked() {
    paused(async {
        let rig = Rig::new();
        let mut clients: Vec<_> = (0..8).map(|_| rig.open()).collect();
        let mut idle = rig.open();
        ask(&mut idle, "/now").await;
        answer(&mut idle).await;
        rig.connections.announce(Duration::from_secs(10));
        let (mut moved, began) = (Vec::new(), Instant::now());
        while !clients.is_empty() {
            let mut stay = Vec::new();
            for mut client in clients {
                ask(&mut client, "/now").await;
                let answer = answer(&mut client).await.to_ascii_lowercase();
                assert!(answer.starts_with("http/1.1 200"), "{answer}");
                if answer.contains("connection: close") {
                    assert_eq!(rest(&mut client).await, (String::new(), 0));
                    moved.push(began.elapsed().as_secs());
                } else {
                    stay.push(client);
                }
            }
            clients = stay;
            tokio::time::sleep(TICK).await; // between their requests
        }
        assert!(moved.windows(2).all(|two| two[0] <= two[1]) && *moved.last().expect("all moved") < 9, "{moved:?}");
        assert!(moved.iter().all(|at| moved.iter().filter(|other| *other == at).count() <= 2), "a burst: {moved:?}");
        // Who asks nothing is not closed before the end, and then at once.
        assert_eq!(rig.connections.count(), 1);
        rig.connections.drain();
        assert_eq!(rest(&mut idle).await, (String::new(), 0));
    });
}
