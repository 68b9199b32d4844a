//! A real browser, driven by the DevTools protocol over a pipe (<https://chromedevtools.github.io/devtools-protocol/>).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::child::Child;
use crate::needs;
use crate::scratch::Scratch;

/// How long an answer of the browser may take on a busy machine, and a page to be there.
const LIMIT: Duration = Duration::from_secs(100);

/// Standard input and output become the pipe, which the browser has at 3 and 4.
const ON_A_PIPE: &str = "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>&2";

/// A running browser with one tab.
#[derive(Debug)]
pub struct Chromium {
    to: ChildStdin,
    said: Receiver<Value>,
    last: u64,
    tab: String,
    /// What happened since it was asked for last.
    events: Vec<Value>,
    _process: Child,
    _scratch: Scratch,
}

/// What a page asked for and complained about.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Addresses that were asked for.
    pub requests: Vec<String>,
    /// Octets that came over the network.
    pub octets: u64,
    /// Errors of scripts, in the console, and of the content security policy.
    pub complaints: Vec<String>,
    /// Status of the document.
    pub status: u64,
}

impl Chromium {
    /// Starts one, with nothing remembered.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start() -> Self {
        let scratch = Scratch::new("chromium");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            ON_A_PIPE,
            "chromium",
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
        ]);
        // As root, in a container, without a graphics card, and without anybody whom it would ask something on its own.
        command.args([
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
        ]);
        command.args([
            "--disable-component-update",
            "--disable-sync",
            "--no-default-browser-check",
            "--log-level=3",
        ]);
        command.args([
            "--disable-features=Translate,OptimizationHints,MediaRouter",
            "--force-color-profile=srgb",
        ]);
        command.arg(format!("--user-data-dir={}", scratch.join("profile").display())).arg("about:blank");
        command.env("HOME", scratch.path()).env("LANG", "C.UTF-8");
        let (process, to, from) = Child::spawn_to_talk("chromium", &command, &scratch.join("output"));
        let said = listen(from);
        let (tab, events) = (String::new(), Vec::new());
        let mut browser = Self { to, said, last: 0, tab, events, _process: process, _scratch: scratch };
        browser.open_tab();
        browser
    }

    fn open_tab(&mut self) {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let asked = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", &asked);
        self.tab = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), &json!({}));
        }
    }

    /// Calls a method of the protocol, of the tab as soon as there is one.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, where it may fail.
    ///
    /// # Errors
    ///
    /// What the browser says.
    pub fn try_call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.last += 1;
        let (id, mut message) =
            (self.last, json!({ "id": self.last, "method": method, "params": parameters }));
        if !self.tab.is_empty() && !method.starts_with("Target.") && !method.starts_with("Browser.") {
            message["sessionId"] = self.tab.clone().into();
        }
        let mut octets = message.to_string().into_bytes();
        octets.push(0);
        self.to.write_all(&octets).and_then(|()| self.to.flush()).map_err(|error| error.to_string())?;
        let until = Instant::now() + LIMIT;
        loop {
            let mut answer = self.next(until).ok_or("no answer")?;
            if answer["id"] != id {
                self.events.push(answer);
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(error.to_string()),
                None => Ok(answer["result"].take()),
            };
        }
    }

    fn next(&mut self, until: Instant) -> Option<Value> {
        self.said.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Goes to an address and waits until the page is there.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub fn go(&mut self, url: &str) -> Seen {
        self.leads_on(|browser| {
            let gone = browser.call("Page.navigate", &json!({ "url": url }));
            assert!(gone.get("errorText").is_none(), "{url}: {gone}");
        })
    }

    /// Does something that brings another page, and waits until it is there.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn leads_on(&mut self, deed: impl FnOnce(&mut Self)) -> Seen {
        let _ = self.seen();
        deed(self);
        let until = Instant::now() + LIMIT;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let Some(event) = self.next(until) else {
                let wrong = "[...document.querySelectorAll(':invalid')].map(e => e.outerHTML.slice(0, 200) + ' has ' + e.value)";
                panic!("no page is loaded from {}; {}", self.evaluate("location.href"), self.evaluate(wrong));
            };
            self.events.push(event);
        }
        // Scripts that wait for the page begin with it; what they did at once is known after this.
        self.evaluate("0");
        self.seen()
    }

    /// What happened since it was asked for last.
    pub fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        for event in std::mem::take(&mut self.events) {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => {
                    seen.requests.extend(parameters["request"]["url"].as_str().map(str::to_owned));
                }
                "Network.responseReceived" if parameters["type"] == "Document" => {
                    seen.status = parameters["response"]["status"].as_u64().unwrap_or_default();
                }
                "Network.loadingFinished" => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a count of octets"
                    )]
                    let octets = parameters["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                    seen.octets += octets;
                }
                "Runtime.exceptionThrown" => seen.complaints.push(parameters.to_string()),
                "Runtime.consoleAPICalled" if parameters["type"] == "error" => {
                    seen.complaints.push(parameters.to_string());
                }
                // Also what the content security policy refuses.
                "Log.entryAdded" if parameters["entry"]["level"] == "error" => {
                    seen.complaints.push(parameters["entry"].to_string());
                }
                _ => {}
            }
        }
        seen
    }

    /// What an expression comes to in the page, past its content security policy; a promise is waited for.
    ///
    /// # Panics
    ///
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", &asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression:.200}: {answer}");
        answer["result"]["value"].take()
    }

    /// The size of the window, in CSS pixels, and whether its user likes it dark.
    pub fn looks(&mut self, width: u32, height: u32, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } });
        self.call("Emulation.setEmulatedMedia", &json!({ "features": [scheme] }));
    }

    /// Whether pages may run scripts, from the next one on.
    pub fn scripts(&mut self, allowed: bool) {
        self.call("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed }));
    }

    /// Presses and lets go a key that is called so: `Tab`, `Enter`.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            " " => (32, " "),
            other => panic!("no key {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Types into what has the focus.
    pub fn types(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// What axe-core finds wrong in the page, in words; nothing if nothing is.
    ///
    /// # Panics
    ///
    /// If it cannot be read or fails.
    pub fn barriers(&mut self) -> Vec<String> {
        if self.evaluate("typeof axe") == "undefined" {
            let axe = needs::cache().join("node/axe-core/node_modules/axe-core/axe.min.js");
            let axe =
                std::fs::read_to_string(&axe).unwrap_or_else(|error| panic!("{}: {error}", axe.display()));
            self.evaluate(&format!("{axe};0"));
        }
        let found = self.evaluate(
            "axe.run({ resultTypes: ['violations'] }).then(r => r.violations.map(v => v.id + ': ' + v.help + ': ' +
             v.nodes.slice(0, 4).map(n => n.html.slice(0, 160) + ' ' + (n.any[0]?.message ?? '')).join(' | ')))",
        );
        let found = found.as_array().expect("a list");
        found.iter().map(|one| one.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A picture of the window as PNG.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn picture(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let octets = STANDARD.decode(answer["data"].as_str().unwrap_or_default()).expect("base64");
        std::fs::write(file, octets).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// Messages end with an octet 0.
fn listen(from: ChildStdout) -> Receiver<Value> {
    let (tell, said) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0) {
            let Ok(Ok(message)) = message.map(|octets| serde_json::from_slice(&octets)) else { return };
            if tell.send(message).is_err() {
                return;
            }
        }
    });
    said
}
