//! Pages in a real browser.

use crate::harness::{Authenticator, Chromium, Node, PASSWORD, Site};

const ALICE: &str = "alice@example.com";

/// Sets up an account, and is signed in.
async fn sign_up(browser: &mut Chromium, site: &Site, arguments: &[&str]) -> Authenticator {
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
