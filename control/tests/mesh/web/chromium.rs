//! Pages in a real browser.

use serde_json::json;

use crate::harness::{Authenticator, Browser, Chromium, Node, PASSWORD, Site};

pub(super) const ALICE: &str = "alice@example.com";

/// Sets up an account, and is signed in.
pub(super) async fn sign_up(
    browser: &mut Chromium,
    site: &Site,
    arguments: &[&str],
) -> Authenticator {
    let path = site.control.invite(arguments);
    browser.go(&path).await;
    let letters = browser
        .run("return document.querySelector('code').innerText")
        .await;
    let letters = format!("<code>{}</code>", letters.as_str().expect("letters"));
    let mut authenticator = Authenticator::of(&letters);
    browser.fill("password", PASSWORD).await;
    browser.fill("repeated", PASSWORD).await;
    browser.fill("code", &authenticator.code()).await;
    browser.press("button").await;
    browser.see("Your role in this mesh").await;
    authenticator
}

#[tokio::test]
async fn a_person_signs_up_in_and_out() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    let mut authenticator = sign_up(&mut browser, &site, &[ALICE]).await;
    browser.see(ALICE).await;
    browser.press("header button").await;
    browser.see("Code from your authenticator app").await;
    assert_eq!(browser.path().await, "/sign-in");
    browser.go("/devices").await;
    browser.fill("login", ALICE).await;
    browser.fill("password", PASSWORD).await;
    browser.fill("code", &authenticator.code()).await;
    browser.press("main button").await;
    browser.see("Only administrators").await;
    assert_eq!(
        browser.path().await,
        "/devices",
        "where the person wanted to"
    );
    let said = browser.complaints().await;
    let said: Vec<&String> = said.iter().filter(|said| !said.contains("403")).collect();
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test]
async fn a_person_lets_a_host_in_with_a_browser() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    let mut laptop = Node::new(site.control.address);
    let path = laptop.page_to_join("laptop", &[]).await;
    browser.go(&path).await;
    let seen = browser.see("Let a host in?").await;
    assert!(seen.contains(&laptop.key.public().fingerprint()), "{seen}");
    browser.press("button[value=approve]").await;
    browser.see("is part of the mesh now").await;
    assert_eq!(laptop.wait_to_join().await.status, 200);
    assert!(laptop.id.is_some());
    let said = browser.complaints().await;
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test]
async fn pages_fit_a_phone_and_the_dark() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    let path = site.control.invite(&[ALICE]);
    let mut grounds = Vec::new();
    for dark in [false, true] {
        if dark {
            browser.darken().await;
        }
        for path in ["/sign-in", &path] {
            browser.go(path).await;
            let script = "const root = document.documentElement;
                return [root.scrollWidth - root.clientWidth, document.scripts.length,
                    getComputedStyle(document.body).backgroundColor]";
            let found = browser.run(script).await;
            assert_eq!(found[0], 0, "{path} is wider than the screen");
            assert_eq!(found[1], 0, "{path} has scripts");
            grounds.push(found[2].clone());
        }
    }
    assert_eq!(grounds[0], grounds[1]);
    assert_ne!(grounds[0], grounds[2], "the dark is not dark");
    let said = browser.complaints().await;
    assert!(said.is_empty(), "{said:?}");
}

/// Gives the browser an authenticator that a person has unlocked, or does not unlock.
async fn add_authenticator(browser: &mut Chromium, unlocked: bool) -> String {
    let wish = json!({
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": true,
        "hasUserVerification": true,
        "isUserVerified": unlocked,
    });
    let id = browser.ask("POST", "/webauthn/authenticator", &wish).await;
    id.as_str().expect("a number").to_owned()
}

async fn unlock(browser: &mut Chromium, authenticator: &str, unlocked: bool) {
    let path = format!("/webauthn/authenticator/{authenticator}/uv");
    let wish = json!({ "isUserVerified": unlocked });
    browser.ask("POST", &path, &wish).await;
}

#[tokio::test]
async fn a_passkey_signs_in_alone_until_it_is_removed() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    let authenticator = add_authenticator(&mut browser, true).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    browser.go("/passkeys").await;
    browser.fill("name", "this browser").await;
    browser.press("form[data-passkey] button").await;
    browser.see("this browser, added 0 days ago").await;
    browser.press("header button").await;

    browser.see("Sign in with a passkey").await;
    unlock(&mut browser, &authenticator, false).await;
    browser.press("form[data-passkey] button").await;
    browser.see("did not give a passkey").await;
    unlock(&mut browser, &authenticator, true).await;
    browser.go("/sign-in?next=%2Fpasskeys").await;
    browser.press("form[data-passkey] button").await;
    browser
        .see("this browser, added 0 days ago, used 0 days ago")
        .await;
    assert_eq!(browser.path().await, "/passkeys");
    let log = site.control.admin(&["audit", "--action", "passkey"]);
    assert!(log.contains("passkey.add"), "{log}");

    browser.press("main form button.quiet").await;
    browser.go("/passkeys").await;
    let seen = browser.see("A name for it").await;
    assert!(!seen.contains("this browser"), "{seen}");
    let said = browser.complaints().await;
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test]
async fn a_page_for_a_passkey_is_good_after_a_restart() {
    let mut site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    add_authenticator(&mut browser, true).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    browser.go("/passkeys").await;
    browser.see("Add a passkey").await;
    site.control.restart_in_place();
    browser.fill("name", "this browser").await;
    browser.press("form[data-passkey] button").await;
    browser.see("this browser, added 0 days ago").await;
    browser.press("header button").await;

    browser.see("Sign in with a passkey").await;
    site.control.restart_in_place();
    browser.press("form[data-passkey] button").await;
    browser.see(ALICE).await;
}

#[tokio::test]
async fn a_field_is_filled_as_soon_as_it_is_shown() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    browser.go("/passkeys").await;
    browser.see("Add a passkey").await;
    let show_late = "const form = document.querySelector('form[data-passkey]');
        form.hidden = true;
        setTimeout(() => { form.hidden = false; }, 500);";
    browser.run(show_late).await;
    browser.fill("name", "a key").await;
    let name = browser.run("return document.getElementById('name').value");
    assert_eq!(name.await, "a key");
}

#[tokio::test]
async fn a_passkey_is_gone_with_its_account() {
    let site = Site::start(&[]);
    let mut browser = Chromium::start(&site).await;
    add_authenticator(&mut browser, true).await;
    sign_up(&mut browser, &site, &["bob@example.com"]).await;
    add_passkey(&mut browser).await;
    browser.press("header button").await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    // The authenticator has one for bob, and would give it first.
    let path = site.control.invite(&["bob@example.com"]);
    let mut other = Browser::new(&site.control);
    other.open(&path).await;
    let mut app = Authenticator::of(&other.page);
    let code = app.code();
    let fields = [
        ("password", PASSWORD),
        ("repeated", PASSWORD),
        ("code", &code),
    ];
    assert_eq!(other.submit(&path, &fields).await.status, 303);
    add_passkey(&mut browser).await;
    browser.press("header button").await;
    site.control.admin(&["users", "delete", ALICE]);
    browser.go("/sign-in").await;
    let seen = browser.see("Code from your authenticator app").await;
    assert!(!seen.contains("passkey"), "nobody has one any more: {seen}");
}

async fn add_passkey(browser: &mut Chromium) {
    browser.go("/passkeys").await;
    browser.fill("name", "a key").await;
    browser.press("form[data-passkey] button").await;
    browser.see("a key, added").await;
}
