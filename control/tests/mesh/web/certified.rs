//! Signing in with an identity provider that others have written and certified (node-oidc-provider).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::checks::Mesh;
use crate::harness::{Browser, CLIENT, Chromium, Control, ORIGIN, SECRET, Site};

/// The provider's process; it ends with this value, or with its standard input.
struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    fn start() -> Self {
        let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/lab/clients/prepare");
        let output = Command::new(prepare).arg("oidc-provider").output();
        let output = output.expect("the script runs");
        let why = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{why}");
        let place = String::from_utf8(output.stdout).expect("a directory");
        let mut child = Command::new("node")
            .arg(PathBuf::from(place.trim()).join("provider.js"))
            .args([CLIENT, SECRET, &format!("{ORIGIN}/sign-in/provider/back")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node, of the package nodejs");
        let mut issuer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut issuer).expect("an address");
        Self {
            child,
            issuer: issuer.trim().to_owned(),
        }
    }

    /// What control has to know of it, with a file in this directory.
    fn arguments(&self, directory: &Path) -> [String; 8] {
        let secret = directory.join("secret");
        std::fs::write(&secret, SECRET).expect("writes");
        [
            "--oidc-issuer",
            &self.issuer,
            "--oidc-client-id",
            CLIENT,
            "--oidc-client-secret-file",
            secret.to_str().expect("UTF-8"),
            "--oidc-group",
            "staff",
        ]
        .map(str::to_owned)
    }

    /// Signs `person` in on the provider's own pages; the address that leads back to control.
    fn visit(&self, cookies: &Path, url: &str, person: &str) -> String {
        let mut url = url.to_owned();
        while let Some(path) = url.strip_prefix(&self.issuer) {
            let is_page = path.starts_with("/interaction/");
            let (page, next) = fetch(cookies, &url, &[]);
            url = match is_page {
                false => next,
                true => {
                    let prompt = if page.contains("value=\"login\"") {
                        "login"
                    } else {
                        "consent"
                    };
                    let fields = [("prompt", prompt), ("login", person), ("password", "any")];
                    fetch(cookies, &url, &fields).1
                }
            };
        }
        let back = url.strip_prefix(ORIGIN);
        back.unwrap_or_else(|| panic!("{url} is not control's"))
            .to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A page, and where it sends the browser.
fn fetch(cookies: &Path, url: &str, fields: &[(&str, &str)]) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--max-time",
        "20",
        "--write-out",
        "\n%{redirect_url}",
    ])
    .arg("--cookie")
    .arg(cookies)
    .arg("--cookie-jar")
    .arg(cookies);
    for (name, value) in fields {
        curl.arg("--data-urlencode").arg(format!("{name}={value}"));
    }
    let output = curl.arg(url).output().expect("curl, of the package curl");
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{url}: {why}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (page, next) = text.rsplit_once('\n').expect("an address");
    (page.to_owned(), next.to_owned())
}

#[tokio::test]
async fn people_sign_in_with_a_certified_provider() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = provider.arguments(directory.path());
    let control = Control::start_for_people(&arguments.each_ref().map(String::as_str));
    let cookies = directory.path().join("cookies");
    let mut browser = Browser::new(&control);
    let asked = browser.open("/sign-in/provider?next=%2F%3Fx%3D1").await;
    let back = provider.visit(&cookies, asked.header("location"), "alice");
    let answer = browser.open(&back).await;
    assert_eq!(answer.header("location"), "/?x=1", "{}", answer.text());
    assert!(browser.open("/").await.text().contains("alice@example.com"));

    let asked = browser.open("/sign-in/provider?next=%2F&again=1").await;
    let back = provider.visit(&cookies, asked.header("location"), "alice");
    let answer = browser.open(&back).await;
    assert_eq!(
        answer.header("location"),
        "/",
        "asked anew: {}",
        answer.text()
    );

    let mut other = Browser::new(&control);
    let asked = other.open("/sign-in/provider").await;
    let fresh = directory.path().join("of another browser");
    let back = provider.visit(&fresh, asked.header("location"), "mallory");
    let answer = other.open(&back).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("has not verified"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_person_passes_a_check_with_a_certified_provider_in_a_browser() {
    let provider = Provider::start();
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = provider.arguments(directory.path());
    let site = Site::start(&arguments.each_ref().map(String::as_str));
    let mut mesh = Mesh::of(&site.control).await;
    let mut browser = Chromium::start(&site).await;
    let login = mesh.log_in().await;
    browser.go(&login.path).await;
    browser.press("a[href^='/sign-in/provider']").await;
    browser.see("Sign-in").await;
    assert!(browser.path().await.starts_with(&provider.issuer));
    browser.fill("login", "alice").await;
    browser.fill("password", "any").await;
    browser.press("button[type=submit]").await;
    browser.see("Authorize").await;
    browser.press("button[type=submit]").await;
    browser.see("Choose the number").await;
    assert_eq!(browser.path().await, login.path);
    browser.press(&login.button()).await;
    browser.see("Approved. You can close this page").await;
    mesh.assert_let_in(&login).await;

    // Whoever is signed in at the provider only goes there and back.
    browser.press("header button").await;
    browser.go("/devices").await;
    browser.press("a[href^='/sign-in/provider']").await;
    browser.see("Only administrators").await;
    assert_eq!(browser.path().await, "/devices");
}
