//! The page of a check, in a real browser for the most part.

use meshd_contract::check::{CheckGrant, CheckNeed, CheckRefusal, LoginClass, Prompt};
use meshd_contract::document::Version;
use meshd_contract::key::PublicKey;
use meshd_contract::node_api::{CheckId, CheckRequest, CheckState};
use meshd_contract::signed::{self, Expected};
use meshd_contract::ssh_rule::CheckPeriod;
use meshd_contract::time::Timestamp;
use serde_json::json;

use super::chromium::{ALICE, sign_up};
use crate::harness::{Authenticator, Chromium, Control, Events, Node, ORIGIN, PASSWORD, Site, now};

/// Each login needs an answer of its own, so that none opens the next one.
const POLICY: &str = r#"{
    "tagOwners": { "tag:web": ["alice@example.com"] },
    "acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
    "ssh": [{ "action": "check", "src": ["alice@example.com"], "dst": ["tag:web"],
        "users": ["alice"], "checkPeriod": "always" }],
}"#;

/// Alice's laptop, and web1 that asks control about logins from there.
pub(super) struct Mesh {
    laptop: Node,
    web1: Node,
    key: PublicKey,
    /// Control makes documents for nodes that listen.
    _stream: Events,
    asked: u64,
}

/// A login that waits.
pub(super) struct Login {
    id: String,
    connection: String,
    pub(super) path: String,
    number: u16,
}

impl Mesh {
    pub(super) async fn of(control: &Control) -> Self {
        control.set_policy(POLICY);
        let laptop = control.join("laptop", ALICE).await;
        let key = control.admin(&["authkeys", "create", "--tag", "web"]);
        let mut web1 = Node::new(control.address);
        assert_eq!(web1.register(key.trim(), "web1").await.status, 200);
        let mut stream = web1.follow().await;
        stream.next().await.expect("the rules");
        Self {
            laptop,
            web1,
            key: control.key(),
            _stream: stream,
            asked: 0,
        }
    }

    /// A new connection to web1 asks for a check.
    pub(super) async fn log_in(&mut self) -> Login {
        let connection = format!("connection {}", self.asked);
        let asked = self.ask(&connection).await;
        let CheckState::Waiting {
            id,
            prompt: Prompt { url, number },
        } = asked
        else {
            panic!("{asked:?}");
        };
        let path = url.strip_prefix(ORIGIN).expect("a page of this control");
        Login {
            id,
            connection,
            path: path.to_owned(),
            number,
        }
    }

