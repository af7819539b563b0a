//! Signing in and out.

use crate::harness::{Browser, Control, PASSWORD};

const ALICE: &str = "alice@example.com";

#[tokio::test]
async fn a_code_counts_once() {
    let control = Control::start_for_people(&[]);
    let (_, mut authenticator) = control.person(ALICE, "member").await;
    let mut browser = Browser::new(&control);
    let answer = browser
        .sign_in(ALICE, PASSWORD, &authenticator.used_code())
        .await;
    assert_eq!(answer.status, 403, "it was used for the account");
    let code = authenticator.code();
    assert_eq!(browser.sign_in(ALICE, PASSWORD, &code).await.status, 303);
    let mut other = Browser::new(&control);
    assert_eq!(other.sign_in(ALICE, PASSWORD, &code).await.status, 403);
    assert_eq!(other.open("/").await.status, 303);
}

#[tokio::test]
async fn one_code_in_two_browsers_at_a_time_signs_in_one() {
    let control = Control::start_for_people(&[]);
    let (_, mut authenticator) = control.person(ALICE, "member").await;
    let code = authenticator.code();
    let (mut one, mut two) = (Browser::new(&control), Browser::new(&control));
    let (one, two) = tokio::join!(
        one.sign_in(ALICE, PASSWORD, &code),
        two.sign_in(ALICE, PASSWORD, &code)
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 403]);
}

#[tokio::test]
async fn what_is_wrong_is_not_said() {
    let control = Control::start_for_people(&[]);
    let (_, mut authenticator) = control.person(ALICE, "member").await;
    control.admin(&["users", "create", "carol@example.com"]);
    let code = authenticator.code();
    let mut pages = Vec::new();
    for (login, password, code) in [
        (ALICE, PASSWORD, "123456x"),
        (ALICE, "a wrong password", code.as_str()),
        ("nobody@example.com", PASSWORD, &code),
        ("carol@example.com", PASSWORD, &code),
        ("carol@example.com", "", ""),
        (ALICE, &"x".repeat(2_000), &code),
    ] {
        let mut browser = Browser::new(&control);
        let answer = browser.sign_in(login, password, code).await;
        assert_eq!(answer.status, 403);
        let csrf = &browser.hidden()["csrf"];
        pages.push(answer.text().replace(login, "LOGIN").replace(csrf, "CSRF"));
    }
    assert!(pages[0].contains("not right"), "{}", pages[0]);
    assert!(pages.iter().all(|page| page == &pages[0]), "{pages:#?}");
    let mut browser = Browser::new(&control);
    assert_eq!(browser.sign_in(ALICE, PASSWORD, &code).await.status, 303);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_not_only_the_cookie() {
    let control = Control::start_for_people(&[]);
    let (mut browser, _) = control.person(ALICE, "member").await;
    let copy = browser.clone();
    assert_eq!(browser.open("/").await.status, 200);
    let answer = browser.submit("/sign-out", &[]).await;
    assert_eq!(answer.status, 303);
    assert!(!browser.cookies.contains_key("__Host-meshd"));
    let mut thief = copy;
    let answer = thief.open("/").await;
    assert_eq!(answer.header("location"), "/sign-in?next=%2F");
}

#[tokio::test]
async fn a_session_outlives_control_and_not_its_user() {
    let mut control = Control::start_for_people(&[]);
    let (mut browser, _) = control.person(ALICE, "member").await;
    control.restart_after_kill();
    browser.moved_to(&control);
    assert_eq!(browser.open("/").await.status, 200);
    control.admin(&["users", "delete", ALICE]);
    assert_eq!(browser.open("/").await.status, 303);
}

#[tokio::test]
async fn signing_in_leads_back_and_never_away() {
    let control = Control::start_for_people(&[]);
    let (mut browser, mut authenticator) = control.person(ALICE, "member").await;
    let answer = browser.open("/sign-in?next=%2F%3Fx%3D1").await;
    assert_eq!(
        answer.header("location"),
        "/?x=1",
        "who is signed in goes on"
    );
    for away in ["//evil.example", "https://evil.example", "/\\evil.example"] {
        let query = serde_urlencoded::to_string([("next", away)]).expect("a query");
        let answer = browser.open(&format!("/sign-in?{query}")).await;
        assert_eq!(answer.header("location"), "/", "{away}");
    }
    let before = browser.cookies["__Host-meshd"].clone();
    assert_eq!(
        browser
            .open("/sign-in?next=%2F%3Fx%3D1&again=1")
            .await
            .status,
        200
    );
    assert!(browser.page.contains(ALICE), "{}", browser.page);
    let code = authenticator.code();
    let fields = [("login", ALICE), ("password", PASSWORD), ("code", &code)];
    let answer = browser.submit("/sign-in", &fields).await;
    assert_eq!(answer.header("location"), "/?x=1");
    assert_ne!(browser.cookies["__Host-meshd"], before, "a new session");
    let mut old = browser.clone();
    old.cookies.insert("__Host-meshd".to_owned(), before);
    assert_eq!(old.open("/").await.status, 303, "the old one is over");
}

#[tokio::test]
async fn what_is_no_passkey_signs_nobody_in() {
    let control = Control::start_for_people(&[]);
    let mut browser = Browser::new(&control);
    for credential in ["", "{}", r#"{"id":"x","rawId":"eA","type":"public-key"}"#] {
        browser.open("/sign-in").await;
        let fields = [("credential", credential)];
        let answer = browser.submit("/sign-in/passkey", &fields).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    assert_eq!(browser.open("/passkeys").await.status, 303);
}

#[tokio::test]
async fn every_page_is_closed_in() {
    let control = Control::start_for_people(&[]);
    let (mut browser, _) = control.person(ALICE, "member").await;
    let link = control.invite(&["bob@example.com"]);
    for path in [
        "/",
        "/sign-in",
        "/sign-in?again=1",
        "/checks",
        "/nowhere",
        &link,
        "/account/x",
    ] {
        let answer = browser.open(path).await;
        let csp = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(csp.contains(part), "{path}: {csp}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(
            answer
                .header("strict-transport-security")
                .contains("max-age="),
            "{path}"
        );
        for inline in ["<script", "style=", "onclick", "javascript:"] {
            assert!(!answer.text().contains(inline), "{path} has {inline}");
        }
    }
    let style = browser.open("/style.css").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text().contains("prefers-color-scheme"));
}
