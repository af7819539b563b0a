//! A real browser, driven over WebDriver (https://www.w3.org/TR/webdriver2/).

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::PublicKeyData;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Control, ORIGIN, PATIENCE};

/// What an element is called in answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Runs what follows with processes and a /tmp of its own, and ends all of them when it or the test
/// ends, however that does: a driver that is ended leaves its browser behind.
const ALONE: [&str; 9] = [
    "--pdeathsig=KILL",
    "--",
    "unshare",
    "--mount",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child",
    "--",
];
const DRIVER: &str = "mount -t tmpfs tmpfs /tmp && HOME=/tmp exec chromedriver --port=0";

/// A server whose certificate a Chromium of the test believes.
pub(crate) struct Site {
    pub(crate) control: Control,
    key_hash: String,
    _files: tempfile::TempDir,
}

/// Chromium without a screen; it ends with this value.
pub(crate) struct Chromium {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Site {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let made = rcgen::generate_simple_self_signed(["control.example.com".to_owned()]);
        let made = made.expect("a certificate");
        let key_hash = Sha256::digest(made.signing_key.subject_public_key_info());
        let write = |name: &str, text: String| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("writes");
            path.to_str().expect("UTF-8").to_owned()
        };
        let certificate = write("tls.crt", made.cert.pem());
        let key = write("tls.key", made.signing_key.serialize_pem());
        let own = ["--tls-certificate", &certificate, "--tls-key", &key];
        Self {
            control: Control::start_for_people(&[&own, arguments].concat()),
            key_hash: STANDARD.encode(key_hash),
            _files: files,
        }
    }
}

impl Chromium {
    pub(crate) async fn start(site: &Site) -> Self {
        let mut driver = Command::new("setpriv")
            .args(ALONE)
            .args(["sh", "-c", DRIVER])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv, of the package util-linux");
        let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines.find_map(|line| {
            let line = line.expect("text");
            let port = line.rsplit_once("successfully on port ")?.1;
            port.trim_end_matches('.').parse().ok()
        });
        let port = port.expect("chromedriver, of the package chromium-driver");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        // Nobody reads the rest, which is little.
        std::mem::forget(lines);
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
        };
        let place = site.control.address;
        let arguments = [
            "--headless=new".to_owned(),
            // Its sandbox is for users other than root.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--window-size=390,800".to_owned(),
            format!("--host-resolver-rules=MAP control.example.com:443 {place}"),
            format!("--ignore-certificate-errors-spki-list={}", site.key_hash),
        ];
        let wish = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = browser.send("POST", "/session", &wish).await;
        browser.session = answer["sessionId"].as_str().expect("a session").to_owned();
        // For an element to come, and for a field to be shown: a page's script may do that.
        let patience = json!({ "implicit": u64::try_from(PATIENCE.as_millis()).expect("short") });
        browser.ask("POST", "/timeouts", &patience).await;
        browser
    }

    /// Opens a page.
    pub(crate) async fn go(&mut self, path: &str) {
        let url = format!("{ORIGIN}{path}");
        self.ask("POST", "/url", &json!({ "url": url })).await;
    }

    /// Types into the field of this name, as soon as it is shown.
    pub(crate) async fn fill(&mut self, name: &str, text: &str) {
        let field = self
            .find(&format!("[name={name}]:not([type=hidden])"))
            .await;
        let keys = json!({ "text": text });
        self.ask("POST", &format!("/element/{field}/value"), &keys)
            .await;
    }

    /// Presses a button.
    pub(crate) async fn press(&mut self, selector: &str) {
        let button = self.find(selector).await;
        self.ask("POST", &format!("/element/{button}/click"), &json!({}))
            .await;
    }

    /// Waits until this text can be seen; everything that can be.
    pub(crate) async fn see(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let seen = self.run("return document.body.innerText").await;
            let seen = seen.as_str().unwrap_or_default();
            if seen.contains(text) {
                return seen.to_owned();
            }
            let path = self.path().await;
            let said = self.complaints().await;
            assert!(
                began.elapsed() < PATIENCE,
                "no {text:?} at {path}: {seen} {said:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Where it is.
    pub(crate) async fn path(&mut self) -> String {
        let url = self.ask("GET", "/url", &Value::Null).await;
        let url = url.as_str().expect("an address").to_owned();
        url.strip_prefix(ORIGIN).unwrap_or(&url).to_owned()
    }

    /// What a script in the page says.
    pub(crate) async fn run(&mut self, script: &str) -> Value {
        let script = json!({ "script": script, "args": [] });
        self.ask("POST", "/execute/sync", &script).await
    }

    /// What the browser has complained about since it was asked last, such as a breach of the page's
    /// own policy.
    pub(crate) async fn complaints(&mut self) -> Vec<String> {
        let log = self
            .ask("POST", "/se/log", &json!({ "type": "browser" }))
            .await;
        let entries = log.as_array().expect("a log").iter();
        let said = entries.map(|entry| entry["message"].to_string());
        // Browsers ask for an icon, and there is none.
        said.filter(|said| !said.contains("favicon.ico")).collect()
    }

    /// Loads the page again, as it was loaded before: a form is sent again.
    pub(crate) async fn reload(&mut self) {
        self.ask("POST", "/refresh", &json!({})).await;
    }

    /// The tab that is shown.
    pub(crate) async fn tab(&mut self) -> String {
        let tab = self.ask("GET", "/window", &Value::Null).await;
        tab.as_str().expect("a name").to_owned()
    }

    /// Opens another tab, and shows it.
    pub(crate) async fn open_tab(&mut self) {
        let opened = self
            .ask("POST", "/window/new", &json!({ "type": "tab" }))
            .await;
        let tab = opened["handle"].as_str().expect("a name").to_owned();
        self.show_tab(&tab).await;
    }

    /// Shows a tab.
    pub(crate) async fn show_tab(&mut self, tab: &str) {
        self.ask("POST", "/window", &json!({ "handle": tab })).await;
    }

    /// Makes the page as large as a phone's screen.
    pub(crate) async fn shrink(&mut self, width: u32, height: u32) {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 2, "mobile": true });
        self.tell("Emulation.setDeviceMetricsOverride", &screen)
            .await;
    }

    /// Runs no scripts from now on, the test's included.
    pub(crate) async fn without_scripts(&mut self) {
        self.tell(
            "Emulation.setScriptExecutionDisabled",
            &json!({ "value": true }),
        )
        .await;
    }

    /// Lets the browser think that its person likes dark pages.
    pub(crate) async fn darken(&mut self) {
        let features = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        let media = json!({ "features": features });
        self.tell("Emulation.setEmulatedMedia", &media).await;
    }

    /// Gives a command of Chromium's own.
    async fn tell(&mut self, command: &str, parameters: &Value) {
        let command = json!({ "cmd": command, "params": parameters });
        self.ask("POST", "/goog/cdp/execute", &command).await;
    }

    async fn find(&mut self, selector: &str) -> String {
        let wish = json!({ "using": "css selector", "value": selector });
        let found = self.ask("POST", "/element", &wish).await;
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Asks the driver about this browser.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.send(method, &path, body).await
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let exchanged = timeout(Duration::from_secs(60), async {
            let stream = TcpStream::connect(self.address).await.expect("connects");
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.expect("HTTP");
            tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "localhost")
                .body(Full::new(Bytes::from(body)));
            let answer = sender.send_request(request.expect("a request")).await;
            let answer = answer.expect("an answer");
            let status = answer.status();
            let body = answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            (status, body)
        });
        let (status, body) = exchanged.await.expect("an answer in time");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(status.is_success(), "{method} {path}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
