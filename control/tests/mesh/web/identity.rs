//! Signing in with an identity provider.

use serde_json::{Value, json};

use crate::harness::{Browser, CLIENT, Control, IdentityProvider, Key, SECRET, SUBJECT, now};

const ALICE: &str = "alice@example.com";
const START: &str = "/sign-in/provider?next=%2F%3Fx%3D1";

struct World {
    provider: IdentityProvider,
    control: Control,
    /// The file with the client's secret is read at each start.
    _directory: tempfile::TempDir,
}

impl World {
    async fn new(arguments: &[&str]) -> Self {
        let provider = IdentityProvider::start().await;
        let directory = tempfile::tempdir().expect("a directory");
        let secret = directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("writes");
        let secret = secret.to_str().expect("UTF-8");
        let own = [
            "--oidc-issuer",
            &provider.issuer,
            "--oidc-client-id",
            CLIENT,
            "--oidc-client-secret-file",
            secret,
        ];
        let control = Control::start_for_people(&[&own, arguments].concat());
        Self {
            provider,
            control,
            _directory: directory,
        }
    }

    /// Leads a browser to the provider and back; the last answer's status.
    async fn sign_in(&self, browser: &mut Browser, start: &str) -> u16 {
        let answer = browser.open(start).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let back = self.provider.visit(answer.header("location"));
        let answer = browser.open(&back).await;
        answer.status
    }

    async fn try_it(&self) -> (u16, Browser) {
        let mut browser = Browser::new(&self.control);
        let status = self.sign_in(&mut browser, START).await;
        (status, browser)
    }
}

#[tokio::test]
async fn a_person_signs_in_with_the_provider_and_becomes_a_user() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let mut browser = Browser::new(&world.control);
    let page = browser.open("/sign-in?next=%2F%3Fx%3D1").await.text();
    assert!(
        page.contains("/sign-in/provider?next=%2F%3Fx%3D1"),
        "{page}"
    );
    let answer = browser.open(START).await;
    let back = world.provider.visit(answer.header("location"));
    let answer = browser.open(&back).await;
    assert_eq!(answer.header("location"), "/?x=1", "{}", answer.text());
    assert!(browser.open("/").await.text().contains(ALICE));
    let users = world.control.admin(&["users", "list"]);
    assert!(users.contains(ALICE) && users.contains("member"), "{users}");
    assert!(!world.control.has_logged(SECRET));
}

#[tokio::test]
async fn whom_the_provider_lets_in_has_no_passkey_beside_it() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let (status, mut browser) = world.try_it().await;
    assert_eq!(status, 303);
    assert!(!browser.open("/").await.text().contains("/passkeys"));
    let answer = browser.open("/passkeys").await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[tokio::test]
async fn without_a_list_only_users_sign_in() {
    let world = World::new(&[]).await;
    let (status, browser) = world.try_it().await;
    assert_eq!(status, 409);
    assert!(browser.page.contains("users create"), "{}", browser.page);
    world
        .control
        .admin(&["users", "create", ALICE, "--role", "admin"]);
    let (status, mut browser) = world.try_it().await;
    assert_eq!(status, 303);
    assert!(browser.open("/").await.text().contains("admin"));
}

#[tokio::test]
async fn only_who_is_on_the_lists_signs_in() {
    for (list, status) in [
        (["--oidc-group", "ops"], 303),
        (["--oidc-group", "admins"], 403),
        (["--oidc-user", ALICE], 303),
        (["--oidc-user", "bob@example.com"], 403),
        (["--oidc-domain", "example.org"], 403),
    ] {
        let world = World::new(&list).await;
        assert_eq!(world.try_it().await.0, status, "{list:?}");
    }
}

#[tokio::test]
async fn what_a_token_does_not_say_is_asked_for_about_the_same_person() {
    let world = World::new(&["--oidc-group", "ops"]).await;
    world.provider.inside().tells_apart = Some("another");
    let (status, browser) = world.try_it().await;
    assert_eq!(status, 403, "{}", browser.page);
    world.provider.inside().tells_apart = Some(SUBJECT);
    let (status, mut browser) = world.try_it().await;
    assert_eq!(status, 303, "{}", browser.page);
    assert!(browser.open("/").await.text().contains(ALICE));
}

