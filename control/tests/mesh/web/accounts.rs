//! How people get an account, and get back into it.

use std::fs;

use crate::harness::{Authenticator, Browser, Control, ORIGIN, PASSWORD};

const ALICE: &str = "alice@example.com";

#[tokio::test]
async fn a_link_makes_an_account_once() {
    let control = Control::start_for_people(&[]);
    assert!(control.has_logged("users invite LOGIN --role admin"));
    let path = control.invite(&[ALICE, "--role", "admin"]);
    let mut browser = Browser::new(&control);
    assert_eq!(browser.open(&path).await.status, 200);
    assert!(
        browser.page.contains("<svg class=\"qr\""),
        "{}",
        browser.page
    );
    let mut authenticator = Authenticator::of(&browser.page);
    let code = authenticator.code();
    for (password, repeated, code, said) in [
        ("too short", "too short", code.as_str(), "too short"),
        (PASSWORD, "something else", &code, "differ"),
        (PASSWORD, PASSWORD, "000000", "code is not right"),
    ] {
        let fields = [
            ("password", password),
            ("repeated", repeated),
            ("code", code),
        ];
        let answer = browser.submit(&path, &fields).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains(said), "{}", answer.text());
        assert!(!answer.text().contains(PASSWORD), "{}", answer.text());
    }
    let fields = [
        ("password", PASSWORD),
        ("repeated", PASSWORD),
        ("code", &code),
    ];
    assert_eq!(browser.submit(&path, &fields).await.status, 303);
    let home = browser.open("/").await;
    assert_eq!(home.status, 200);
    assert!(
        home.text().contains(ALICE) && home.text().contains("admin"),
        "{}",
        home.text()
    );

    assert_eq!(Browser::new(&control).open(&path).await.status, 404);
    let mut elsewhere = Browser::new(&control);
    let code = authenticator.code();
    assert_eq!(elsewhere.sign_in(ALICE, PASSWORD, &code).await.status, 303);
    assert_eq!(elsewhere.open("/").await.status, 200);
}

#[tokio::test]
async fn a_newer_link_takes_the_place_of_the_older_one() {
    let control = Control::start_for_people(&[]);
    let older = control.invite(&[ALICE]);
    let newer = control.invite(&[ALICE]);
    let mut browser = Browser::new(&control);
    assert_eq!(browser.open(&older).await.status, 404);
    assert_eq!(browser.open(&newer).await.status, 200);
    assert_eq!(browser.open("/account/nonsense").await.status, 404);
}

#[tokio::test]
async fn a_link_makes_the_user_and_never_changes_a_role() {
    let control = Control::start_for_people(&[]);
    control.invite(&[ALICE, "--role", "admin"]);
    let users = control.admin(&["users", "list"]);
    assert!(users.contains(ALICE) && users.contains("admin"), "{users}");
    control.invite(&[ALICE]);
    control.invite(&[ALICE, "--role", "admin"]);
    let refused = control.refused(&["users", "invite", ALICE, "--role", "member"]);
    assert!(refused.contains("leave --role out"), "{refused}");
    let refused = control.refused(&["users", "invite", "alice"]);
    assert!(refused.contains("e-mail address"), "{refused}");
}

#[tokio::test]
async fn a_new_link_ends_what_the_old_password_began() {
    let control = Control::start_for_people(&[]);
    let (mut lost, mut old_app) = control.person(ALICE, "member").await;
    assert_eq!(lost.open("/").await.status, 200);
    let path = control.invite(&[ALICE]);
    assert_eq!(
        lost.open("/").await.status,
        200,
        "a link alone changes nothing"
    );

    let mut browser = Browser::new(&control);
    assert_eq!(browser.open(&path).await.status, 200);
    let code = Authenticator::of(&browser.page).code();
    let password = "another horse entirely";
    let fields = [
        ("password", password),
        ("repeated", password),
        ("code", &code),
    ];
    assert_eq!(browser.submit(&path, &fields).await.status, 303);
    assert_eq!(lost.open("/").await.status, 303, "the old session is over");
    let answer = lost.sign_in(ALICE, PASSWORD, &old_app.code()).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn secrets_are_not_on_the_disk() {
    let control = Control::start_for_people(&[]);
    let pending = control.invite(&["bob@example.com"]);
    let (browser, _) = control.person(ALICE, "member").await;
    let link = pending.rsplit('/').next().expect("a secret").to_owned();
    let mut secrets = vec![PASSWORD.to_owned(), link];
    secrets.extend(browser.cookies.into_values());
    assert!(secrets.len() >= 4, "a session and a known browser");
    for entry in fs::read_dir(control.state()).expect("a directory") {
        let path = entry.expect("an entry").path();
        let content = fs::read(&path).expect("reads");
        for secret in &secrets {
            let found = content
                .windows(secret.len())
                .any(|w| w == secret.as_bytes());
            assert!(!found, "{} holds a secret", path.display());
        }
    }
    assert!(!control.has_logged(&secrets[1]) && !control.has_logged(PASSWORD));
}

#[tokio::test]
async fn without_a_url_links_name_this_host_and_the_port() {
    let control = Control::start();
    let link = control.admin(&["users", "invite", ALICE]);
    let port = control.address.port();
    assert!(link.starts_with("https://"), "{link}");
    assert!(link.contains(&format!(":{port}/account/")), "{link}");
    assert!(!link.starts_with(ORIGIN), "{link}");
}