    /// What web1 is told when it asks for a check of this connection.
    async fn ask(&mut self, connection: &str) -> CheckState {
        self.asked += 1;
        let need = CheckNeed {
            source: self.laptop.id(),
            login: "alice".parse().expect("a login"),
            class: LoginClass::Nonroot,
            rule: "ssh[0]".to_owned(),
            period: CheckPeriod::Always,
            connection: connection.to_owned(),
        };
        let turn = self.asked;
        let asked = serde_json::to_vec(&CheckRequest { need, turn }).expect("JSON");
        let answer = self.web1.send("POST", "/v1/checks", asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What web1 is told of a login.
    async fn outcome(&mut self, login: &Login) -> CheckState {
        self.asked += 1;
        let waited = CheckId {
            id: login.id.clone(),
            connection: login.connection.clone(),
            turn: self.asked,
        };
        let waited = serde_json::to_vec(&waited).expect("JSON");
        let answer = self.web1.send("POST", "/v1/checks/wait", waited).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(super) async fn assert_let_in(&mut self, login: &Login) {
        let CheckState::Granted { grant } = self.outcome(login).await else {
            panic!("not let in");
        };
        let expected = Expected {
            node: self.web1.id(),
            now: Timestamp(now()),
            at_least: Version(0),
        };
        let grant: CheckGrant =
            signed::open(grant.as_bytes(), &self.key, &expected).expect("control's word");
        assert_eq!(grant.source, self.laptop.id());
        assert_eq!(grant.connection.as_ref(), Some(&login.connection));
    }

    async fn assert_refused(&mut self, login: &Login, why: CheckRefusal) {
        let outcome = self.outcome(login).await;
        assert_eq!(outcome, CheckState::Refused { reason: why });
    }
}

impl Login {
    pub(super) fn button(&self) -> String {
        format!("button[value='{}']", self.number)
    }
}

/// Signs in on the page that is shown.
async fn sign_in(browser: &mut Chromium, login: &str, authenticator: &mut Authenticator) {
    browser.fill("login", login).await;
    browser.fill("password", PASSWORD).await;
    browser.fill("code", &authenticator.code()).await;
    browser.press("main form[action='/sign-in'] button").await;
}

async fn assert_content(browser: &mut Chromium) {
    let said = browser.complaints().await;
    assert!(said.is_empty(), "{said:?}");
}

#[tokio::test]
async fn whoever_signs_in_and_chooses_the_number_of_the_terminal_lets_the_login_in() {
    let site = Site::start(&[]);
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    let mut authenticator = sign_up(&mut browser, &site, &[ALICE]).await;
    browser.press("header button").await;
    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.see("Code from your authenticator app").await;
    sign_in(&mut browser, ALICE, &mut authenticator).await;
    let seen = browser.see("Choose the number").await;
    for part in ["laptop", "web1", "alice"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert_eq!(browser.path().await, login.path);
    browser.press(&login.button()).await;
    browser.see("Approved. You can close this page").await;
    mesh.assert_let_in(&login).await;

    browser.reload().await;
    browser.see("This check was approved").await;
    browser.go(&login.path).await;
    let seen = browser.see("This check was approved").await;
    assert!(!seen.contains("Choose"), "{seen}");
    assert_content(&mut browser).await;
}

#[tokio::test]
async fn another_number_and_a_refusal_let_nobody_in() {
    let site = Site::start(&[]);
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &[ALICE]).await;

    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.see("Choose the number").await;
    let others = format!(
        "button[name=choice]:not([value='{}']):not([value=refuse])",
        login.number
    );
    browser.press(&others).await;
    browser.see("another number than the terminal's").await;
    let wrong = CheckRefusal::WrongNumber;
    mesh.assert_refused(&login, wrong).await;
    browser.go(&login.path).await;
    let seen = browser.see("This check was not passed").await;
    assert!(!seen.contains("Choose"), "one try, and no second: {seen}");

    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.press("button[value=refuse]").await;
    browser.see("Refused. Nobody was let in").await;
    mesh.assert_refused(&login, CheckRefusal::Refused).await;
    assert_content(&mut browser).await;
}

#[tokio::test]
async fn somebody_else_sees_no_number_and_can_only_end_the_login() {
    let site = Site::start(&[]);
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &["bob@example.com"]).await;
    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    let seen = browser.see("This check is for alice@example.com").await;
    for secret in [&login.number.to_string(), "web1", "laptop"] {
        assert!(!seen.contains(secret), "{secret}: {seen}");
    }
    browser.press("main button").await;
    browser.see("You do not own that machine").await;
    mesh.assert_refused(&login, CheckRefusal::WrongPerson).await;
    assert_content(&mut browser).await;
}

/// A manager that is started again asks so.
#[tokio::test]
async fn a_node_that_asks_again_while_the_answer_comes_is_given_no_second_question() {
    let control = Control::start_for_people(&[]);
    let mut mesh = Mesh::of(&control).await;
    let (mut alice, _) = control.person(ALICE, "member").await;
    for _ in 0..30 {
        let login = mesh.log_in().await;
        let number = login.number.to_string();
        assert_eq!(alice.open(&login.path).await.status, 200);
        let fields = [("choice", number.as_str())];
        let answering = alice.submit(&login.path, &fields);
        let (answer, asked) = tokio::join!(answering, mesh.ask(&login.connection));
        assert!(answer.text().contains("Approved"), "{}", answer.text());
        match asked {
            CheckState::Waiting { id, .. } => assert_eq!(id, login.id),
            asked => assert!(matches!(asked, CheckState::Granted { .. }), "{asked:?}"),
        }
        mesh.assert_let_in(&login).await;
    }
}

#[tokio::test]
async fn of_two_tabs_the_first_answer_counts() {
    let site = Site::start(&[]);
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.see("Choose the number").await;
    let first = browser.tab().await;
    browser.open_tab().await;
    browser.go(&login.path).await;
    browser.see("Choose the number").await;
    browser.press(&login.button()).await;
    browser.see("Approved").await;
    browser.show_tab(&first).await;
    browser.press("button[value=refuse]").await;
    let seen = browser.see("was answered before").await;
    assert!(seen.contains("This check was approved"), "{seen}");
    mesh.assert_let_in(&login).await;
    assert_content(&mut browser).await;
}

#[tokio::test]
async fn the_page_can_be_read_and_pressed_on_a_small_phone_without_scripts() {
    let site = Site::start(&[]);
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    sign_up(&mut browser, &site, &[ALICE]).await;
    browser.shrink(320, 568).await;
    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.see("Choose the number").await;
    let script = "const root = document.documentElement;
        const buttons = [...document.querySelectorAll('main button')];
        const boxes = buttons.map((button) => button.getBoundingClientRect());
        const text = parseFloat(getComputedStyle(document.querySelector('main p')).fontSize);
        return {
            width: root.clientWidth,
            beside: root.scrollWidth - root.clientWidth,
            scripts: document.scripts.length,
            text,
            lowest: Math.min(...boxes.map((box) => box.height)),
            outside: boxes.filter((box) => box.left < 0 || box.right > root.clientWidth).length,
            numbers: boxes.slice(0, 3).filter((box) => box.bottom <= root.clientHeight).length,
        }";
    let found = browser.run(script).await;
    let width = found["width"].as_u64().expect("a width");
    assert!(width <= 320, "{found}");
    for (what, expected) in [
        ("beside", 0),
        ("scripts", 0),
        ("outside", 0),
        ("numbers", 3),
    ] {
        assert_eq!(found[what], json!(expected), "{what}: {found}");
    }
    assert!(found["text"].as_f64() >= Some(16.0), "{found}");
    // WCAG 2.2, 2.5.8, has 24 pixels as the least.
    assert!(found["lowest"].as_f64() >= Some(24.0), "{found}");

    browser.without_scripts().await;
    browser.go(&login.path).await;
    browser.press(&login.button()).await;
    mesh.assert_let_in(&login).await;
}
