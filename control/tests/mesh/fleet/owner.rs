//! A person whose hosts get new keys.

use tokio::sync::mpsc;

use super::host::Host;
use super::place::Place;
use crate::harness::{Browser, Node, page};
use meshd_contract::node_api::{JoinAnswer, JoinWait};

/// Renews each of the hosts that come, and gives them back.
pub(super) async fn renew_all(
    mut browser: Browser,
    mut place: Place,
    mut hosts: mpsc::UnboundedReceiver<Host>,
) -> Vec<Host> {
    let mut renewed = Vec::new();
    while let Some(mut host) = hosts.recv().await {
        renew(&mut browser, &mut place, &mut host).await;
        renewed.push(host);
    }
    renewed
}

async fn renew(browser: &mut Browser, place: &mut Place, host: &mut Host) {
    let mut new = Node::new(place.now());
    let renewal = host.node.renewal(&new);
    let name = host.registered.name.to_string();
    let body = new.join_request(&name, &[], Some(renewal));
    let path = page(&place.send(&mut new, "/v1/join", body).await);
    approve(browser, place, &path).await;

    let wait = JoinWait {
        node_key: new.key.public(),
    };
    let wait = serde_json::to_vec(&wait).expect("JSON");
    let answer = place.send(&mut new, "/v1/join/wait", wait).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let JoinAnswer::Joined(registered) = answer.json() else {
        panic!("what was approved is lost: {}", answer.text());
    };
    assert_eq!(registered, host.registered, "it stays the node that it was");
    new.id = Some(registered.node);
    let mut old = std::mem::replace(&mut host.node, new);
    let answer = place.send(&mut old, "/v1/report", b"{}".to_vec()).await;
    assert_eq!(answer.status, 401, "the old key counts: {}", answer.text());
}

/// Until control has said so once; the second time it says that there is nothing left to do.
async fn approve(browser: &mut Browser, place: &mut Place, path: &str) {
    loop {
        browser.address = place.now();
        let opened = browser.attempt_open(path).await;
        let submitted = match opened {
            Ok(answer) if answer.status == 409 => return,
            Ok(_) => {
                browser
                    .attempt_submit(path, &[("decision", "approve")])
                    .await
            }
            Err(error) => Err(error),
        };
        match submitted {
            Ok(answer) => {
                assert!([200, 409].contains(&answer.status), "{}", answer.text());
                return;
            }
            Err(error) => place.next(error).await,
        }
    }
}