#[tokio::test]
async fn a_token_that_is_not_in_order_signs_nobody_in() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let other = IdentityProvider::start().await;
    for lie in [
        json!({ "iss": other.issuer }),
        json!({ "iss": null }),
        json!({ "aud": "another client" }),
        json!({ "aud": [CLIENT, "another client"] }),
        json!({ "aud": null }),
        json!({ "azp": "another client" }),
        json!({ "nonce": "of another sign-in" }),
        json!({ "nonce": null }),
        json!({ "exp": now() - 1 }),
        json!({ "exp": null }),
        json!({ "sub": null }),
        json!({ "email": null }),
        json!({ "email_verified": false }),
        json!({ "email_verified": null }),
        json!({ "email": "alice@example.org" }),
        json!({ "email": "alice@example.com@example.com" }),
        json!({ "auth_time": now() - 13 * 3_600 }),
        json!({ "at_hash": "of another token" }),
    ] {
        world.provider.inside().lies = lie.clone();
        let (status, mut browser) = world.try_it().await;
        assert_eq!(status, 403, "{lie}: {}", browser.page);
        assert_eq!(browser.open("/").await.status, 303, "{lie}");
    }
    assert!(!world.control.admin(&["users", "list"]).contains("alice"));
    world.provider.inside().lies = json!({});
    assert_eq!(world.try_it().await.0, 303);
}

#[tokio::test]
async fn a_token_that_anybody_could_have_signed_signs_nobody_in() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    for algorithm in ["none", "HS256"] {
        world.provider.inside().signature = Some(algorithm);
        let (status, browser) = world.try_it().await;
        assert_eq!(status, 403, "{algorithm}: {}", browser.page);
    }
    world.provider.inside().signature = None;
    {
        let mut inside = world.provider.inside();
        inside.keys.insert(0, Key::rsa("a stranger's"));
        inside.hides_key = true;
    }
    assert_eq!(world.try_it().await.0, 403);
}

#[tokio::test]
async fn the_providers_keys_may_change() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    assert_eq!(world.try_it().await.0, 303);
    world.provider.inside().keys = vec![Key::ec("second")];
    let mut statuses = Vec::new();
    // The provider is not asked more often than every ten seconds.
    let began = now();
    while statuses.last() != Some(&303) && now() < began + 30 {
        statuses.push(world.try_it().await.0);
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(statuses.last(), Some(&303), "{statuses:?}");
}

#[tokio::test]
async fn an_answer_belongs_to_one_question_of_one_browser() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let mut alice = Browser::new(&world.control);
    let answer = alice.open(START).await;
    let back = world.provider.visit(answer.header("location"));
    let mut victim = Browser::new(&world.control);
    assert_eq!(victim.open(&back).await.status, 403, "it has asked nothing");
    victim.open(START).await;
    assert_eq!(
        victim.open(&back).await.status,
        403,
        "it has asked something else"
    );
    let foreign = back.replace("127.0.0.1", "127.0.0.2");
    let mut mixed = alice.clone();
    assert_eq!(
        mixed.open(&foreign).await.status,
        403,
        "another provider's word"
    );
    assert_eq!(
        alice.open(&back).await.status,
        403,
        "a question is good for one answer"
    );

    let mut alice = Browser::new(&world.control);
    assert_eq!(world.sign_in(&mut alice, START).await, 303);
    let answer = alice.open("/sign-in/provider/back?state=x").await;
    assert_eq!(answer.status, 403);
    assert_eq!(alice.open("/").await.status, 200, "the session stays");
}

#[tokio::test]
async fn a_sign_in_that_is_under_way_outlives_control() {
    let mut world = World::new(&["--oidc-domain", "example.com"]).await;
    let (mut alice, mut other) = (Browser::new(&world.control), Browser::new(&world.control));
    let answer = alice.open(START).await;
    let back = world.provider.visit(answer.header("location"));
    other.open(START).await;
    world.control.restart_after_kill();
    for browser in [&mut alice, &mut other] {
        browser.moved_to(&world.control);
    }
    let answer = other.open(&back).await;
    assert_eq!(answer.status, 403, "it has asked something else");
    let early = alice.clone();
    let answer = alice.open(&back).await;
    assert_eq!(answer.header("location"), "/?x=1", "{}", answer.text());
    assert!(alice.open("/").await.text().contains(ALICE));
    assert!(!alice.cookies.contains_key("__Host-meshd-provider"));
    let mut again = early;
    assert_eq!(again.open(&back).await.status, 403, "one answer");
    world.control.restart_after_kill();
    again.moved_to(&world.control);
    assert_eq!(again.open(&back).await.status, 403, "nor after a restart");
}

