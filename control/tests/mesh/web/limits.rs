//! Many tries.

use crate::harness::{Browser, Control, PASSWORD};

const ALICE: &str = "alice@example.com";

#[tokio::test]
async fn an_attack_is_slowed_down_and_does_not_lock_the_owner_out() {
    let control = Control::start_for_people(&[]);
    let (mut owner, mut authenticator) = control.person(ALICE, "member").await;
    let mut attacker = Browser::new(&control);
    let mut statuses = Vec::new();
    for n in 0..12 {
        let answer = attacker
            .sign_in(ALICE, &format!("guess number {n}"), "123456")
            .await;
        statuses.push(answer.status);
        if answer.status == 429 {
            let wait: u64 = answer.header("retry-after").parse().expect("seconds");
            assert!((1..=301).contains(&wait), "{wait}");
            assert!(answer.text().contains("seconds"), "{}", answer.text());
        }
    }
    assert_eq!(statuses[..10], [403; 10]);
    assert_eq!(statuses[10..], [429; 2]);
    let code = authenticator.code();
    let right = attacker.sign_in(ALICE, PASSWORD, &code).await;
    assert_eq!(
        right.status, 429,
        "from elsewhere not even what is right counts"
    );
    assert_eq!(owner.sign_in(ALICE, PASSWORD, &code).await.status, 303);
}

#[tokio::test]
async fn a_browser_that_is_known_to_one_is_not_known_to_another() {
    let control = Control::start_for_people(&[]);
    let (mut mallory, _) = control.person("mallory@example.com", "member").await;
    control.person(ALICE, "member").await;
    let mut statuses = Vec::new();
    for n in 0..11 {
        let answer = mallory
            .sign_in(ALICE, &format!("guess number {n}"), "123456")
            .await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses[10], 429, "the bucket is that of everybody");
}
