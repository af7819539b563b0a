//! Forms that no page of this server has sent.

use crate::harness::{Browser, Control, ORIGIN, PASSWORD};

const ALICE: &str = "alice@example.com";

#[tokio::test]
async fn a_form_needs_origin_and_token() {
    let control = Control::start_for_people(&[]);
    let (mut browser, _) = control.person(ALICE, "member").await;
    let (mut other, _) = control.person("mallory@example.com", "member").await;
    other.open("/").await;
    let others = other.hidden()["csrf"].clone();
    browser.open("/").await;
    let own = browser.hidden()["csrf"].clone();
    let origin = ("origin", ORIGIN);
    let site = ("sec-fetch-site", "cross-site");
    for (headers, csrf) in [
        (vec![], own.as_str()),
        (vec![("origin", "https://evil.example")], &own),
        (vec![("origin", "null")], &own),
        (vec![origin, site], &own),
        (vec![origin], ""),
        (vec![origin], &others),
    ] {
        let answer = browser.post("/sign-out", &headers, &[("csrf", csrf)]).await;
        assert_eq!(answer.status, 403, "{headers:?} {csrf}");
        assert!(answer.text().contains(ORIGIN), "{}", answer.text());
    }
    let answer = browser.post("/sign-out", &[origin], &[]).await;
    assert_eq!(answer.status, 403);
    assert_eq!(browser.open("/").await.status, 200, "nothing has happened");
    let same = ("sec-fetch-site", "same-origin");
    let answer = browser.post("/sign-out", &[same], &[("csrf", &own)]).await;
    assert_eq!(answer.status, 303);
}

#[tokio::test]
async fn nobody_is_signed_in_to_an_account_of_somebody_else() {
    let control = Control::start_for_people(&[]);
    let (_, mut authenticator) = control.person("mallory@example.com", "member").await;
    let mut mallory = Browser::new(&control);
    mallory.open("/sign-in").await;
    let csrf = mallory.hidden()["csrf"].clone();
    let code = authenticator.code();
    let fields = [
        ("csrf", csrf.as_str()),
        ("login", "mallory@example.com"),
        ("password", PASSWORD),
        ("code", &code),
        ("next", "/"),
    ];
    let mut victim = Browser::new(&control);
    let answer = victim
        .post("/sign-in", &[("origin", ORIGIN)], &fields)
        .await;
    assert_eq!(
        answer.status, 403,
        "the victim's browser has no such cookie"
    );
    victim.open("/sign-in").await;
    let answer = victim
        .post("/sign-in", &[("origin", ORIGIN)], &fields)
        .await;
    assert_eq!(answer.status, 403, "the token is of another browser");
    assert!(!victim.cookies.contains_key("__Host-meshd"));
}

#[tokio::test]
async fn a_long_form_is_not_read() {
    let control = Control::start_for_people(&[]);
    let mut browser = Browser::new(&control);
    browser.open("/sign-in").await;
    let password = "x".repeat(100_000);
    let fields = [("login", ALICE), ("password", &password), ("code", "1")];
    let answer = browser.submit("/sign-in", &fields).await;
    assert_eq!(answer.status, 400);
}