#[tokio::test]
async fn what_a_browser_keeps_of_a_sign_in_says_nothing_and_cannot_be_changed() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let mut alice = Browser::new(&world.control);
    let answer = alice.open(START).await;
    let back = world.provider.visit(answer.header("location"));
    let cookie = alice.cookies["__Host-meshd-provider"].clone();
    let (_, state) = back.split_once("state=").expect("a state");
    let state = state.split('&').next().expect("a value");
    assert!(!cookie.contains(state), "{cookie}");
    let (first, rest) = cookie.split_at(1);
    let other = if first == "A" { "B" } else { "A" };
    let mut changed = alice.clone();
    let place = "__Host-meshd-provider".to_owned();
    changed.cookies.insert(place, format!("{other}{rest}"));
    assert_eq!(changed.open(&back).await.status, 403);
    assert_eq!(alice.open(&back).await.status, 303);
}

#[tokio::test]
async fn who_was_removed_at_the_provider_is_not_let_in() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    assert_eq!(world.try_it().await.0, 303);
    let mut browser = Browser::new(&world.control);
    let answer = browser.open(START).await;
    let back = world.provider.visit(answer.header("location"));
    world.provider.inside().person = None;
    assert_eq!(
        browser.open(&back).await.status,
        403,
        "between page and token"
    );
    let (status, browser) = world.try_it().await;
    assert_eq!(status, 403);
    assert!(
        browser.page.contains("did not let you in"),
        "{}",
        browser.page
    );
}

#[tokio::test]
async fn an_address_that_somebody_else_has_now_is_not_the_user() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    assert_eq!(world.try_it().await.0, 303);
    let successor =
        |email: &str| Some(json!({ "sub": "another", "email": email, "email_verified": true }));
    world.provider.inside().person = successor(ALICE);
    let (status, browser) = world.try_it().await;
    assert_eq!(status, 409);
    assert!(browser.page.contains("somebody else"), "{}", browser.page);
    world.control.admin(&["users", "delete", ALICE]);
    assert_eq!(world.try_it().await.0, 303);
    // Who is known keeps the login, whatever address the provider names.
    world.provider.inside().person = successor("new@example.com");
    let (status, mut browser) = world.try_it().await;
    assert_eq!(status, 303);
    assert!(browser.open("/").await.text().contains(ALICE));
}

#[tokio::test]
async fn a_new_sign_in_is_new_at_the_provider() {
    let world = World::new(&["--oidc-domain", "example.com"]).await;
    let again = "/sign-in/provider?next=%2Fdevices&again=1";
    let hour = now() - 2 * 3_600;
    world.provider.inside().proved_at = hour;
    world
        .control
        .admin(&["users", "create", ALICE, "--role", "admin"]);
    let (status, mut browser) = world.try_it().await;
    assert_eq!(status, 303);
    let answer = browser.open("/devices").await;
    let wanted = "/sign-in?next=%2Fdevices&again=1";
    assert_eq!(
        answer.header("location"),
        wanted,
        "two hours are too long ago"
    );
    let page = browser.open(wanted).await.text();
    assert!(
        page.contains("/sign-in/provider?next=%2Fdevices&amp;again=1"),
        "{page}"
    );
    for lie in [
        json!({ "auth_time": hour }),
        json!({ "auth_time": Value::Null }),
    ] {
        world.provider.inside().lies = lie.clone();
        assert_eq!(world.sign_in(&mut browser, again).await, 403, "{lie}");
        assert!(browser.page.contains("just signed in"), "{}", browser.page);
    }
    world.provider.inside().lies = json!({});
    assert_eq!(world.sign_in(&mut browser, again).await, 303);
    assert_eq!(browser.open("/devices").await.status, 200);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be() {
    let control = Control::start_for_people(&[
        "--oidc-issuer",
        "http://127.0.0.1:1",
        "--oidc-client-id",
        CLIENT,
    ]);
    let mut browser = Browser::new(&control);
    let answer = browser.open(START).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("cannot be reached"),
        "{}",
        answer.text()
    );
    let without = Control::start_for_people(&[]);
    let answer = Browser::new(&without).open(START).await;
    assert_eq!(answer.status, 404);
}

#[test]
fn an_address_that_others_can_listen_to_is_refused() {
    for issuer in ["http://id.example.com", "id.example.com"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_meshd-control"))
            .args(["serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(tempfile::tempdir().expect("a directory").path())
            .args(["--oidc-issuer", issuer, "--oidc-client-id", CLIENT])
            .args(["--socket", "/nonexistent/admin.sock"])
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("https://HOST"), "{said}");
    }
}
